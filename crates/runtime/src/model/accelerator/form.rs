//! What a model is, beside its name: who makes it, how it is built in, which CUDA runs on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who makes an accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Manufacturer {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Amazon: Trainium and Inferentia.
    Aws,
    /// Intel: Gaudi, which Habana made before.
    Intel,
    /// Google: TPUs.
    Google,
}

impl Manufacturer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nvidia, Self::Amd, Self::Aws, Self::Intel, Self::Google];

    /// As it is written, such as `NVIDIA`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Aws => "AWS",
            Self::Intel => "Intel",
            Self::Google => "Google",
        }
    }
}

impl fmt::Display for Manufacturer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an accelerator is built into its machine, which decides how fast several of them talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Form {
    /// A module on a board of several with NVLink between all of them.
    Sxm,
    /// A card in a PCIe slot.
    Pcie,
    /// A PCIe card that is bridged to its neighbour.
    Nvl,
    /// A module of the open accelerator form: AMD Instinct, Gaudi.
    Oam,
    /// One package with its own processor, such as GH200.
    Superchip,
    /// A chip of a cloud's own making, soldered in.
    Chip,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Sxm, Self::Pcie, Self::Nvl, Self::Oam, Self::Superchip, Self::Chip];

    /// As it is written after a name: `H100-SXM`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sxm => "SXM",
            Self::Pcie => "PCIe",
            Self::Nvl => "NVL",
            Self::Oam => "OAM",
            Self::Superchip => "superchip",
            Self::Chip => "chip",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A version of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cuda {
    /// 12 of 12.8.
    pub major: u8,
    /// 8 of 12.8.
    pub minor: u8,
}

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
