//! A program whose main is not async, run without the test harness; and names of its own that the
//! expansion of a function must not confuse with others.
#![deny(warnings)]

use skyward::Never;

type Result<T> = std::result::Result<T, String>;

#[allow(dead_code)]
struct Call;
#[allow(dead_code)]
struct Bytes;
#[allow(dead_code)]
enum Option {}

#[skyward::function]
fn own_alias(text: String) -> Result<std::string::String> {
    Ok(text)
}

#[skyward::function]
fn spelled(text: String) -> std::result::Result<(), Never> {
    drop(text);
    Ok(())
}

#[skyward::function]
fn gives_the_first(r#type: u32) -> u64 {
    u64::from(r#type)
}

#[skyward::function]
fn __skyward() {}

#[skyward::main]
fn main() {
    assert_eq!(own_alias("x".into()).name(), "plain_main::own_alias");
    let calls = (spelled("y".into()), gives_the_first(1), __skyward());
    assert_eq!(format!("{:?}", calls.1), "Call(plain_main::gives_the_first, 4 bytes)");
}
