//! The SSH client against a machine's server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use skyward_runtime::model::HostKey;
use skyward_runtime::ssh::{Blob, ClientKey, Piece, Session, SshError};
use skyward_runtime::timing::Timing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::Tests;
use crate::stage::{Stage, output, run};

pub(crate) fn register(tests: &mut Tests) {
    tests.add("a_strangers_key_is_refused", stranger);
    tests.add("a_wrong_host_key_is_refused_and_both_fingerprints_are_named", wrong_host_key);
    tests.add("an_unknown_host_key_is_pinned_and_said", pins);
    tests.add("a_command_gives_its_code_and_both_streams_whatever_the_bytes", streams);
    tests.add("a_signal_is_no_exit_code", signalled);
    tests.add("a_background_child_does_not_hold_a_command_up", background);
    tests.add("a_command_that_closes_its_streams_goes_on", detached);
    tests.add("megabytes_go_through_a_command_both_ways", both_ways);
    tests.add("a_command_that_does_not_read_can_be_given_much", unread);
    tests.add("a_command_past_its_deadline_is_an_error_and_the_session_goes_on", deadline);
    tests.add("a_command_that_says_things_without_end_is_an_error", endless);
    tests.add("many_commands_at_once_do_not_mix", many);
    tests.add("an_upload_arrives_and_is_skipped_the_second_time", uploads);
    tests.add("a_damaged_upload_leaves_nothing", damaged);
    tests.add("a_packed_upload_is_unpacked_and_verified", packed);
    tests.add("a_full_disk_is_said_and_leaves_nothing", full);
    tests.add("an_upload_that_cannot_be_written_says_why", unwritable);
    tests.add("a_forward_reaches_loopback_and_nothing_else", forwards);
    tests.add("a_session_ends_with_its_machine", ends);
}

async fn stranger() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let other = ClientKey::generate().unwrap();
    let error = Session::connect(&machine.ssh, &other, &Timing::short()).await.unwrap_err();
    assert!(matches!(error, SshError::Rejected { .. }) && !error.retry(), "{error}");
    stage.finish().await;
}

async fn wrong_host_key() {
    let stage = Stage::new();
    let mut machine = stage.machine().await;
    let HostKey::Known(right) = machine.ssh.host_key.clone() else { panic!("not known") };
    let wrong = ClientKey::generate().unwrap().public().to_owned();
    machine.ssh.host_key = HostKey::Known(wrong.clone());
    let error = Session::connect(&machine.ssh, &stage.key, &Timing::short()).await.unwrap_err();
    assert!(matches!(error, SshError::HostKey { .. }) && !error.retry(), "{error}");
    for line in [right, wrong] {
        let key = russh::keys::PublicKey::from_openssh(&line).unwrap();
        let fingerprint = key.fingerprint(russh::keys::HashAlg::Sha256).to_string();
        assert!(error.to_string().contains(&fingerprint), "{fingerprint} is not in: {error}");
    }
    stage.finish().await;
}

async fn pins() {
    let stage = Stage::new();
    let mut machine = stage.machine().await;
    machine.ssh.host_key = HostKey::PinOnFirstUse;
    let session = stage.session(&machine).await;
    assert!(session.pinned().unwrap().starts_with("SHA256:"));
    stage.finish().await;
}

async fn streams() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let command = r"cat; printf '\377\376' >&2; exit 7";
    let answer = session.run(command, Bytes::from_static(b"\x80in"), Duration::from_secs(10)).await.unwrap();
    assert_eq!((answer.code, answer.stdout, answer.stderr), (Some(7), b"\x80in".to_vec(), vec![0xff, 0xfe]));
    stage.finish().await;
}

async fn signalled() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    assert_eq!(output(&session, "kill -9 $$").await.code, None);
    stage.finish().await;
}

async fn background() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let began = Instant::now();
    let answer = output(&session, "sleep 1000 & echo left one; exit 3").await;
    assert_eq!((answer.code, answer.stdout), (Some(3), b"left one\n".to_vec()));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    stage.finish().await;
}

async fn detached() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let command =
        "echo up; exec > /dev/null 2>&1 < /dev/null; while test ! -e go; do sleep 0.01; done; touch went";
    let mut running = session.start(command, Bytes::new()).await.unwrap();
    assert_eq!(running.next().await, Some(Piece::Stdout(Bytes::from_static(b"up\n"))));
    drop(running);
    run(&session, "touch go; while test ! -e went; do sleep 0.01; done").await;
    stage.finish().await;
}

async fn both_ways() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let sent = Bytes::from(noise(40_000_000));
    let answer = session.run("cat", sent.clone(), Duration::from_secs(30)).await.unwrap();
    assert!(answer.stdout == sent, "{} bytes came back", answer.stdout.len());
    stage.finish().await;
}

async fn unread() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let sent = Bytes::from(noise(40_000_000));
    let answer = session.run("exec < /dev/null; echo done", sent, Duration::from_secs(10)).await.unwrap();
    assert_eq!(answer.stdout, b"done\n");
    assert_eq!(run(&session, "echo next").await, "next\n");
    stage.finish().await;
}

async fn deadline() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let error = session.run("sleep 1000", Bytes::new(), Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, SshError::CommandDeadline { .. }), "{error}");
    assert_eq!(run(&session, "echo next").await, "next\n");
    stage.finish().await;
}

