//! What people and clouds write: accelerators and amounts of money.

use skyward::{Accelerator, Allocation, Architecture, Usd};
use skyward_runtime::model::Conversion;
use skyward_runtime::testing::read;

pub(crate) fn accelerators(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(sold) = Accelerator::as_sold(&text) {
        assert!(!sold.name.is_empty());
        let completed = sold.clone().completed();
        assert!(sold.fits(&completed) && completed.fits(&sold), "{sold} is what it is");
    }
    let Ok(typed) = text.parse::<Accelerator>() else { return };
    if typed.validated().is_ok() {
        let shown = typed.to_string();
        let again: Accelerator = read(shown.parse());
        assert_eq!(again.to_string(), shown, "from {text:?}");
    }
}

pub(crate) fn accelerator_seeds() -> Vec<Vec<u8>> {
    [
        "A100",
        "A100:4",
        "A100-80GB:8",
        "RTX 4090",
        "rtx4090",
        "H100-SXM",
        "8x H100",
        "TPU-v4-8",
        "0.5 L4",
        "NVIDIA A100-SXM4-80GB",
        "A100 (40 GB PCIe)",
        "nvidia_h100",
        "RTX PRO 6000",
        "MI300X:8",
        "Quadro RTX 6000",
    ]
    .map(|it| it.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn money(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let allocation = text.parse::<Allocation>().ok().map(|it| it.to_string());
    assert!(allocation.is_none_or(|it| it.parse::<Allocation>().is_ok()));
    let architecture = text.parse::<Architecture>().ok().map(|it| it.to_string());
    assert!(architecture.is_none_or(|it| it.parse::<Architecture>().is_ok()));
    let Ok(amount) = text.parse::<Usd>() else { return };
    assert!(amount >= Usd::ZERO, "{text:?} is less than nothing");
    assert_eq!(read(amount.to_string().parse::<Usd>()), amount, "from {text:?}");
    let tripled = amount * 3;
    assert!(tripled >= amount && amount + tripled >= tripled && (tripled - amount) + amount == tripled);
    let rate = Conversion::new("EUR", amount);
    assert!(read(rate.dollars("1")) == amount, "one of it is its rate");
    assert!(rate.dollars(&text).is_ok());
}

pub(crate) fn money_seeds() -> Vec<Vec<u8>> {
    ["2.50", "$1_000", "2.7e-5", "9223372036.854775807", "0.0000000001", "1e40", "spot", "aarch64", " $0 "]
        .map(|it| it.as_bytes().to_vec())
        .to_vec()
}
