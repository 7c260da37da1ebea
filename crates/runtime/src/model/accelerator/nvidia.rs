//! NVIDIA's cards for data centres, oldest first.

use super::catalog::{Model, cuda, models};
use super::{Cuda, Form, Manufacturer};

// The toolkit's release notes say with which version a compute capability came and went.
const KEPLER: Option<(Cuda, Option<Cuda>)> = cuda((6, 5), Some((11, 8)));
const MAXWELL: Option<(Cuda, Option<Cuda>)> = cuda((6, 5), Some((12, 9)));
const PASCAL: Option<(Cuda, Option<Cuda>)> = cuda((8, 0), Some((12, 9)));
const VOLTA: Option<(Cuda, Option<Cuda>)> = cuda((9, 0), Some((12, 9)));
const TURING: Option<(Cuda, Option<Cuda>)> = cuda((10, 0), None);
const AMPERE_80: Option<(Cuda, Option<Cuda>)> = cuda((11, 0), None);
const AMPERE_86: Option<(Cuda, Option<Cuda>)> = cuda((11, 1), None);
const ADA: Option<(Cuda, Option<Cuda>)> = cuda((11, 8), None);
const HOPPER: Option<(Cuda, Option<Cuda>)> = cuda((11, 8), None);
const BLACKWELL: Option<(Cuda, Option<Cuda>)> = cuda((12, 8), None);
const BLACKWELL_ULTRA: Option<(Cuda, Option<Cuda>)> = cuda((12, 9), None);

models! { Nvidia;
    K80 "K80" "Kepler" [12] [Pcie] KEPLER
    M40 "M40" "Maxwell" [12 24] [Pcie] MAXWELL
    M60 "M60" "Maxwell" [8] [Pcie] MAXWELL
    P4 "P4" "Pascal" [8] [Pcie] PASCAL
    P40 "P40" "Pascal" [24] [Pcie] PASCAL
    P100 "P100" "Pascal" [12 16] [Pcie Sxm] PASCAL
    V100 "V100" "Volta" [16 32] [Sxm Pcie] VOLTA
    V100S "V100S" "Volta" [32] [Pcie] VOLTA
    T4 "T4" "Turing" [16] [Pcie] TURING
    T4G "T4G" "Turing" [16] [Pcie] TURING
    A2 "A2" "Ampere" [16] [Pcie] AMPERE_86
    A10 "A10" "Ampere" [24] [Pcie] AMPERE_86
    A10G "A10G" "Ampere" [24] [Pcie] AMPERE_86
    A16 "A16" "Ampere" [16] [Pcie] AMPERE_86
    A30 "A30" "Ampere" [24] [Pcie] AMPERE_80
    A40 "A40" "Ampere" [48] [Pcie] AMPERE_86
    A100 "A100" "Ampere" [40 80] [Sxm Pcie] AMPERE_80
    A800 "A800" "Ampere" [40 80] [Sxm Pcie] AMPERE_80
    L2 "L2" "Ada" [24] [Pcie] ADA
    L4 "L4" "Ada" [24] [Pcie] ADA
    L20 "L20" "Ada" [48] [Pcie] ADA
    L40 "L40" "Ada" [48] [Pcie] ADA
    L40S "L40S" "Ada" [48] [Pcie] ADA
    H20 "H20" "Hopper" [96 141] [Sxm] HOPPER
    H100 "H100" "Hopper" [80 94 96] [Sxm Pcie Nvl] HOPPER ["h100mega"]
    H200 "H200" "Hopper" [141] [Sxm Nvl] HOPPER
    H800 "H800" "Hopper" [80] [Sxm Pcie] HOPPER
    GH200 "GH200" "Hopper" [96 144] [Superchip] HOPPER ["gracehopper"]
    B100 "B100" "Blackwell" [192] [Sxm] BLACKWELL
    B200 "B200" "Blackwell" [180 192] [Sxm] BLACKWELL
    B300 "B300" "Blackwell" [262 288] [Sxm] BLACKWELL_ULTRA
    GB200 "GB200" "Blackwell" [186 192] [Superchip] BLACKWELL ["gb200nvl72"]
    GB300 "GB300" "Blackwell" [279 288] [Superchip] BLACKWELL_ULTRA ["gb300nvl72"]
}
