//! How good one setting is: an elastic net learned on all folds but one, asked about that one.

use std::fmt;

use linfa::prelude::*;
use linfa_elasticnet::{ElasticNet, ElasticNetError};
use serde::{Deserialize, Serialize};

use crate::Setting;
use crate::data::{Split, wines};

/// How many times each setting is learned: every wine is predicted once, from the other four fifths.
pub const FOLDS: usize = 5;

/// What a setting is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The root of the mean squared error over all predictions, in points of quality. Less is better.
    pub error: f64,
    /// How many of the features have a weight, on average over the folds.
    pub features: f64,
}

/// Learns and asks, fold by fold. The same setting gives the same bits wherever the same program runs
/// on the same kind of processor.
///
/// # Errors
/// When the setting is outside what an elastic net takes.
pub fn cross_validate(setting: Setting) -> Result<Score, ElasticNetError> {
    let (mut squares, mut features) = (0.0, 0);
    for fold in 0..FOLDS {
        let Split { known, held_out } = wines().split(fold, FOLDS);
        let model = ElasticNet::params()
            .penalty(setting.penalty)
            .l1_ratio(setting.l1_ratio)
            .fit(&Dataset::new(known.features, known.quality))?;
        let wrong = model.predict(&held_out.features) - held_out.quality;
        squares += wrong.dot(&wrong);
        features += model.hyperplane().iter().filter(|weight| **weight != 0.0).count();
    }
    Ok(Score {
        error: (squares / wines().quality.len() as f64).sqrt(),
        features: features as f64 / FOLDS as f64,
    })
}

impl Score {
    /// Whether both are the same number, bit by bit.
    pub fn same_bits(&self, other: &Self) -> bool {
        (self.error.to_bits(), self.features.to_bits()) == (other.error.to_bits(), other.features.to_bits())
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {:.4} with {:>4.1} features", self.error, self.features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_one_score_to_the_last_bit() {
        let setting = Setting { penalty: 0.05, l1_ratio: 0.7 };
        let once = cross_validate(setting).expect("a valid setting");
        assert!(once.same_bits(&cross_validate(setting).expect("a valid setting")));
    }

    #[test]
    fn a_good_setting_beats_guessing_the_mean_and_a_hopeless_one_drops_all_features() {
        let good = cross_validate(Setting { penalty: 0.05, l1_ratio: 0.5 }).expect("a valid setting");
        let hopeless = cross_validate(Setting { penalty: 10.0, l1_ratio: 1.0 }).expect("a valid setting");
        assert!(good.error < 0.70 && good.features > 5.0, "{good}");
        assert!(hopeless.error > 0.79 && hopeless.features < 0.5, "{hopeless}");
    }

    #[test]
    fn a_setting_out_of_range_is_an_error() {
        assert!(cross_validate(Setting { penalty: -1.0, l1_ratio: 0.5 }).is_err());
    }
}
