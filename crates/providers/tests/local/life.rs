//! Machines come, live and go, and leave nothing.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skyward_providers::local::{Faults, Local};
use skyward_runtime::lease::LEASE_FILE;
use skyward_runtime::model::{InstanceId, InstanceState};
use skyward_runtime::provider::{Provider, ProviderErrorKind};

use crate::harness::Tests;
use crate::stage::{Stage, eventually, lives, output, run};

pub(crate) fn register(tests: &mut Tests) {
    tests.add("a_machine_boots_runs_commands_and_leaves_nothing", boots);
    tests.add("machines_of_one_request_boot_at_the_same_time", boots_together);
    tests.add("a_slow_boot_is_pending_until_it_is_done", slow_boot);
    tests.add("refused_requests_are_for_lack_of_capacity", refuses);
    tests.add("a_power_cut_ends_a_machine_with_all_that_runs_on_it", power_cut);
    tests.add("a_lease_that_nobody_renews_ends_the_machine_and_its_descendants", lapses);
    tests.add("a_renewed_lease_keeps_a_machine_alive", renewed);
    tests.add("dropping_the_provider_leaves_its_machines_to_their_leases", dropped);
    tests.add("a_frozen_machine_is_ended_with_its_descendants", frozen);
    tests.add("terminate_twice_and_of_the_unknown_is_harmless", twice);
    tests.add("another_provider_ends_machines_by_their_ids", by_id);
    tests.add("a_killed_machine_is_gone_and_its_strays_are_ended", killed);
    tests.add("a_recycled_process_number_is_not_killed", recycled);
    tests.add("prepare_sweeps_dead_machines_and_spares_living_ones", sweeps);
    tests.add("a_base_that_others_could_tamper_with_is_refused", tampered);
    tests.add("a_pool_cannot_be_named_out_of_its_place", named);
}

async fn boots() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let home = machine.directory.to_str().unwrap();
    assert_eq!(run(&session, "echo $HOME; pwd").await, format!("{home}\n{home}\n"));
    assert!(session.pinned().is_none(), "the host key was known");
    run(&session, "touch a; mkdir -p d/e; setsid sleep 1000 > /dev/null 2>&1 & ").await;
    stage.end(&machine).await;
    assert!(!lives(machine.pid));
    assert!(!machine.directory.exists());
    session.closed().await;
    stage.finish().await;
}

async fn boots_together() {
    let faults = Faults { boot_delay: Duration::from_secs(2), ..Faults::default() };
    let stage = Stage::with(faults, Duration::from_secs(60));
    stage.local.prepare(&stage.request).await.unwrap();
    let began = Instant::now();
    let provisioned = stage.local.provision(&stage.request, 4).await.unwrap();
    assert_eq!(provisioned.instances.len(), 4);
    assert!(began.elapsed() < Duration::from_secs(2), "provision waited: {:?}", began.elapsed());
    for instance in &provisioned.instances {
        stage.running(&instance.id).await;
    }
    assert!(began.elapsed() < Duration::from_secs(8), "one after the other: {:?}", began.elapsed());
    stage.finish().await;
}

async fn slow_boot() {
    let faults = Faults { boot_delay: Duration::from_millis(300), ..Faults::default() };
    let stage = Stage::with(faults, Duration::from_secs(60));
    stage.local.prepare(&stage.request).await.unwrap();
    let id = stage.local.provision(&stage.request, 1).await.unwrap().instances.remove(0).id;
    assert_eq!(stage.describe(&id).await.state, InstanceState::Pending);
    stage.running(&id).await;
    stage.finish().await;
}

async fn refuses() {
    let stage = Stage::with(Faults { refuse: 2, ..Faults::default() }, Duration::from_secs(60));
    for _ in 0..2 {
        let error = stage.local.provision(&stage.request, 1).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::NoCapacity);
    }
    stage.machine().await;
    stage.finish().await;
}

async fn power_cut() {
    let faults = Faults { die_after: Some(Duration::from_millis(500)), ..Faults::default() };
    let stage = Stage::with(faults, Duration::from_secs(60));
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let stray = stray(&session).await;
    let reason = stage.gone(&machine.id).await;
    assert!(reason.contains("its power was cut"), "{reason}");
    assert!(!lives(stray) && !machine.directory.exists());
    stage.finish().await;
}

async fn lapses() {
    let stage = Stage::with(Faults::default(), Duration::from_millis(400));
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let stray = stray(&session).await;
    let reason = stage.gone(&machine.id).await;
    assert!(reason.contains("its lease lapsed"), "{reason}");
    assert!(!lives(stray) && !lives(machine.pid));
    assert!(!stage.base().exists(), "the machine removes what it was the last to use");
    stage.finish().await;
}

