//! Gradient descent with momentum, one batch a round. It does not know where gradients come from.

use std::fmt;

use crate::data::Shard;
use crate::network::{Gradient, Network};

/// How far a round goes along the gradient's mean. A larger step makes this descent unstable.
const STEP: f64 = 0.1;

/// How much of the last round's move is made again.
const MOMENTUM: f64 = 0.8;

/// A training under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Descent {
    network: Network,
    velocity: Network,
    round: usize,
}

/// The gradients that were given are not those of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// How many wines they are of.
    pub wines: usize,
    /// How many wines the batch has.
    pub of: usize,
}

impl Descent {
    /// One that has not begun.
    pub fn new() -> Self {
        Self { network: Network::initial(), velocity: Network::zero(), round: 0 }
    }

    /// The whole training in this process.
    pub fn alone(rounds: usize) -> Self {
        let mut descent = Self::new();
        for _ in 0..rounds {
            let gradient = descent.network.gradient(descent.round, Shard::WHOLE);
            descent.follow(&gradient);
        }
        descent
    }

    /// The network as it is now.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The round that comes next, from 0, which is also its batch.
    pub const fn round(&self) -> usize {
        self.round
    }

    /// Averages the gradients of all shards of this round's batch, moves, and tells the loss before the
    /// move, on that batch.
    ///
    /// # Errors
    /// When wines are missing or counted twice; nothing has changed then.
    pub fn step(&mut self, shards: &[Gradient]) -> Result<f64, Uncovered> {
        let mut whole = Gradient { sum: Network::zero(), squares: 0.0, wines: 0 };
        for shard in shards {
            whole.sum.add(1.0, &shard.sum);
            whole.squares += shard.squares;
            whole.wines += shard.wines;
        }
        let of = crate::data::wines().of(self.round, Shard::WHOLE).quality.len();
        if whole.wines != of {
            return Err(Uncovered { wines: whole.wines, of });
        }
        Ok(self.follow(&whole))
    }

    fn follow(&mut self, gradient: &Gradient) -> f64 {
        let wines = gradient.wines.max(1) as f64;
        self.velocity.scale(MOMENTUM);
        self.velocity.add(-STEP / wines, &gradient.sum);
        self.network.add(1.0, &self.velocity);
        self.round += 1;
        gradient.squares / wines
    }
}

impl Default for Descent {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the gradients are of {} wines, but the batch has {}", self.wines, self.of)
    }
}

impl std::error::Error for Uncovered {}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: usize = 100;

    fn shards(descent: &Descent, parts: usize) -> Vec<Gradient> {
        let shard = |part| descent.network().gradient(descent.round(), Shard { part, parts });
        (0..parts).map(shard).collect()
    }

    #[test]
    fn the_training_learns_more_than_a_linear_model_could() {
        let loss = Descent::alone(ROUNDS).network().loss();
        // Least squares on the same features leaves 0.64.
        assert!(loss < 0.64, "{loss}");
    }

    #[test]
    fn however_the_batches_are_cut_the_loss_is_the_same_but_for_rounding() {
        let alone = Descent::alone(ROUNDS).network().loss();
        let mut together = Descent::new();
        for round in 0..ROUNDS {
            // A node is lost, and comes back.
            let parts = if (30..60).contains(&round) { 3 } else { 4 };
            let gradients = shards(&together, parts);
            together.step(&gradients).expect("covered");
        }
        let loss = together.network().loss();
        assert!((loss - alone).abs() <= 1e-9 * alone, "{loss} {alone}");
    }

    #[test]
    fn a_round_with_a_shard_missing_or_twice_changes_nothing() {
        let mut descent = Descent::new();
        let mut shards = shards(&descent, 4);
        let last = shards.pop().expect("four");
        assert!(descent.step(&shards).is_err());
        shards.extend([last.clone(), last]);
        assert!(descent.step(&shards).is_err());
        assert_eq!(descent, Descent::new());
    }
}
