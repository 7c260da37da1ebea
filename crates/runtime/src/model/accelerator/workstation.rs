//! NVIDIA's cards for workstations, which marketplaces rent out.

use super::catalog::{Model, cuda, models};
use super::{Cuda, Form, Manufacturer};

const PASCAL: Option<(Cuda, Option<Cuda>)> = cuda((8, 0), Some((12, 9)));
const TURING: Option<(Cuda, Option<Cuda>)> = cuda((10, 0), None);
const AMPERE: Option<(Cuda, Option<Cuda>)> = cuda((11, 1), None);
const ADA: Option<(Cuda, Option<Cuda>)> = cuda((11, 8), None);
const BLACKWELL: Option<(Cuda, Option<Cuda>)> = cuda((12, 8), None);

models! { Nvidia;
    QUADRO_P4000 "Quadro P4000" "Pascal" [8] [Pcie] PASCAL ["p4000"]
    QUADRO_P5000 "Quadro P5000" "Pascal" [16] [Pcie] PASCAL ["p5000"]
    QUADRO_P6000 "Quadro P6000" "Pascal" [24] [Pcie] PASCAL ["p6000"]
    RTX_4000 "RTX 4000" "Turing" [8] [Pcie] TURING ["quadrortx4000"]
    RTX_5000 "RTX 5000" "Turing" [16] [Pcie] TURING ["quadrortx5000"]
    RTX_6000 "RTX 6000" "Turing" [24] [Pcie] TURING ["quadrortx6000"]
    RTX_8000 "RTX 8000" "Turing" [48] [Pcie] TURING ["quadrortx8000"]
    RTX_A2000 "RTX A2000" "Ampere" [6 12] [Pcie] AMPERE ["a2000"]
    RTX_A4000 "RTX A4000" "Ampere" [16] [Pcie] AMPERE ["a4000"]
    RTX_A4500 "RTX A4500" "Ampere" [20] [Pcie] AMPERE ["a4500"]
    RTX_A5000 "RTX A5000" "Ampere" [24] [Pcie] AMPERE ["a5000"]
    RTX_A5500 "RTX A5500" "Ampere" [24] [Pcie] AMPERE ["a5500"]
    RTX_A6000 "RTX A6000" "Ampere" [48] [Pcie] AMPERE ["a6000"]
    RTX_2000_ADA "RTX 2000 Ada" "Ada" [16] [Pcie] ADA ["2000ada"]
    RTX_4000_ADA "RTX 4000 Ada" "Ada" [20] [Pcie] ADA ["4000ada" "rtx4000sffada"]
    RTX_4500_ADA "RTX 4500 Ada" "Ada" [24] [Pcie] ADA ["4500ada"]
    RTX_5000_ADA "RTX 5000 Ada" "Ada" [32] [Pcie] ADA ["5000ada"]
    RTX_5880_ADA "RTX 5880 Ada" "Ada" [48] [Pcie] ADA ["rtx5880" "5880" "5880ada"]
    RTX_6000_ADA "RTX 6000 Ada" "Ada" [48] [Pcie] ADA ["6000ada" "a6000ada" "rtxa6000ada"]
    RTX_PRO_4000 "RTX PRO 4000" "Blackwell" [24] [Pcie] BLACKWELL ["rtxpro4000blackwell"]
    RTX_PRO_4500 "RTX PRO 4500" "Blackwell" [32] [Pcie] BLACKWELL ["rtxpro4500blackwell"]
    RTX_PRO_5000 "RTX PRO 5000" "Blackwell" [48 72] [Pcie] BLACKWELL ["rtxpro5000blackwell"]
    RTX_PRO_6000 "RTX PRO 6000" "Blackwell" [96] [Pcie] BLACKWELL [
        "pro6000" "rtx6000pro" "rtx6000blackwell" "rtxpro6000blackwell" "rtxproa6000se"
        "rtxpro6000se" "rtxpro6000we" "rtxpro6000ws" "rtxpro6000wk" "rtxpro6000s" "rtxpro6000cc"
        "rtxpro6000maxq" "rtxpro6000blackwellmaxq"
    ]
}
