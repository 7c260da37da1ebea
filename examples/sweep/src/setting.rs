//! The settings that the sweep compares.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One setting of an elastic net.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// How strongly large weights are punished: 0 is least squares.
    pub penalty: f64,
    /// Which part of the penalty is on the absolute weights, which drops features: 0 is ridge, 1 lasso.
    pub l1_ratio: f64,
}

/// Seven penalties, three a decade, times nine ratios: 63 settings.
pub fn grid() -> Vec<Setting> {
    const PENALTIES: [f64; 7] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
    const L1_RATIOS: [f64; 9] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0];
    let with = |penalty| L1_RATIOS.into_iter().map(move |l1_ratio| Setting { penalty, l1_ratio });
    PENALTIES.into_iter().flat_map(with).collect()
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "penalty {:<5} l1_ratio {:<4}", self.penalty, self.l1_ratio)
    }
}
