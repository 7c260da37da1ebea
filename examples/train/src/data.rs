//! The red-wine data, prepared once per process: 1599 wines, eleven measurements each, and what their
//! tasters said. Every wine is in one batch, and every wine of a batch is in one shard.

use std::sync::LazyLock;

use ndarray::{Array1, Array2, ArrayView1, Axis};
use serde::{Deserialize, Serialize};

/// How many batches the data is cut into; one round of the training sees one of them.
pub const BATCHES: usize = 4;

/// One part of every batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which part, from 0.
    pub part: usize,
    /// How many parts there are.
    pub parts: usize,
}

/// What is learned from.
pub(crate) struct Wines {
    /// One row per wine, one column per measurement, each with mean 0 and deviation 1.
    pub(crate) features: Array2<f64>,
    /// How good the wines are, with mean 0 and deviation 1.
    pub(crate) quality: Array1<f64>,
}

impl Shard {
    /// All of every batch.
    pub const WHOLE: Self = Self { part: 0, parts: 1 };
}

/// The data of this process.
pub(crate) fn wines() -> &'static Wines {
    static WINES: LazyLock<Wines> = LazyLock::new(Wines::load);
    &WINES
}

impl Wines {
    fn load() -> Self {
        let data = linfa_datasets::winequality();
        let mut features = data.records().clone();
        features.columns_mut().into_iter().for_each(|mut column| {
            let (mean, deviation) = mean_and_deviation(column.view());
            column.mapv_inplace(|it| (it - mean) / deviation);
        });
        let quality = data.targets().mapv(|it| it as f64);
        let (mean, deviation) = mean_and_deviation(quality.view());
        Self { features, quality: quality.mapv(|it| (it - mean) / deviation) }
    }

    /// The wines of one batch that are in the shard. A batch is every `BATCHES`th wine, a shard every
    /// `parts`th of these.
    pub(crate) fn of(&self, batch: usize, shard: Shard) -> Self {
        let mine = |row: &usize| {
            row % BATCHES == batch % BATCHES && (row / BATCHES) % shard.parts.max(1) == shard.part
        };
        let rows: Vec<usize> = (0..self.quality.len()).filter(mine).collect();
        Self { features: self.features.select(Axis(0), &rows), quality: self.quality.select(Axis(0), &rows) }
    }
}

fn mean_and_deviation(column: ArrayView1<'_, f64>) -> (f64, f64) {
    let rows = column.len() as f64;
    let mean = column.sum() / rows;
    let variance = column.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / rows;
    (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wine_is_in_one_batch_and_one_shard_of_it() {
        for parts in [1, 3, 4, 7] {
            let shards = (0..BATCHES).flat_map(|batch| (0..parts).map(move |part| (batch, part)));
            let sizes = shards.map(|(batch, part)| wines().of(batch, Shard { part, parts }).quality.len());
            assert_eq!(sizes.sum::<usize>(), 1599, "{parts} parts");
        }
    }

    #[test]
    fn what_is_learned_from_has_mean_0_and_deviation_1() {
        let all = wines();
        for column in all.features.columns().into_iter().chain([all.quality.view()]) {
            let (mean, deviation) = mean_and_deviation(column);
            assert!(mean.abs() < 1e-9 && (deviation - 1.0).abs() < 1e-9, "{mean} {deviation}");
        }
    }
}
