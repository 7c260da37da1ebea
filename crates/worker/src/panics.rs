//! What is known of a panic: its message from the payload, its place from a hook.

use std::any::Any;
use std::cell::RefCell;

use skyward_runtime::model::Panic;

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Records the place of every panic from now on, for the thread that panics. What the program had
/// installed before still runs; by default it prints to the worker's log.
pub(crate) fn record() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        PLACE.with(|it| it.replace(place));
        before(info);
    }));
}

/// The panic that was just caught on this thread.
pub(crate) fn caught(payload: &(dyn Any + Send)) -> Panic {
    let message = payload
        .downcast_ref::<&str>()
        .map(|it| (*it).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "its message is not text".to_owned());
    Panic { message, place: PLACE.with(RefCell::take) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_known_by_message_and_place() {
        record();
        let payload = std::panic::catch_unwind(|| panic!("boom {}", 1)).expect_err("panics");
        let panic = caught(&*payload);
        assert_eq!(panic.message, "boom 1");
        assert!(panic.place.expect("recorded").contains("panics.rs:"));
        let payload = std::panic::catch_unwind(|| std::panic::panic_any(7)).expect_err("panics");
        assert_eq!(caught(&*payload).message, "its message is not text");
    }
}
