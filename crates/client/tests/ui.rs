//! What the compiler says to common mistakes. What has to compile is in `design.rs`.

#[test]
fn mistakes_are_explained_where_they_are_made() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail_*.rs");
}
