//! Pools on real hosts, over their own SSH servers: what works there, and what is left. `hosts_that_fail` has what
//! befalls them.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use skyward::prelude::*;
use skyward::{EventKind, ssh};
use skyward_tests::hosts::{PATIENCE, State, config, expect_all_as_before, timing};
use skyward_tests::smoke::{double, image, place, smoke};
use skyward_tests::testbed::Bed;
use skyward_tests::{at_home_in, below, desk, until};

fn pool(config: ssh::Config) -> skyward::Builder {
    skyward_tests::apart().spec(Spec::on(Ssh::new(config))).timing(timing())
}

async fn carries(carrier: Carrier) -> skyward::Result<()> {
    let Some(bed) = Bed::of(2) else { return Ok(()) };
    let before = State::all(&bed);
    let compute = pool(config(&bed)).nodes(2).carrier(carrier).image(image()).start().await?;
    let places = smoke(&compute).await?;
    assert!(places.iter().all(|it| it.home.contains("/.skyward-hosts/")), "{places:?}");
    let names: Vec<_> = places.iter().map(|it| it.name.as_str()).collect();
    assert!(names.contains(&"h1") && names.contains(&"h2"), "{names:?}");
    compute.stop().await?;
    expect_all_as_before(&bed, &before);
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
    let before = State::all(&bed);
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
    assert_ne!((place() >> &first).await?.home, (place() >> &second).await?.home);
    let refused = hurried(shared).start().await.expect_err("it is full");
    assert!(refused.to_string().contains("as many as there may be"), "{refused}");
    first.stop().await?;
    assert_eq!((double(1) >> &second).await?, 2);
    second.stop().await?;
    let both = pool(ssh::Config { slots: 2, ..config(&bed) }).nodes(2).start().await?;
    let homes = (place() * &both).await?;
    assert_ne!(homes.first().map(|it| &it.home), homes.last().map(|it| &it.home));
    both.stop().await?;
    expect_all_as_before(&bed, &before);
    Ok(())
}

#[skyward::test]
async fn who_attaches_finds_its_machines_on_hosts_whose_names_look_alike() -> skyward::Result<()> {
    let Some(bed) = Bed::of(2) else { return Ok(()) };
    let (before, state) = (State::all(&bed), tempfile::tempdir()?);
    let named = std::fs::read_to_string(bed.ssh_config())?;
    let named = named.replace("Host h1\n", "Host h.1\n").replace("Host h2\n", "Host h_1\n");
    std::fs::write(bed.folder().join("alike"), named)?;
    let config = || ssh::Config {
        hosts: vec!["h.1".into(), "h_1".into()],
        ssh_config: Some(bed.folder().join("alike")),
        ..ssh::Config::default()
    };
    let builder = || pool(config()).nodes(2).name("alike").state(state.path());
    let compute = builder().start().await?;
    let homes: Vec<_> = (place() * &compute).await?.into_iter().map(|it| it.home).collect();
    compute.detach().await?;
    let compute = builder().start().await?;
    let again: Vec<_> = (place() * &compute).await?.into_iter().map(|it| it.home).collect();
    assert_eq!(again, homes, "both are where they were");
    compute.stop().await?;
    expect_all_as_before(&bed, &before);
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
    let before = State::all(&bed);
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
    assert_eq!((place() >> &compute).await?.name, "h2");
    let sessions = near.run("ss -Htn state established dport = :22 2>/dev/null || true");
    assert!(sessions.contains(&far.address().to_string()), "{sessions}");
    compute.stop().await?;
    drop(agent);
    expect_all_as_before(&bed, &before);
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
    let before = State::all(&bed);
    let (desk, known) = (desk("tenant")?, bed.known_hosts());
    let mut tenant = Command::new(env!("CARGO_BIN_EXE_tenant"));
    at_home_in(&mut tenant, desk.path());
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
    expect_all_as_before(&bed, &before);
    assert_eq!(std::fs::read_to_string(bed.folder().join("known_hosts"))?, known);
    assert_eq!(below(&desk.path().join("home")), Vec::<std::path::PathBuf>::new());
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
