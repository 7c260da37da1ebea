//! What `sky providers` says of keys. No cloud is asked: where a key is set, the way out is a proxy that does
//! not exist.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::process::Command;

/// What it prints, and its exit code.
fn sky(variables: &[(&str, &str)], arguments: &[&str]) -> (String, Option<i32>) {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sky"));
    command.env_clear().env("HOME", home.path()).env("HTTPS_PROXY", "http://127.0.0.1:1");
    let told = command.envs(variables.iter().copied()).args(arguments).output().expect("sky runs");
    let text = [told.stdout, told.stderr].concat();
    (String::from_utf8(text).expect("text"), told.status.code())
}

#[test]
fn every_provider_is_listed_with_the_place_of_its_key() {
    let (text, code) = sky(&[("LAMBDA_API_KEY", "secret_x")], &["providers", "list"]);
    let expected = "\
PROVIDER      NAME           KEY
local         this computer  needs none
digitalocean  DigitalOcean   none in DIGITALOCEAN_TOKEN, DIGITALOCEAN_ACCESS_TOKEN, ~/.config/doctl/config.yaml
lambda        Lambda         the variable LAMBDA_API_KEY
";
    assert_eq!((text.as_str(), code), (expected, Some(0)));
    let (text, _) = sky(&[("LAMBDA_API_KEY", "secret_x")], &["providers", "list", "--json"]);
    assert!(text.contains(r#""key": "the variable LAMBDA_API_KEY""#) && !text.contains("secret_x"), "{text}");
}

#[test]
fn a_check_that_fails_says_why_and_never_the_key() {
    let (text, code) = sky(&[("DIGITALOCEAN_TOKEN", "dop_v1_secret")], &["providers", "check"]);
    assert!(text.starts_with("digitalocean: failed to ask for the account at DigitalOcean: "), "{text}");
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_check_without_keys_says_where_they_go() {
    let (text, code) = sky(&[], &["providers", "check"]);
    assert_eq!(text, "no provider has a key; `sky providers list` says where each is looked for\n");
    assert_eq!(code, Some(1));
    let (text, code) = sky(&[], &["providers", "check", "lambda"]);
    assert!(text.starts_with("lambda: failed to find a key for Lambda: it is in none of"), "{text}");
    assert_eq!(code, Some(1));
    let (text, code) = sky(&[], &["providers", "check", "lamda"]);
    assert_eq!(text, "error: provider is lamda: must be one of digitalocean, lambda\n");
    assert_eq!(code, Some(2));
}
