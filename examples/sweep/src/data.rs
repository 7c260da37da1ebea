//! The red-wine data, prepared once per process: 1599 wines, eleven measurements each, and all
//! products of two measurements beside them, so that there is something to choose from.

use std::sync::LazyLock;

use ndarray::{Array1, Array2, ArrayView1, Axis};

/// What the models learn from.
pub(crate) struct Wines {
    /// One row per wine, one column per feature.
    pub(crate) features: Array2<f64>,
    /// How good the wine is, from 3 to 8, as its tasters said.
    pub(crate) quality: Array1<f64>,
}

/// Rows apart, in the order of the data, into what is learned from and what is predicted.
pub(crate) struct Split {
    /// To learn from. Its columns have mean 0 and deviation 1.
    pub(crate) known: Wines,
    /// To predict, on the scale of `known`.
    pub(crate) held_out: Wines,
}

/// The data of this process.
pub(crate) fn wines() -> &'static Wines {
    static WINES: LazyLock<Wines> = LazyLock::new(Wines::load);
    &WINES
}

impl Wines {
    fn load() -> Self {
        let data = linfa_datasets::winequality();
        let features = with_products(&standardised(data.records(), data.records()));
        Self { features, quality: data.targets().mapv(|quality| quality as f64) }
    }

    /// Holds out every row whose number leaves `fold` when divided by `folds`.
    pub(crate) fn split(&self, fold: usize, folds: usize) -> Split {
        let (held_out, known): (Vec<_>, Vec<_>) =
            (0..self.quality.len()).partition(|row| row % folds == fold);
        let (held_out, known) = (self.rows(&held_out), self.rows(&known));
        Split {
            held_out: Self { features: standardised(&held_out.features, &known.features), ..held_out },
            known: Self { features: standardised(&known.features, &known.features), ..known },
        }
    }

    fn rows(&self, rows: &[usize]) -> Self {
        Self { features: self.features.select(Axis(0), rows), quality: self.quality.select(Axis(0), rows) }
    }
}

/// `features` moved and scaled by the mean and the deviation of each column of `scale`.
fn standardised(features: &Array2<f64>, scale: &Array2<f64>) -> Array2<f64> {
    let mut moved = features.clone();
    for (mut column, scale) in moved.columns_mut().into_iter().zip(scale.columns()) {
        let (mean, deviation) = mean_and_deviation(scale);
        column.mapv_inplace(|it| (it - mean) / deviation);
    }
    moved
}

fn mean_and_deviation(column: ArrayView1<'_, f64>) -> (f64, f64) {
    let rows = column.len() as f64;
    let mean = column.sum() / rows;
    let variance = column.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / rows;
    (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
}

/// The columns, and every product of two of them.
fn with_products(columns: &Array2<f64>) -> Array2<f64> {
    let mut all = columns.clone();
    for (at, left) in columns.columns().into_iter().enumerate() {
        for right in columns.columns().into_iter().skip(at) {
            // Both have the same length, which is all that could be refused.
            let _ = all.push_column((&left * &right).view());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wine_is_held_out_exactly_once() {
        let held_out: usize = (0..5).map(|fold| wines().split(fold, 5).held_out.quality.len()).sum();
        assert_eq!((wines().features.dim(), held_out), ((1599, 11 + 66), 1599));
    }

    #[test]
    fn what_is_learned_from_has_mean_0_and_deviation_1() {
        for column in wines().split(0, 5).known.features.columns() {
            let (mean, deviation) = mean_and_deviation(column);
            assert!(mean.abs() < 1e-9 && (deviation - 1.0).abs() < 1e-9, "{mean} {deviation}");
        }
    }
}
