//! What `sky reap` says of a pool while a program has it, when it was left, and when it is given back.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use skyward::prelude::*;
use skyward::provider::{
    BoxStream, Capabilities, Instance, InstanceId, InstanceState, InstanceType, KeyPrint, Leftover, Offer,
    Price, Provider, ProviderError, ProviderErrorKind, Provisioned, Request, async_trait, stream,
};

/// What it prints, and its exit code.
fn sky(home: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    sky_with(home, &[], arguments)
}

/// The same with these variables. No cloud is asked: the way out is a proxy that does not exist.
fn sky_with(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sky"));
    command.env_clear().env("HOME", home).env("HTTPS_PROXY", "http://127.0.0.1:1");
    command.envs(variables.iter().copied()).arg("reap").args(arguments);
    let told = command.output().expect("sky runs");
    let text = [told.stdout, told.stderr].concat();
    (String::from_utf8(text).expect("text"), told.status.code())
}

#[skyward::function]
async fn double(number: u32) -> u32 {
    number * 2
}

#[skyward::test]
async fn a_pool_is_given_back_when_nobody_has_it_and_that_is_asked_for() -> skyward::Result<()> {
    let home = tempfile::tempdir()?;
    let machines = home.path().join("machines");
    let builder = || {
        let timing = Timing { lease: Duration::from_secs(60), ..Timing::short() };
        let builder = Compute::builder().spec(Spec::on(Local::default().directory(&machines))).timing(timing);
        builder.name("train").state(home.path().join(".local/state/skyward"))
    };
    let says = |arguments: &[&str], words: &[&str], code: i32| {
        let (text, ended) = sky(home.path(), arguments);
        assert!(words.iter().all(|it| text.contains(it)), "{arguments:?}: {text}");
        assert_eq!(ended, Some(code), "{arguments:?}: {text}");
    };
    says(&[], &["there is no journal", "nothing was rented from here"], 0);

    let compute = builder().start().await?;
    let own = format!("in use by process {}", std::process::id());
    says(&["--yes", "--all", "--pool", "train"], &["train", &own, "is left alone"], 1);
    assert_eq!((double(3).key("three") >> &compute).await?, 6);
    compute.detach().await?;

    says(&["--yes"], &["can still be attached to", "is left alone"], 0);
    says(&["--pool", "train"], &["would be given back", "nothing was given back: say --yes"], 0);
    says(&["--pool", "other"], &["pool is other: must be the name or the id"], 2);

    let compute = builder().start().await?;
    let mut events = compute.events();
    assert_eq!((double(3).key("three") >> &compute).await?, 6);
    compute.detach().await?;
    let end = tokio::time::timeout(Duration::from_secs(60), async {
        let mut detached = false;
        while let Some(event) = events.next().await {
            detached |= matches!(event.kind, skyward::EventKind::Detached);
        }
        detached
    });
    assert_eq!(end.await, Ok(true), "its events end with the pool");

    says(&["--all", "--yes", "--json"], &["\"told\": \"given back\""], 0);
    says(&[], &["nothing is rented, as far as this computer knows"], 0);
    assert!(!machines.exists());
    Ok(())
}

/// A cloud that is called like one of ours, is asked with a key of this print, and fails as soon as it is asked for
/// anything.
struct Unreachable(&'static str, &'static str);

#[async_trait]
impl Provider for Unreachable {
    fn name(&self) -> &str {
        self.0
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { root: true, ..Capabilities::NONE }
    }
    fn account(&self) -> Option<KeyPrint> {
        Some(KeyPrint::new(self.1))
    }
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        let offer = Offer::of(self.0, InstanceType::named("small"), Price::on_demand(usd!(1)));
        Box::pin(stream::iter([Ok(offer)]))
    }
    async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
        Err(ProviderError::new(ProviderErrorKind::Local, "the cable is out"))
    }
    async fn provision(&self, _: &Request, _: u32) -> Result<Provisioned, ProviderError> {
        Err(ProviderError::new(ProviderErrorKind::Local, "the cable is out"))
    }
    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        Ok(Instance { id: id.clone(), state: InstanceState::Pending })
    }
    async fn terminate(&self, _: &Request, _: &[InstanceId]) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
        Err(ProviderError::new(ProviderErrorKind::Local, "the cable is out"))
    }
}

