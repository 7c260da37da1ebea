//! Pools on real hosts, over their own SSH servers: what works there, and what is left. `hosts_that_fail` has what
//! befalls them.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails where it stands")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyward::prelude::*;
use skyward::{EventKind, Ssh, ssh};
use skyward_tests::testbed::{Bed, Host};
use skyward_tests::{desk, until};

/// Longer than anything takes, on busy cores, too.
const PATIENCE: Duration = Duration::from_secs(90);

fn timing() -> Timing {
    let (detect, grace) = (Duration::from_secs(5), Duration::from_secs(20));
    let (provision, ssh, join) = (PATIENCE, PATIENCE, PATIENCE);
    Timing {
        detect,
        grace,
        provision,
        ssh,
        join,
        lease: PATIENCE,
        ttl: PATIENCE,
        offers: PATIENCE,
        ..Timing::short()
    }
}

fn config(bed: &Bed) -> ssh::Config {
    let hosts = bed.hosts().iter().map(|it| it.name().into()).collect();
    ssh::Config { hosts, ssh_config: Some(bed.ssh_config()), ..ssh::Config::default() }
}

fn pool(config: ssh::Config) -> skyward::Builder {
    Compute::builder().spec(Spec::on(Ssh::new(config))).timing(timing())
}

/// What a host has before anybody used it.
#[derive(Debug, PartialEq)]
struct State {
    files: Vec<String>,
    processes: Vec<String>,
}

fn state(host: &Host) -> State {
    State { files: host.files(), processes: host.processes() }
}

