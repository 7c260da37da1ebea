//! NVIDIA's cards for players, which marketplaces rent out.

use super::catalog::{Model, cuda, models};
use super::{Cuda, Form, Manufacturer};

const PASCAL: Option<(Cuda, Option<Cuda>)> = cuda((8, 0), Some((12, 9)));
const VOLTA: Option<(Cuda, Option<Cuda>)> = cuda((9, 0), Some((12, 9)));
const TURING: Option<(Cuda, Option<Cuda>)> = cuda((10, 0), None);
const AMPERE: Option<(Cuda, Option<Cuda>)> = cuda((11, 1), None);
const ADA: Option<(Cuda, Option<Cuda>)> = cuda((11, 8), None);
const BLACKWELL: Option<(Cuda, Option<Cuda>)> = cuda((12, 8), None);

models! { Nvidia;
    GTX_1050_TI "GTX 1050 Ti" "Pascal" [4] [Pcie] PASCAL ["1050ti"]
    GTX_1060 "GTX 1060" "Pascal" [3 6] [Pcie] PASCAL ["1060"]
    GTX_1070 "GTX 1070" "Pascal" [8] [Pcie] PASCAL ["1070"]
    GTX_1070_TI "GTX 1070 Ti" "Pascal" [8] [Pcie] PASCAL ["1070ti"]
    GTX_1080 "GTX 1080" "Pascal" [8] [Pcie] PASCAL ["1080"]
    GTX_1080_TI "GTX 1080 Ti" "Pascal" [11] [Pcie] PASCAL ["1080ti"]
    TITAN_XP "Titan Xp" "Pascal" [12] [Pcie] PASCAL
    TITAN_V "Titan V" "Volta" [12] [Pcie] VOLTA
    TITAN_RTX "Titan RTX" "Turing" [24] [Pcie] TURING
    GTX_1650 "GTX 1650" "Turing" [4] [Pcie] TURING ["1650"]
    GTX_1650_SUPER "GTX 1650 Super" "Turing" [4] [Pcie] TURING ["1650super" "gtx1650s"]
    GTX_1660 "GTX 1660" "Turing" [6] [Pcie] TURING ["1660"]
    GTX_1660_SUPER "GTX 1660 Super" "Turing" [6] [Pcie] TURING ["1660super" "gtx1660s"]
    GTX_1660_TI "GTX 1660 Ti" "Turing" [6] [Pcie] TURING ["1660ti"]
    RTX_2060 "RTX 2060" "Turing" [6 12] [Pcie] TURING ["2060"]
    RTX_2060_SUPER "RTX 2060 Super" "Turing" [8] [Pcie] TURING ["2060super" "rtx2060s"]
    RTX_2070 "RTX 2070" "Turing" [8] [Pcie] TURING ["2070"]
    RTX_2070_SUPER "RTX 2070 Super" "Turing" [8] [Pcie] TURING ["2070super" "rtx2070s"]
    RTX_2080 "RTX 2080" "Turing" [8] [Pcie] TURING ["2080"]
    RTX_2080_SUPER "RTX 2080 Super" "Turing" [8] [Pcie] TURING ["2080super" "rtx2080s"]
    RTX_2080_TI "RTX 2080 Ti" "Turing" [11] [Pcie] TURING ["2080ti"]
    RTX_3050 "RTX 3050" "Ampere" [6 8] [Pcie] AMPERE ["3050"]
    RTX_3060 "RTX 3060" "Ampere" [8 12] [Pcie] AMPERE ["3060"]
    RTX_3060_TI "RTX 3060 Ti" "Ampere" [8] [Pcie] AMPERE ["3060ti"]
    RTX_3070 "RTX 3070" "Ampere" [8] [Pcie] AMPERE ["3070"]
    RTX_3070_TI "RTX 3070 Ti" "Ampere" [8] [Pcie] AMPERE ["3070ti"]
    RTX_3080 "RTX 3080" "Ampere" [10 12] [Pcie] AMPERE ["3080"]
    RTX_3080_TI "RTX 3080 Ti" "Ampere" [12] [Pcie] AMPERE ["3080ti"]
    RTX_3090 "RTX 3090" "Ampere" [24] [Pcie] AMPERE ["3090"]
    RTX_3090_TI "RTX 3090 Ti" "Ampere" [24] [Pcie] AMPERE ["3090ti"]
    RTX_4060 "RTX 4060" "Ada" [8] [Pcie] ADA ["4060"]
    RTX_4060_TI "RTX 4060 Ti" "Ada" [8 16] [Pcie] ADA ["4060ti"]
    RTX_4070 "RTX 4070" "Ada" [12] [Pcie] ADA ["4070"]
    RTX_4070_SUPER "RTX 4070 Super" "Ada" [12] [Pcie] ADA ["4070super" "rtx4070s"]
    RTX_4070_TI "RTX 4070 Ti" "Ada" [12] [Pcie] ADA ["4070ti"]
    RTX_4070_TI_SUPER "RTX 4070 Ti Super" "Ada" [16] [Pcie] ADA ["4070tisuper" "rtx4070tis"]
    RTX_4080 "RTX 4080" "Ada" [16 32] [Pcie] ADA ["4080"]
    RTX_4080_SUPER "RTX 4080 Super" "Ada" [16 32] [Pcie] ADA ["4080super" "rtx4080s"]
    RTX_4090 "RTX 4090" "Ada" [24 48] [Pcie] ADA ["4090"]
    RTX_4090D "RTX 4090D" "Ada" [24 48] [Pcie] ADA ["4090d"]
    RTX_5060 "RTX 5060" "Blackwell" [8] [Pcie] BLACKWELL ["5060"]
    RTX_5060_TI "RTX 5060 Ti" "Blackwell" [8 16] [Pcie] BLACKWELL ["5060ti"]
    RTX_5070 "RTX 5070" "Blackwell" [12] [Pcie] BLACKWELL ["5070"]
    RTX_5070_TI "RTX 5070 Ti" "Blackwell" [16] [Pcie] BLACKWELL ["5070ti"]
    RTX_5080 "RTX 5080" "Blackwell" [16] [Pcie] BLACKWELL ["5080"]
    RTX_5090 "RTX 5090" "Blackwell" [32] [Pcie] BLACKWELL ["5090"]
}
