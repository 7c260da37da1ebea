//! One decoder under libFuzzer, which keeps bytes that reach what none did before. `.ci/fuzz` builds it with
//! coverage and starts it, once for each decoder, whose name is in `SKYWARD_FUZZ_DECODER`.
#![no_main]

use std::sync::OnceLock;

use skyward_fuzz::{Decoder, bounded, decoder, decoders};

static CHOSEN: OnceLock<&'static Decoder> = OnceLock::new();

fn chosen() -> &'static Decoder {
    CHOSEN.get_or_init(|| {
        let name = std::env::var("SKYWARD_FUZZ_DECODER").unwrap_or_default();
        let known = || decoders().map(|it| it.name).collect::<Vec<_>>().join(", ");
        decoder(&name)
            .unwrap_or_else(|| unreachable!("SKYWARD_FUZZ_DECODER is `{name}` and not one of {}", known()))
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bounded(chosen(), bytes));
