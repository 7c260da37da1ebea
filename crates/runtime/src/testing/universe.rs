//! One simulated life: the pools of one client and the cloud that they share. Each pool is a world with a
//! clock of its own; whichever has the next event is given the cloud for it.

use super::cloud::Cloud;
use super::failure::{Failure, Summary};
use super::knobs::Knobs;
use super::world::World;

/// Everything that there is.
#[derive(Debug)]
pub(super) struct Universe {
    worlds: Vec<World>,
    cloud: Cloud,
}

impl Universe {
    /// Draws a life. The transcript costs most of the time, so that it is written in a second run.
    pub(super) fn draw(seed: u64, knobs: &Knobs, transcript: bool) -> Self {
        let mut first = World::draw(0, seed, knobs, transcript);
        let mut worlds = Vec::new();
        if first.dice.chance(PAIRS) {
            first.summary.pairs = 1;
            worlds.push(World::draw(1, first.dice.draw(), knobs, transcript));
        }
        worlds.insert(0, first);
        Self { worlds, cloud: Cloud::default() }
    }

    /// Lives it to its end.
    pub(super) fn live(mut self, seed: u64) -> Result<Summary, Failure> {
        let mut kept = true;
        while kept && let Some(world) = self.worlds.iter_mut().filter(|it| it.due().is_some()).min_by_key(due)
        {
            std::mem::swap(&mut world.cloud, &mut self.cloud);
            kept = world.step();
            std::mem::swap(&mut world.cloud, &mut self.cloud);
            // All pools of a client die with it.
            if std::mem::take(&mut world.killed) {
                let now = world.now;
                for other in &mut self.worlds {
                    other.dies_too(now);
                }
            }
        }
        let mut summary = Summary::default();
        for mut world in self.worlds {
            if kept {
                std::mem::swap(&mut world.cloud, &mut self.cloud);
                world.judge_the_end();
                std::mem::swap(&mut world.cloud, &mut self.cloud);
            }
            summary += world.end(seed)?;
        }
        Ok(summary)
    }
}

fn due(world: &&mut World) -> Option<std::time::Duration> {
    world.due()
}

/// How many of a thousand clients have a second pool.
const PAIRS: u32 = 300;
