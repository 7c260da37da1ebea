//! Accelerators that do not run CUDA: AMD, Amazon, Intel, Google.

use super::catalog::Model;
use super::{Form, Manufacturer};

/// AMD Instinct, and the Radeon Pro cards that clouds rent out.
mod amd {
    use super::super::catalog::models;
    use super::{Form, Manufacturer, Model};

    models! { Amd;
        MI25 "MI25" "Vega" [16] [Pcie] None
        MI50 "MI50" "Vega" [16 32] [Pcie] None
        MI60 "MI60" "Vega" [32] [Pcie] None
        MI100 "MI100" "CDNA" [32] [Pcie] None
        MI210 "MI210" "CDNA2" [64] [Pcie] None
        MI250 "MI250" "CDNA2" [128] [Oam] None
        MI250X "MI250X" "CDNA2" [128] [Oam] None
        MI300A "MI300A" "CDNA3" [128] [Superchip] None
        MI300X "MI300X" "CDNA3" [192] [Oam] None
        MI308X "MI308X" "CDNA3" [192] [Oam] None
        MI325X "MI325X" "CDNA3" [256] [Oam] None
        MI350X "MI350X" "CDNA4" [288] [Oam] None
        MI355X "MI355X" "CDNA4" [288] [Oam] None
        RADEON_PRO_V520 "Radeon Pro V520" "RDNA" [8] [Pcie] None ["v520" "prov520"]
        RADEON_PRO_V620 "Radeon Pro V620" "RDNA2" [32] [Pcie] None ["v620" "prov620"]
        RADEON_PRO_V710 "Radeon Pro V710" "RDNA3" [28] [Pcie] None ["v710" "prov710"]
    }
}

/// Amazon's own chips, counted in chips.
mod amazon {
    use super::super::catalog::models;
    use super::{Form, Manufacturer, Model};

    models! { Aws;
        TRAINIUM1 "Trainium1" "Trainium" [32] [Chip] None ["trainium" "trn1" "trn1n"]
        TRAINIUM2 "Trainium2" "Trainium" [96] [Chip] None ["trn2" "trn2u"]
        TRAINIUM3 "Trainium3" "Trainium" [144] [Chip] None ["trn3"]
        INFERENTIA1 "Inferentia1" "Inferentia" [8] [Chip] None ["inferentia" "inf1"]
        INFERENTIA2 "Inferentia2" "Inferentia" [32] [Chip] None ["inf2"]
    }
}

/// Gaudi, under its names of both makers.
mod gaudi {
    use super::super::catalog::models;
    use super::{Form, Manufacturer, Model};

    models! { Intel;
        GAUDI1 "Gaudi1" "Gaudi" [32] [Oam] None ["gaudi" "hl205"]
        GAUDI2 "Gaudi2" "Gaudi" [96] [Oam] None ["hl225" "hl225h"]
        GAUDI3 "Gaudi3" "Gaudi" [128] [Oam Pcie] None ["hl325" "hl325l" "hl338"]
    }
}

/// Google's chips, counted in chips. The names of machine types count as names of the chip too.
mod tpu {
    use super::super::catalog::models;
    use super::{Form, Manufacturer, Model};

    models! { Google;
        TPU_V2 "TPU v2" "TPU" [16] [Chip] None ["ct2" "v2"]
        TPU_V3 "TPU v3" "TPU" [32] [Chip] None ["ct3" "ct3p" "v3"]
        TPU_V4 "TPU v4" "TPU" [32] [Chip] None ["ct4" "ct4p" "v4"]
        TPU_V5E "TPU v5e" "TPU" [16] [Chip] None [
            "ct5l" "ct5lp" "v5e" "v5litepod" "tpuv5lite" "tpuv5litepod" "tpuv5litedevice" "tpuv5litepodslice"
        ]
        TPU_V5P "TPU v5p" "TPU" [95] [Chip] None ["ct5p" "v5p" "tpuv5pslice"]
        TPU_V6E "TPU v6e" "TPU" [32] [Chip] None ["ct6e" "v6e" "trillium" "tpuv6eslice"]
        TPU_7X "TPU 7x" "TPU" [192] [Chip] None ["tpuv7" "tpuv7x" "ironwood"]
    }
}

pub use amazon::{INFERENTIA1, INFERENTIA2, TRAINIUM1, TRAINIUM2, TRAINIUM3};
pub use amd::{
    MI25, MI50, MI60, MI100, MI210, MI250, MI250X, MI300A, MI300X, MI308X, MI325X, MI350X, MI355X,
    RADEON_PRO_V520, RADEON_PRO_V620, RADEON_PRO_V710,
};
pub use gaudi::{GAUDI1, GAUDI2, GAUDI3};
pub use tpu::{TPU_7X, TPU_V2, TPU_V3, TPU_V4, TPU_V5E, TPU_V5P, TPU_V6E};

/// Those of each maker.
pub(super) const ALL: [&[&Model]; 4] = [amd::ALL, amazon::ALL, gaudi::ALL, tpu::ALL];
