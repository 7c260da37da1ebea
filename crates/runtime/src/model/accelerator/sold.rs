//! The one place where clouds' spellings become ours, and where is said what we leave out and why.

use std::fmt;

use super::nearest::squash;
use super::{Accelerator, spelling};

/// A cloud's spelling that is no accelerator of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsold {
    /// It is known, and nothing that a program could ask for.
    Refused {
        /// As the cloud writes it.
        spelling: String,
        /// Why it is left out.
        reason: &'static str,
    },
    /// Nobody has written it down. An offer with it can be kept with [`Accelerator::custom`].
    Unknown {
        /// As the cloud writes it.
        spelling: String,
    },
}

/// What a cloud calls `spelling`. Clouds are believed about memory, which owners rebuild, but not about
/// a form in which the model does not exist.
pub(super) fn read(spelling: &str) -> Result<Accelerator, Unsold> {
    let squashed = squash(spelling);
    if let Some((_, reason)) = REFUSED.iter().find(|(it, _)| *it == squashed) {
        return Err(Unsold::Refused { spelling: spelling.to_owned(), reason });
    }
    let found = spelling::read(spelling).ok_or_else(|| Unsold::Unknown { spelling: spelling.to_owned() })?;
    let mut accelerator = Accelerator::from(found.model);
    accelerator.count = found.count.unwrap_or_default();
    accelerator.memory_mib = found.memory_mib;
    accelerator.form = found.form.filter(|it| found.model.forms.contains(it));
    accelerator.form = accelerator.telling_form();
    Ok(accelerator)
}

impl fmt::Display for Unsold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { spelling, reason } => write!(f, "`{spelling}` is left out: {reason}"),
            Self::Unknown { spelling } => {
                write!(f, "`{spelling}` is no accelerator that the catalog knows; report it, with its cloud")
            }
        }
    }
}

impl std::error::Error for Unsold {}

const ANONYMOUS: &str = "the cloud does not say which model it is";
const FPGA: &str = "it is a programmable gate array";
const NOT_FOR_COMPUTE: &str = "it encodes video or draws desktops, and takes no programs";
const NO_TOOLCHAIN: &str = "it needs the cloud's own compiler, which is not offered outside it";

/// Squashed spellings that are left out.
const REFUSED: [(&str, &str); 25] = [
    ("", ANONYMOUS),
    ("5090", "a number alone is sold with 96 GB, which no RTX 5090 has"),
    ("a910e", NO_TOOLCHAIN),
    ("a910x", NO_TOOLCHAIN),
    ("a910z", NO_TOOLCHAIN),
    ("agf027", FPGA),
    ("alinpu800", NO_TOOLCHAIN),
    ("g39", ANONYMOUS),
    ("g49", ANONYMOUS),
    ("g49e", ANONYMOUS),
    ("g59", ANONYMOUS),
    ("ga107", ANONYMOUS),
    ("gpua", ANONYMOUS),
    ("gpuh", ANONYMOUS),
    ("gpuhe", ANONYMOUS),
    ("intelarria10gx1150", FPGA),
    ("intelsg1", NOT_FOR_COMPUTE),
    ("l20n", ANONYMOUS),
    ("lovelace", ANONYMOUS),
    ("netintt408", NOT_FOR_COMPUTE),
    ("ppu810", NO_TOOLCHAIN),
    ("s7150", NOT_FOR_COMPUTE),
    ("vg1000", NOT_FOR_COMPUTE),
    ("vgpu8", ANONYMOUS),
    ("xilinxvu9p", FPGA),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::accelerator::Form;
    use crate::model::accelerators::*;

    #[test]
    fn the_spellings_of_each_cloud_become_ours() {
        for (sold, ours) in [
            ("nvidia_h100", H100.count(1)),
            ("amd_mi300x", MI300X.count(1)),
            ("nvidia_rtx6000_ada", RTX_6000_ADA.count(1)),
            ("nvidia-tesla-t4", T4.count(1)),
            ("nvidia-h100-80gb", H100.memory_gb(80)),
            ("nvidia-h100-mega-80gb", H100.memory_gb(80)),
            ("nvidia-h200-141gb", H200.memory_gb(141)),
            ("NVIDIA_HGX_H100", H100.form(Form::Sxm)),
            ("geforcertx4090-pcie-24gb", RTX_4090.memory_gb(24)),
            ("h100-sxm5-80gb", H100.memory_gb(80).form(Form::Sxm)),
            ("NVIDIA H100 80GB HBM3", H100.memory_gb(80)),
            ("NVIDIA A100-SXM4-80GB", A100.memory_gb(80).form(Form::Sxm)),
            ("NVIDIA RTX 4000 SFF Ada Generation", RTX_4000_ADA.count(1)),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", RTX_PRO_6000.count(1)),
            ("RTX PRO 6000 WS", RTX_PRO_6000.count(1)),
            ("AMD Instinct MI300X OAM", MI300X.count(1)),
            ("Tesla V100-PCIE-16GB", V100.memory_gb(16).form(Form::Pcie)),
            ("gpu_8x_h100_sxm5", H100.count(8).form(Form::Sxm)),
            ("1x H100 SXM5 80GB", H100.memory_gb(80).form(Form::Sxm)),
            ("A100-80G-PCIe-NVLink", A100.memory_gb(80).form(Form::Pcie)),
            ("RTX6000Ada", RTX_6000_ADA.count(1)),
            ("DGX A100", A100.form(Form::Sxm)),
            ("RTX 4090 24GB", RTX_4090.memory_gb(24)),
            ("RTX 4090 (48 GB mod)", RTX_4090.memory_gb(48)),
            ("H100_SXM5_80G", H100.memory_gb(80).form(Form::Sxm)),
            ("a100sxm480gb", A100.memory_gb(80).form(Form::Sxm)),
            ("tpu-v5-lite-podslice", TPU_V5E.count(1)),
            ("HL-205", GAUDI1.count(1)),
            ("NVIDIA B200 NVL", B200.count(1)),
        ] {
            assert_eq!(Accelerator::as_sold(sold), Ok(ours), "{sold}");
        }
    }

    #[test]
    fn what_is_left_out_has_a_reason_and_what_is_not_known_is_said() {
        let refused = |it: &str| Accelerator::as_sold(it).expect_err("it is left out").to_string();
        assert_eq!(refused("Xilinx VU9p"), "`Xilinx VU9p` is left out: it is a programmable gate array");
        let unknown = "`Abacus 3` is no accelerator that the catalog knows; report it, with its cloud";
        assert_eq!(refused("Abacus 3"), unknown);
    }
}
