//! Choosing machines from what clouds really sell: every spelling of an accelerator is read, the catalog
//! finds what a plain search finds, and many processes share one catalog.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod processes;
mod reference;
mod shared;
mod spellings;