/// Leaves a pool in the journal.
async fn begin_in_vain(home: &Path, cloud: Unreachable) {
    let builder = Compute::builder().spec(Spec::on(cloud)).name("sweep").timing(Timing::short());
    let failed = builder.state(home.join(".local/state/skyward")).start().await;
    assert!(failed.is_err());
}

#[skyward::test]
async fn a_file_that_has_another_key_by_now_gives_nothing_back_until_it_has_the_first_again()
-> skyward::Result<()> {
    // The beginnings of the SHA-256 of `first-key` and `second-key`.
    let (first, second) = ("9e24b55356ef2a12", "f397f260a275cc4d");
    let home = tempfile::tempdir()?;
    begin_in_vain(home.path(), Unreachable("vastai", first)).await;
    let file = home.path().join(".config/vastai/vast_api_key");
    std::fs::create_dir_all(file.parent().expect("a folder"))?;
    let gives_back = || {
        let (text, ended) = sky(home.path(), &["--known", "--yes", "--json"]);
        assert!(!text.contains("first-key") && !text.contains("second-key"), "{text}");
        // It is in the journal still.
        let (listed, _) = sky(home.path(), &["--known"]);
        assert!(ended == Some(1) && listed.contains("sweep"), "{text} {listed}");
        text
    };
    let needed = format!("it was rented with the key {first}");
    let missing = gives_back();
    assert!(missing.contains(&needed) && missing.contains("there is none now"), "{missing}");
    std::fs::write(&file, "second-key\n")?;
    let other = gives_back();
    let now = format!("the one that is there now is {second}: put that key in ");
    assert!(other.contains(&needed) && other.contains(&now), "{other}");
    assert!(other.contains(".config/vastai/vast_api_key"), "{other}");
    let (listed, _) = sky(home.path(), &["--known"]);
    assert!(listed.contains("would not be given back: ") && listed.contains(&needed), "{listed}");
    std::fs::write(&file, "first-key\n")?;
    let (listed, ended) = sky(home.path(), &["--known"]);
    assert!(listed.contains("would be given back") && !listed.contains("with the key"), "{listed}");
    assert_eq!(ended, Some(0));
    Ok(())
}

#[skyward::test]
async fn what_needs_another_key_says_so_and_is_forgotten_only_by_its_name() -> skyward::Result<()> {
    let home = tempfile::tempdir()?;
    begin_in_vain(home.path(), Unreachable("lambda", "0123456789abcdef")).await;
    let key = [("LAMBDA_API_KEY", "of another account")];
    let says = |arguments: &[&str], words: &[&str], code: i32| {
        let (text, ended) = sky_with(home.path(), &key, arguments);
        assert!(words.iter().all(|it| text.contains(it)) && !text.contains("of another account"), "{text}");
        assert_eq!(ended, Some(code), "{arguments:?}: {text}");
    };
    let needed =
        ["with the key 0123456789abcdef", "the one that is there now is", "put that key in LAMBDA_API_KEY"];
    says(&["--known", "--json"], &needed, 0);
    says(&["--known", "--yes", "--json"], &needed, 1);
    says(&["--known", "--yes", "--json"], &needed, 1);
    says(&["--forget"], &["--pool"], 2);
    let forget = ["--known", "--forget", "--pool", "sweep", "--yes"];
    says(&forget[..4], &["would be forgotten, and not given back", "say --yes to do so"], 0);
    says(&["--known", "--json"], &needed, 0);
    says(&forget, &["forgotten, and not given back", "look at what its cloud lists"], 0);
    says(&[], &["nothing is rented, as far as this computer knows"], 0);
    Ok(())
}