/// Waits until a host is as it was before.
fn expect_as_before(bed: &Bed, before: &[State]) {
    let as_before = || {
        bed.hosts()
            .iter()
            .map(state)
            .eq(before.iter().map(|it| State { files: it.files.clone(), processes: it.processes.clone() }))
    };
    if until(PATIENCE, || as_before().then_some(())).is_none() {
        for (host, before) in bed.hosts().iter().zip(before) {
            assert_eq!(&state(host), before, "left on {}", host.name());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Refusal {
    TooLarge { limit: u32 },
}

#[skyward::function]
async fn rank() -> Option<u32> {
    skyward::instance_info().map(|it| it.rank.0)
}

#[skyward::function]
async fn echo(text: String) -> String {
    text
}

#[skyward::function]
fn double(number: u64) -> u64 {
    number * 2
}

#[skyward::function]
async fn small(number: u32) -> Result<u32, Refusal> {
    if number < 10 { Ok(number) } else { Err(Refusal::TooLarge { limit: 10 }) }
}

#[skyward::function]
async fn fails_with_a_chain() -> Result<(), Failure> {
    "not a number".parse::<u32>()?;
    Ok(())
}

#[skyward::function]
async fn panics() -> u32 {
    panic!("out of luck")
}

#[skyward::function]
async fn never() {
    std::future::pending::<()>().await;
}

#[skyward::function]
fn counts(to: u32) -> impl futures_util::Stream<Item = u32> {
    futures_util::stream::iter(0..to)
}

#[skyward::function]
fn place() -> (String, String, String) {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let home = std::env::var("HOME").unwrap_or_default();
    let greeting = std::env::var("GREETING").unwrap_or_default();
    (name.trim().to_owned(), home, greeting)
}

#[skyward::function]
fn reads(path: String) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// What calls can do, once each, on a pool of two.
async fn smoke(compute: &Compute) -> skyward::Result<()> {
    assert_eq!((echo("small".into()) >> compute).await?, "small");
    let large = "0123456789abcdef".repeat(1 << 17);
    assert!((echo(large.clone()) >> compute).await? == large);
    assert_eq!((double(21) >> compute).await?, 42);
    assert_eq!((small(3) >> compute).await?, 3);
    let refused = (small(10) >> compute).await;
    assert!(matches!(refused, Err(CallError::Task(Refusal::TooLarge { limit: 10 }))), "{refused:?}");
    let chain = (fails_with_a_chain() >> compute).await.expect_err("it fails").to_string();
    assert!(chain.contains("invalid digit"), "{chain}");
    assert!(matches!((panics() >> compute).await, Err(CallError::Panicked(_))));
    assert_eq!((rank() * compute).await?, [Some(0), Some(1)]);
    assert_eq!((rank() >> compute.node(1)).await?, Some(1));
    assert_eq!((rank() >> compute.head()).await?, Some(0));
    assert_eq!(
        (gather((0..200).map(double)) >> compute).await?,
        (0..200).map(|it| it * 2).collect::<Vec<_>>()
    );
    assert_eq!(((double(1) & small(2)) >> compute).await?, (2, 2));
    assert_eq!(compute.map(double, 0..10).await?, (0..10).map(|it| it * 2).collect::<Vec<_>>());
    let slow = (never().timeout(Duration::from_millis(200)) >> compute).await;
    assert!(matches!(slow, Err(CallError::TimedOut(_))), "{slow:?}");
    let dropped = tokio::time::timeout(Duration::from_millis(50), never() >> compute).await;
    assert!(dropped.is_err());
    let items: Vec<_> = (counts(50) >> compute).collect().await?;
    assert_eq!(items, (0..50).collect::<Vec<_>>());
    let mut live = compute.stream(gather((0..20).map(double)));
    let mut seen = 0;
    while let Some(result) = live.next().await {
        seen += result?;
    }
    assert_eq!(seen, 380);
    let places = (place() * compute).await?;
    assert!(
        places.iter().all(|(_, home, greeting)| home.contains("/.skyward-hosts/") && greeting == "hello")
    );
    let names: Vec<_> = places.iter().map(|it| it.0.clone()).collect();
    assert!(names.contains(&"h1".to_owned()) && names.contains(&"h2".to_owned()), "{names:?}");
    let desk = desk("hosts")?;
    let file = desk.path().join("file");
    std::fs::write(&file, "what is in it")?;
    compute.node(1).upload(&file, "there").await?;
    assert_eq!((reads("there".into()) >> compute.node(1)).await?, "what is in it");
    compute.node(1).download("there", &file).await?;
    assert_eq!(std::fs::read_to_string(&file)?, "what is in it");
    assert_eq!((reads("made".into()) >> compute).await?, "by a step\n");
    Ok(())
}

fn image() -> Image {
    Image::new().env("GREETING", "hello").shell("echo by a step >made")
}

async fn carries(carrier: Carrier) -> skyward::Result<()> {
    let Some(bed) = Bed::of(2) else { return Ok(()) };
    let before: Vec<_> = bed.hosts().iter().map(state).collect();
    let compute = pool(config(&bed)).nodes(2).carrier(carrier).image(image()).start().await?;
    smoke(&compute).await?;
    compute.stop().await?;
    expect_as_before(&bed, &before);
    Ok(())
}

#[skyward::test]
async fn twenty_kinds_of_calls_work_on_hosts_over_quic() -> skyward::Result<()> {
    carries(Carrier::Quic).await
}

#[skyward::test]
async fn twenty_kinds_of_calls_work_on_hosts_over_ssh() -> skyward::Result<()> {
    carries(Carrier::Ssh).await
}

#[skyward::test]
async fn a_host_is_one_pools_unless_both_share_it_and_has_as_many_machines_as_it_may() -> skyward::Result<()>
{
    let Some(bed) = Bed::of(1) else { return Ok(()) };
    let before: Vec<_> = bed.hosts().iter().map(state).collect();
    let hurried = |config| pool(config).timing(Timing { provision_attempts: 1, ..timing() });
    let first = pool(config(&bed)).start().await?;
    let refused =
        hurried(ssh::Config { share: true, ..config(&bed) }).start().await.expect_err("it is taken");
    assert!(refused.to_string().contains("has it"), "{refused}");
    assert_eq!((double(1) >> &first).await?, 2);
    first.stop().await?;
    let shared = ssh::Config { share: true, slots: 2, ..config(&bed) };
    let first = pool(shared.clone()).start().await?;
    let second = pool(shared.clone()).start().await?;
    assert_ne!((place() >> &first).await?.1, (place() >> &second).await?.1);
    let refused = hurried(shared).start().await.expect_err("it is full");
    assert!(refused.to_string().contains("as many as there may be"), "{refused}");
    first.stop().await?;
    assert_eq!((double(1) >> &second).await?, 2);
    second.stop().await?;
    let both = pool(ssh::Config { slots: 2, ..config(&bed) }).nodes(2).start().await?;
    let homes = (place() * &both).await?;
    assert_ne!(homes.first().map(|it| &it.1), homes.last().map(|it| &it.1));
    both.stop().await?;
    expect_as_before(&bed, &before);
    Ok(())
}

#[skyward::test]
async fn a_program_is_kept_on_a_host_where_that_is_wanted() -> skyward::Result<()> {
    let Some(bed) = Bed::of(1) else { return Ok(()) };
    let before = bed.host(1).files();
    for expected in [true, false] {
        let starting = pool(ssh::Config { cache: true, ..config(&bed) });
        let compute = starting.start().await?;
        let mut seen = None;
        let mut events = compute.events();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), events.next()).await {
            if let EventKind::Deployed { sent, .. } = event.kind {
                seen = Some(sent);
            }
        }
        assert!(seen.is_none_or(|it| it == expected));
        compute.stop().await?;
    }
    let left: Vec<_> = bed.host(1).files().into_iter().filter(|it| !before.contains(it)).collect();
    assert_eq!(left.len(), 3, "the folder, that of programs, and one program: {left:?}");
    Ok(())
}

#[skyward::test]
async fn a_host_is_reached_through_another_and_by_an_agents_key() -> skyward::Result<()> {
    let Some(bed) = Bed::of(2) else { return Ok(()) };
    let before: Vec<_> = bed.hosts().iter().map(state).collect();
    let agent = Agent::with(&bed);
    // The second host is known to the first alone.
    let known = bed.folder().join("known_hosts");
    let (key, config) = (agent.socket.display(), bed.folder().join("through"));
    let entry = |name: &str, address, more: &str| {
        format!(
            "Host {name}\n  HostName {address}\n  User ubuntu\n  IdentityAgent {key}\n  IdentityFile none\n{more}"
        )
    };
    let (near, far) = (bed.host(1), bed.host(2));
    std::fs::write(&known, bed.known_hosts())?;
    let text = entry("near", near.address(), "") + &entry("far", far.address(), "  ProxyJump near\n");
    std::fs::write(&config, text)?;
    let config = ssh::Config {
        hosts: vec!["far".into()],
        ssh_config: Some(config),
        known_hosts: Some(known),
        ..ssh::Config::default()
    };
    let compute = pool(config).start().await?;
    assert_eq!((place() >> &compute).await?.0, "h2");
    let sessions = near.run("ss -Htn state established dport = :22 2>/dev/null || true");
    assert!(sessions.contains(&far.address().to_string()), "{sessions}");
    compute.stop().await?;
    drop(agent);
    expect_as_before(&bed, &before);
    Ok(())
}

#[skyward::test]
async fn hosts_that_cannot_be_used_are_refused_with_what_to_do() -> skyward::Result<()> {
    let Some(bed) = Bed::of(1) else { return Ok(()) };
    let why = async |config: ssh::Config| {
        let timing = Timing { provision_attempts: 1, ..timing() };
        pool(config).timing(timing).start().await.expect_err("it cannot be used").to_string()
    };
    let nowhere = bed.folder().join("nowhere");
    let unknown = why(ssh::Config { known_hosts: Some(nowhere.clone()), ..config(&bed) }).await;
    assert!(unknown.contains("nobody knows its key") && unknown.contains("accept_new"), "{unknown}");
    let mut stranger = config(&bed);
    stranger.hosts = vec!["nobody@h1".into()];
    let refused = why(stranger).await;
    assert!(refused.contains("is refused") && refused.contains("IdentityFile"), "{refused}");
    let none = why(ssh::Config::default()).await;
    assert!(none.contains("there are no hosts"), "{none}");
    let taken = ssh::Config { accept_new: true, known_hosts: Some(nowhere.clone()), ..config(&bed) };
    pool(taken).start().await?.stop().await?;
    assert!(!nowhere.exists(), "nothing is written to a list of known hosts");
    bed.host(1).change_host_key();
    // The list still has the key from before.
    let changed = why(ssh::Config { ssh_config: Some(bed.folder().join("config")), ..config_of(&bed) }).await;
    assert!(changed.contains("refused to log in") && changed.contains("somebody in between"), "{changed}");
    Ok(())
}

/// As [`config`], with what was written before.
fn config_of(bed: &Bed) -> ssh::Config {
    ssh::Config { hosts: bed.hosts().iter().map(|it| it.name().into()).collect(), ..ssh::Config::default() }
}

#[skyward::test]
async fn nothing_is_left_on_hosts_when_a_program_is_killed() -> skyward::Result<()> {
    let Some(bed) = Bed::of(2) else { return Ok(()) };
    let before: Vec<_> = bed.hosts().iter().map(state).collect();
    let mut tenant = Command::new(env!("CARGO_BIN_EXE_tenant"));
    tenant.arg(bed.ssh_config()).args(["h1", "h2"]).stdout(Stdio::piped());
    let mut tenant = tenant.spawn()?;
    let mut line = String::new();
    BufReader::new(tenant.stdout.take().expect("piped")).read_line(&mut line)?;
    assert_eq!(line.trim(), "started");
    let busy = || bed.hosts().iter().all(|it| it.processes().iter().any(|it| it.ends_with("sleep 1234 ")));
    let began = until(PATIENCE, || busy().then_some(()));
    tenant.kill()?;
    tenant.wait()?;
    began.expect("tasks run on both hosts");
    expect_as_before(&bed, &before);
    Ok(())
}

/// An agent that has the bed's key.
struct Agent {
    process: std::process::Child,
    socket: std::path::PathBuf,
}

impl Agent {
    fn with(bed: &Bed) -> Self {
        let socket = std::env::temp_dir().join(format!("skyward-agent-{}", std::process::id()));
        let mut agent = Command::new("ssh-agent");
        let process = agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().expect("an agent");
        until(PATIENCE, || socket.exists().then_some(())).expect("a socket");
        let add = Command::new("ssh-add").arg(bed.key()).env("SSH_AUTH_SOCK", &socket).output();
        assert!(add.expect("ssh-add").status.success());
        Self { process, socket }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