async fn endless() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let error = session.run("yes", Bytes::new(), Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, SshError::Endless { .. }) && !error.retry(), "{error}");
    assert_eq!(run(&session, "echo next").await, "next\n");
    stage.finish().await;
}

async fn many() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let commands = (0..40).map(|number| {
        let session = &session;
        async move { assert_eq!(run(session, &format!("echo {number}")).await, format!("{number}\n")) }
    });
    futures_util::future::join_all(commands).await;
    stage.finish().await;
}

async fn uploads() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let blob = blob(b"#!/bin/sh\necho it runs\n".to_vec());
    let to = format!(".skyward/it's/{}", blob.hash);
    for sent in [true, false] {
        let done = session.upload(&blob, &to, Duration::from_secs(10)).await.unwrap();
        assert_eq!(done.sent, sent);
    }
    assert_eq!(run(&session, &format!("\"$HOME/.skyward/it's/{}\"", blob.hash)).await, "it runs\n");
    // A machine that lost its power may have forgotten what is in it, though not its name.
    for (spoilt, sent) in [(": >", true), ("touch -d '40 days ago'", false)] {
        run(&session, &format!("{spoilt} \"$HOME/.skyward/it's/{}\"", blob.hash)).await;
        assert_eq!(session.upload(&blob, &to, Duration::from_secs(10)).await.unwrap().sent, sent, "{spoilt}");
    }
    assert_eq!(run(&session, &format!("\"$HOME/.skyward/it's/{}\"", blob.hash)).await, "it runs\n");
    assert_eq!(run(&session, "find .skyward -type f -mtime +30").await, "", "what is used stays");
    assert_eq!(run(&session, "ls \".skyward/it's\"").await, format!("{}\n", blob.hash));
    stage.finish().await;
}

async fn packed() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    run(&session, "printf 'what was packed' | gzip -c > packed").await;
    let packed = std::fs::read(machine.directory.join("packed")).unwrap();
    let whole = Blob { bytes: packed.clone().into(), gzip: true, ..blob(b"what was packed".to_vec()) };
    session.upload(&whole, "d/whole", Duration::from_secs(10)).await.unwrap();
    assert_eq!(run(&session, "cat d/whole").await, "what was packed");
    let cut = Blob { bytes: Bytes::from(packed).slice(..20), ..whole };
    let error = session.upload(&cut, "d/cut", Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(error, SshError::UploadDamaged { .. }), "{error}");
    stage.finish().await;
}

async fn full() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    // A limit on the size of files is the full disk that everybody can have.
    let limit = Rlimit { current: Some(100_000), maximum: Some(100_000) };
    let pid = Pid::from_raw(machine.pid.cast_signed());
    prlimit(pid, Resource::Fsize, limit).unwrap();
    let error =
        session.upload(&blob(noise(20_000_000)), "d/file", Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(error, SshError::UploadWrite { .. }) && !error.retry(), "{error}");
    assert!(error.to_string().contains("Available"), "the free space is not in: {error}");
    assert_eq!(run(&session, "ls -A d").await, "");
    stage.finish().await;
}

async fn damaged() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let blob = Blob { bytes: Bytes::from_static(b"other"), ..blob(b"right".to_vec()) };
    let error = session.upload(&blob, "d/file", Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(error, SshError::UploadDamaged { .. }) && error.retry(), "{error}");
    assert!(error.to_string().contains(&blob.hash), "{error}");
    assert_eq!(run(&session, "ls -A d").await, "");
    stage.finish().await;
}

async fn unwritable() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let blob = blob(b"x".to_vec());
    run(&session, "touch file").await;
    let error = session.upload(&blob, "file/below", Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(error, SshError::UploadWrite { .. }) && !error.retry(), "{error}");
    assert!(error.to_string().contains("file/below") && error.to_string().contains("mkdir"), "{error}");
    stage.finish().await;
}

async fn forwards() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap()
    });
    let sent = noise(3_000_000);
    let stream = session.forward("localhost", port).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, read) = tokio::join!(writing, reader.read_to_end(&mut back));
    read.unwrap();
    assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
    assert_eq!(echo.await.unwrap(), 3_000_000);
    for host in ["192.0.2.1", "example.org"] {
        let error = session.forward(host, 80).await.map(drop).unwrap_err();
        assert!(matches!(error, SshError::ForwardRefused { .. }), "{error}");
    }
    assert_eq!(run(&session, "echo next").await, "next\n");
    stage.finish().await;
}

async fn ends() {
    let stage = Stage::new();
    let machine = stage.machine().await;
    let session = stage.session(&machine).await;
    let mut running = session.start("sleep 1000", Bytes::new()).await.unwrap();
    stage.end(&machine).await;
    session.closed().await;
    assert_eq!(running.next().await, None);
    let error = session.run("true", Bytes::new(), Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, SshError::Closed { .. }) && error.retry(), "{error}");
    stage.finish().await;
}

fn blob(bytes: Vec<u8>) -> Blob {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
    let size = Some(bytes.len() as u64);
    Blob { hash, bytes: bytes.into(), gzip: false, size, executable: true }
}

/// Bytes without a pattern that would hide a mix-up.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
