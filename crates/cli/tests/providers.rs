//! What `sky providers` says of keys. No cloud is asked: where a key is set, the way out is a proxy that does
//! not exist.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use skyward::provider::cloud::CLOUDS;

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
PROVIDER      NAME              KEY
local         this computer     needs none
container     containers on it  needs none
ssh           hosts of yours    needs none
digitalocean  DigitalOcean      none in DIGITALOCEAN_TOKEN, DIGITALOCEAN_ACCESS_TOKEN, ~/.config/doctl/config.yaml
lambda        Lambda            the variable LAMBDA_API_KEY
runpod        RunPod            none in RUNPOD_API_KEY, ~/.runpod/config.toml
vastai        Vast.ai           none in VAST_API_KEY, ~/.config/vastai/vast_api_key
verda         Verda             none in VERDA_CLIENT_SECRET
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
    let (text, code) = sky(&[], &["providers", "check", "local"]);
    assert_eq!(text, "error: provider is local: it needs no key, so there is nothing to check\n");
    assert_eq!(code, Some(2));
    let (text, code) = sky(&[], &["providers", "check", "lamda"]);
    assert_eq!(
        text,
        "error: provider is lamda: must be one of digitalocean, lambda, runpod, vastai, verda\n"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn who_is_not_asked_for_want_of_a_key_is_said_with_where_keys_go() {
    let (text, code) = sky(&[], &["plan", "--accelerator", "H100:8"]);
    let note = "note: not asked, for want of a key: digitalocean, lambda, runpod, vastai, verda; see `sky providers list`\n";
    assert!(text.contains(note) && code == Some(1), "{text}");
    for command in ["list", "refresh"] {
        let (text, code) = sky(&[], &["offers", command, "--provider", "runpod"]);
        assert_eq!(
            text,
            "error: runpod has no key: there is none in RUNPOD_API_KEY, ~/.runpod/config.toml; `sky providers list` says where \
             each is looked for, and docs/providers/runpod.md how to make one\n"
        );
        assert_eq!(code, Some(1));
    }
}

#[test]
fn who_was_asked_in_vain_is_not_said_to_have_offers_of_before() {
    let (text, code) = sky(&[("LAMBDA_API_KEY", "secret_x")], &["plan", "--provider", "lambda"]);
    assert!(!text.contains("of before") && !text.contains("sky offers refresh"), "{text}");
    assert!(text.contains("spec 0 on lambda: failed to ") && code == Some(1), "{text}");
    assert!(text.contains("is this computer online, and is HTTPS_PROXY right"), "{text}");
}

/// The way out is a proxy that answers nobody before every cloud was asked: whoever asks one after the other
/// never gets to the second.
#[test]
fn all_clouds_are_asked_at_once() {
    for arguments in [&["providers", "check"][..], &["offers", "refresh"]] {
        let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", proxy.local_addr().expect("its address"));
        let home = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sky"));
        command.env_clear().env("HOME", home.path()).env("HTTPS_PROXY", &address).args(arguments);
        command.envs(CLOUDS.iter().flat_map(|it| it.keys.variables).map(|it| (*it, "a-key")));
        command.env("VERDA_CLIENT_ID", "an-id");
        let mut sky = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sky runs");
        let (asked, each) = mpsc::channel();
        let accepting = std::thread::spawn(move || {
            let mut waiting: Vec<_> = (0..CLOUDS.len()).map_while(|_| Some(proxy.accept().ok()?.0)).collect();
            for stream in &mut waiting {
                let mut first = [0];
                stream.read_exact(&mut first).expect("a request");
            }
            // A receiver that has gone away has told why.
            let _ = asked.send(waiting.len());
        });
        let together = each.recv_timeout(Duration::from_secs(25));
        sky.kill().expect("it is ours");
        sky.wait().expect("it ends");
        assert_eq!(together.ok(), Some(CLOUDS.len()), "{arguments:?} asks one after the other");
        accepting.join().expect("it counts");
    }
}
