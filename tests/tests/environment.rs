//! What a local machine has of the environment of its client: no key, whatever its tasks run in.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use skyward::prelude::*;
use skyward_tests::{Ground, builder, end};

/// A key as a cloud's client has it, and a proxy as a network may need it.
const KEY: (&str, &str) = ("DIGITALOCEAN_TOKEN", "nobody-may-read-this");
const PROXY: (&str, &str) = ("https_proxy", "http://me:nobody-may-read-this@127.0.0.1:9");
const WORDS: (&str, &str) = ("RUST_LOG", "warn");

#[skyward::function]
fn variables() -> BTreeMap<String, String> {
    std::env::vars_os().map(|(name, value)| (lossy(&name), lossy(&value))).collect()
}

/// What every process of the machine was started with, as far as it can be read.
#[skyward::function]
fn of_its_ancestors() -> Vec<String> {
    let parent = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        status.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
    };
    let machine = std::env::var("SKYWARD_MACHINE").expect("on a machine");
    std::iter::successors(Some(std::process::id()), parent)
        .filter_map(|pid| std::fs::read(format!("/proc/{pid}/environ")).ok())
        .map(|it| String::from_utf8_lossy(&it).into_owned())
        .take_while(|it| it.contains(&machine))
        .collect()
}

/// The home that programs are told, and which process of the machine says so.
#[skyward::function]
fn home() -> (Option<String>, u32) {
    (std::env::var("HOME").ok(), std::process::id())
}

fn lossy(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// This test once more, in a process that has them.
#[test]
fn no_task_sees_a_key_of_its_client() {
    let program = std::env::current_exe().expect("known");
    let output = Command::new(program)
        .args(["--exact", "with_a_key_in_the_environment", "--ignored", "--nocapture"])
        .envs([KEY, PROXY, WORDS])
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[skyward::test]
#[ignore = "`no_task_sees_a_key_of_its_client` starts it with a key in its environment"]
async fn with_a_key_in_the_environment() -> skyward::Result<()> {
    assert_eq!(std::env::var(KEY.0).as_deref(), Ok(KEY.1));
    for executor in [Executor::Thread, Executor::Process] {
        let ground = Ground::new("environment");
        let worker = Worker { executor, ..Worker::default() };
        let image = Image::new().env("GREETING", "hello");
        let compute = builder(&ground).image(image).worker(worker).start().await?;
        let seen = (variables() >> &compute).await?;
        for secret in [KEY, PROXY] {
            assert!(
                !seen.values().any(|it| it.contains("nobody-may-read-this")),
                "{executor:?}: {}",
                secret.0
            );
            assert!(!seen.contains_key(secret.0), "{executor:?}: {}", secret.0);
        }
        for (name, value) in [WORDS, ("GREETING", "hello")] {
            assert_eq!(seen.get(name).map(String::as_str), Some(value), "{executor:?}");
        }
        assert!(seen.contains_key("PATH"));
        assert_ne!(seen.get("HOME"), std::env::var("HOME").ok().as_ref(), "a machine has a home of its own");
        for all in (of_its_ancestors() >> &compute).await? {
            assert!(!all.contains("nobody-may-read-this"), "{executor:?}: {all}");
        }
        end(compute, &ground).await?;
    }
    Ok(())
}

/// Its lease is where its guard looks for it, whatever the image says to programs.
#[skyward::test]
async fn a_machine_whose_image_names_another_home_lives_on_beyond_its_lease() -> skyward::Result<()> {
    let (ground, folder) = (Ground::new("home"), tempfile::tempdir()?);
    let named = folder.path().to_string_lossy().into_owned();
    let lease = Duration::from_secs(1);
    let image = Image::new().env("HOME", named.as_str());
    let timing = Timing { lease, ..Timing::short() };
    let compute = builder(&ground).nodes(1).image(image).timing(timing).start().await?;
    let told = (home() >> &compute).await?;
    assert_eq!(told.0, Some(named));
    let mut looks = tokio::time::interval(lease / 4);
    for _ in 0..16 {
        looks.tick().await;
        assert_eq!((home() >> &compute).await?, told, "it is the same worker on the same machine");
    }
    end(compute, &ground).await
}
