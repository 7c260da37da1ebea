//! All log lines of this process, at every level, so that they can be searched for what must not be there.

use std::io::{self, Write};
use std::sync::{Mutex, Once};

static START: Once = Once::new();
static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Keeps all that is logged from now on. Harmless when it is done already.
pub(crate) fn capture() {
    START.call_once(|| {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Writer).finish();
        tracing::subscriber::set_global_default(subscriber).expect("nobody else sets one");
    });
}

/// What was logged.
pub(crate) fn text() -> String {
    String::from_utf8_lossy(&TEXT.lock().expect("no writer panics")).into_owned()
}

struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TEXT.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