async fn renewed() {
    let stage = Stage::with(Faults::default(), Duration::from_secs(2));
    let machine = stage.machine().await;
    let lease = machine.directory.join(LEASE_FILE);
    fs::create_dir_all(lease.parent().unwrap()).unwrap();
    let began = Instant::now();
    let mut count = 0;
    // More than two lives' worth of renewals.
    while began.elapsed() < Duration::from_millis(4500) {
        count += 1;
        fs::write(&lease, count.to_string()).unwrap();
        assert!(lives(machine.pid));
        stage.describe(&machine.id).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.gone(&machine.id).await;
    stage.finish().await;
}

async fn dropped() {
    let stage = Stage::with(Faults::default(), Duration::from_secs(2));
    let machine = stage.machine().await;
    let Stage { local, folder, .. } = stage;
    drop(local);
    assert!(lives(machine.pid));
    eventually("the lease ends it", async || (!lives(machine.pid)).then_some(())).await;
    eventually("nothing is left", async || (!folder.path().join("base").exists()).then_some(())).await;
}

async fn frozen() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let stray = stray(&session).await;
    signal(machine.pid, Signal::STOP);
    signal(stray, Signal::STOP);
    stage.end(&machine).await;
    assert!(!lives(machine.pid) && !lives(stray) && !machine.directory.exists());
    stage.finish().await;
}

async fn twice() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let ids = [machine.id.clone(), InstanceId::new("m00000000")];
    stage.local.terminate(&stage.request, &ids).await.unwrap();
    stage.local.terminate(&stage.request, &ids).await.unwrap();
    assert!(matches!(stage.describe(&machine.id).await.state, InstanceState::Gone { .. }));
    stage.finish().await;
}

async fn by_id() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let other = Local::default().directory(stage.base());
    let seen = other.describe(&stage.request, &machine.id).await.unwrap();
    assert!(matches!(seen.state, InstanceState::Running { .. }), "{seen:?}");
    other.terminate(&stage.request, std::slice::from_ref(&machine.id)).await.unwrap();
    assert!(!lives(machine.pid) && !machine.directory.exists());
    stage.finish().await;
}

async fn killed() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let stray = stray(&session).await;
    signal(machine.pid, Signal::KILL);
    let reason = stage.gone(&machine.id).await;
    assert!(reason.contains("signal: 9"), "{reason}");
    assert!(lives(stray), "nobody could end it yet");
    stage.end(&machine).await;
    assert!(!lives(stray) && !machine.directory.exists());
    stage.finish().await;
}

async fn recycled() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    stage.end(&machine).await;
    let mut innocent = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    // What a machine of long ago left, naming a number that is in use again.
    let directory = stage.base().join("pool1").join("m11111111");
    fs::create_dir_all(&directory).unwrap();
    let record = rmp_serde::to_vec(&((innocent.id(), 1_u64), None::<()>)).unwrap();
    fs::write(directory.join("machine.record"), record).unwrap();
    let ended = stage.local.terminate(&stage.request, &[InstanceId::new("m11111111")]).await;
    assert!(innocent.try_wait().unwrap().is_none(), "an innocent process was killed");
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    ended.unwrap();
    assert!(!directory.exists());
    stage.finish().await;
}

async fn sweeps() {
    let stage = Stage::new();
    let living = stage.machine().await;
    let dead = stage.base().join("pool0").join("m22222222");
    fs::create_dir_all(dead.join("d")).unwrap();
    fs::write(dead.join("machine.log"), "").unwrap();
    fs::create_dir_all(stage.base().join("pool2").join("m33333333")).unwrap();
    stage.local.prepare(&stage.request).await.unwrap();
    assert!(!stage.base().join("pool0").exists() && !stage.base().join("pool2").exists());
    assert!(living.directory.exists() && lives(living.pid));
    stage.finish().await;
}

async fn tampered() {
    let stage = Stage::new();
    let elsewhere = stage.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, stage.base()).unwrap();
    let error = stage.local.prepare(&stage.request).await.unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(error.kind, ProviderErrorKind::Local);
}

async fn named() {
    let mut stage = Stage::new();
    stage.request.pool = skyward_runtime::model::PoolId::new("../up");
    let error = stage.local.provision(&stage.request, 1).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::InvalidRequest);
}

/// Starts a process that hides from its shell as well as it can.
async fn stray(session: &skyward_runtime::ssh::Session) -> u32 {
    let command = "setsid sh -c 'setsid sleep 1000 > /dev/null 2>&1 < /dev/null & echo $!'";
    let answer = output(session, command).await;
    let pid = String::from_utf8(answer.stdout).unwrap().trim().parse().unwrap();
    assert!(lives(pid));
    pid
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}
