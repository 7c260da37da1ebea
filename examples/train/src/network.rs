//! A small multilayer perceptron: one hidden layer of hyperbolic tangents, one linear output, squared
//! error. Its gradient is a sum over wines, so that the gradients of the shards of a batch add up to the
//! batch's.

use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

use crate::data::{BATCHES, Shard, Wines, wines};

/// How many measurements a wine has.
const INPUTS: usize = 11;

/// How many hidden units there are: enough that more learn the data little better.
const HIDDEN: usize = 16;

/// The weights of a network; also what is added to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    hidden: Array2<f64>,
    hidden_bias: Array1<f64>,
    output: Array1<f64>,
    output_bias: f64,
}

/// What some wines say about a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gradient {
    /// The sum over the wines of the gradient of half the squared error.
    pub(crate) sum: Network,
    /// The sum of the squared errors.
    pub(crate) squares: f64,
    /// How many wines.
    pub(crate) wines: usize,
}

impl Network {
    /// The network that every training starts from: always the same.
    pub fn initial() -> Self {
        let mut noise = noise();
        let scale = (INPUTS as f64).sqrt().recip();
        Self {
            hidden: Array2::from_shape_simple_fn((INPUTS, HIDDEN), || scale * noise()),
            hidden_bias: Array1::zeros(HIDDEN),
            output: Array1::from_shape_simple_fn(HIDDEN, || noise() / (HIDDEN as f64).sqrt()),
            output_bias: 0.0,
        }
    }

    /// What a shard of a batch says about the network.
    pub fn gradient(&self, batch: usize, shard: Shard) -> Gradient {
        self.gradient_of(&wines().of(batch, shard))
    }

    /// The mean squared error over all wines; 1 is what guessing the mean quality gives.
    pub fn loss(&self) -> f64 {
        let all = (0..BATCHES).map(|batch| self.gradient(batch, Shard::WHOLE));
        let (squares, wines) =
            all.fold((0.0, 0), |(squares, wines), it| (squares + it.squares, wines + it.wines));
        squares / wines as f64
    }

    /// How far the weight is apart that is farthest apart.
    pub fn distance(&self, other: &Self) -> f64 {
        let mut apart = self.clone();
        apart.add(-1.0, other);
        let Self { hidden, hidden_bias, output, output_bias } = &apart;
        let weights = hidden.iter().chain(hidden_bias).chain(output).chain([output_bias]);
        weights.fold(0.0, |most, it| it.abs().max(most))
    }

    fn gradient_of(&self, wines: &Wines) -> Gradient {
        let active = (wines.features.dot(&self.hidden) + &self.hidden_bias).mapv(f64::tanh);
        let error = active.dot(&self.output) + self.output_bias - &wines.quality;
        // Back through the output to each hidden unit, and through its tangent.
        let back = (1.0 - &active * &active) * &self.output * error.view().insert_axis(Axis(1));
        Gradient {
            squares: error.dot(&error),
            wines: error.len(),
            sum: Self {
                hidden: wines.features.t().dot(&back),
                hidden_bias: back.sum_axis(Axis(0)),
                output: active.t().dot(&error),
                output_bias: error.sum(),
            },
        }
    }

    pub(crate) fn zero() -> Self {
        Self {
            hidden: Array2::zeros((INPUTS, HIDDEN)),
            hidden_bias: Array1::zeros(HIDDEN),
            output: Array1::zeros(HIDDEN),
            output_bias: 0.0,
        }
    }

    pub(crate) fn add(&mut self, scale: f64, other: &Self) {
        self.hidden.scaled_add(scale, &other.hidden);
        self.hidden_bias.scaled_add(scale, &other.hidden_bias);
        self.output.scaled_add(scale, &other.output);
        self.output_bias += scale * other.output_bias;
    }

    pub(crate) fn scale(&mut self, by: f64) {
        self.hidden *= by;
        self.hidden_bias *= by;
        self.output *= by;
        self.output_bias *= by;
    }
}

/// Numbers between -1 and 1 that look random and are the same everywhere: Knuth's linear congruence.
fn noise() -> impl FnMut() -> f64 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope_of_the_error() {
        let network = Network::initial();
        let told = network.gradient(0, Shard::WHOLE).sum;
        let half = |network: &Network| network.gradient(0, Shard::WHOLE).squares / 2.0;
        let slope = |change: &dyn Fn(&mut Network, f64)| {
            let (mut up, mut down) = (network.clone(), network.clone());
            change(&mut up, 1e-5);
            change(&mut down, -1e-5);
            (half(&up) - half(&down)) / 2e-5
        };
        for (told, measured) in [
            (told.hidden[[3, 5]], slope(&|it, by| it.hidden[[3, 5]] += by)),
            (told.hidden_bias[2], slope(&|it, by| it.hidden_bias[2] += by)),
            (told.output[7], slope(&|it, by| it.output[7] += by)),
            (told.output_bias, slope(&|it, by| it.output_bias += by)),
        ] {
            assert!((told - measured).abs() < 1e-4 * told.abs().max(1.0), "{told} {measured}");
        }
    }

    #[test]
    fn the_gradients_of_the_shards_add_up_to_the_batchs() {
        let network = Network::initial();
        let whole = network.gradient(1, Shard::WHOLE);
        let (mut sum, mut squares, mut wines) = (Network::zero(), 0.0, 0);
        for part in 0..3 {
            let gradient = network.gradient(1, Shard { part, parts: 3 });
            sum.add(1.0, &gradient.sum);
            squares += gradient.squares;
            wines += gradient.wines;
        }
        assert_eq!(wines, whole.wines);
        assert!((squares - whole.squares).abs() < 1e-9 * squares, "{squares} {}", whole.squares);
        assert!(sum.distance(&whole.sum) < 1e-9);
    }

    #[test]
    fn a_network_that_has_learned_nothing_guesses_about_the_mean() {
        let loss = Network::zero().loss();
        assert!((loss - 1.0).abs() < 1e-9, "{loss}");
    }
}
