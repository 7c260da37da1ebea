//! What the hosts of a test bed are, what can befall them, and that nothing of them stays.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use skyward_tests::testbed::{Bed, Host, Weather};
use skyward_tests::until;

/// Longer than anything takes, on busy cores, too.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a command on a host as a person would.
fn ssh(bed: &Bed, host: &Host, options: &[&str], command: &str) -> Output {
    let known = bed.folder().join("known_hosts");
    std::fs::write(&known, bed.known_hosts()).expect("written");
    let mut ssh = Command::new("timeout");
    ssh.args(["60", "ssh"]).args(options);
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=50",
        "-o",
        "ServerAliveInterval=2",
        "-i",
    ])
    .arg(bed.key());
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
    ssh.arg(format!("ubuntu@{}", host.address())).arg(command).output().expect("ssh")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn answers(host: &Host) -> bool {
    TcpStream::connect_timeout(&(host.address(), 22).into(), Duration::from_millis(300)).is_ok()
}

#[test]
fn a_host_has_a_net_a_disk_users_and_processes_of_its_own_and_debians_ssh_server() {
    let Some(bed) = Bed::of(2) else { return };
    let (first, second) = (bed.host(1), bed.host(2));
    assert_eq!(said(&ssh(&bed, first, &[], "id -un; hostname; echo $HOME")), "ubuntu\nh1\n/home/ubuntu");
    assert_eq!(said(&ssh(&bed, second, &[], "sudo -n id -u; cat /proc/1/comm")), "0\nbash");
    let before = first.files();
    assert_eq!(
        said(&ssh(&bed, first, &[], "echo x >there; cat there; touch /usr/there 2>/dev/null || echo no")),
        "x\nno"
    );
    let made: Vec<_> = first.files().into_iter().filter(|it| !before.contains(it)).collect();
    assert_eq!(made, ["/home/ubuntu/there"]);
    assert!(!Path::new("/home/ubuntu/there").exists());
    second.run(&format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{}/22'", first.address()));
    let sleeping = "setsid sleep 1234 >/dev/null 2>&1 </dev/null &";
    said(&ssh(&bed, first, &[], sleeping));
    until(PATIENCE, || first.processes().iter().any(|it| it.ends_with("sleep 1234 ")).then_some(()))
        .expect("seen");
    assert_eq!(second.processes(), Vec::<String>::new());
}

#[test]
fn a_cable_is_pulled_and_plugged_in() {
    let Some(bed) = Bed::of(2) else { return };
    bed.host(1).cut();
    assert!(!answers(bed.host(1)) && answers(bed.host(2)));
    bed.host(1).heal();
    until(PATIENCE, || answers(bed.host(1)).then_some(())).expect("healed");
}

#[test]
fn a_wire_loses_delays_and_narrows_what_goes_over_it() {
    let Some(bed) = Bed::wired(1) else { return };
    let host = bed.host(1);
    assert!(answers(host));
    host.blackhole();
    assert!(!answers(host));
    // No answer comes before a way there and back.
    let delay = Duration::from_millis(400);
    host.weather(Weather { delay, ..Weather::default() });
    assert!(!answers(host));
    TcpStream::connect_timeout(&(host.address(), 22).into(), PATIENCE).expect("in the end");
    host.weather(Weather { loss_percent: 5, bits_per_second: 8_000_000, ..Weather::default() });
    assert_eq!(said(&ssh(&bed, host, &[], "head -c 300000 /dev/zero | wc -c")), "300000");
    host.weather(Weather::default());
    let there = UdpSocket::bind((bed.gateway(), 0)).expect("bound");
    let send = || {
        host.run(&format!(
            "echo hi >/dev/udp/{}/{}",
            bed.gateway(),
            there.local_addr().expect("bound").port()
        ));
        there.recv(&mut [0; 16]).is_ok()
    };
    there.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    assert!(send());
    host.block_udp();
    there.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
    assert!(!send() && answers(host));
}

#[test]
fn a_frozen_host_says_nothing_until_it_thaws() {
    let Some(bed) = Bed::of(1) else { return };
    let host = bed.host(1);
    host.freeze();
    // The kernel answers for it, the server does not.
    let frozen = ssh(&bed, host, &["-o", "ConnectTimeout=1"], "true");
    assert!(!frozen.status.success());
    host.thaw();
    said(&ssh(&bed, host, &[], "true"));
}

#[test]
fn a_host_without_power_is_silent_and_boots_with_the_disk_that_it_had() {
    let Some(bed) = Bed::of(1) else { return };
    let host = bed.host(1);
    said(&ssh(&bed, host, &[], "echo kept >file; setsid sleep 1234 >/dev/null 2>&1 </dev/null &"));
    host.power_cut();
    assert!(!answers(host));
    host.power_on();
    assert_eq!(said(&ssh(&bed, host, &[], "cat file")), "kept");
    assert_eq!(host.processes(), Vec::<String>::new());
    // It switches itself off as a cloud's machine does.
    let _ = ssh(&bed, host, &[], "sudo shutdown -h now; sleep 60");
    assert!(!answers(host));
}

#[test]
fn an_ssh_server_is_restarted_refuses_to_forward_and_is_another_one() {
    let Some(bed) = Bed::of(1) else { return };
    let host = bed.host(1);
    host.restart_sshd();
    let through = ["-o", "ExitOnForwardFailure=yes", "-W", "127.0.0.1:22"];
    let forwarded = |bed: &Bed| {
        let output = ssh(bed, host, &through, "");
        String::from_utf8_lossy(&output.stderr).contains("prohibited")
    };
    host.refuse_forwarding();
    assert!(forwarded(&bed));
    let before = bed.known_hosts();
    host.change_host_key();
    assert_ne!(bed.known_hosts(), before);
    said(&ssh(&bed, host, &[], "true"));
}

#[test]
fn a_disk_is_full_and_a_clock_is_wrong() {
    let Some(bed) = Bed::of(1) else { return };
    let host = bed.host(1);
    host.fill_disk();
    assert!(!ssh(&bed, host, &[], "head -c 1000000 /dev/zero >file").status.success());
    host.free_disk();
    said(&ssh(&bed, host, &[], "head -c 1000000 /dev/zero >file"));
    let now: i64 = host.run("date +%s").trim().parse().expect("a number");
    host.set_clock_wrong(3600);
    let wrong: i64 = said(&ssh(&bed, host, &[], "date +%s")).parse().expect("a number");
    assert!((3600..3900).contains(&(wrong - now)), "{now} {wrong}");
}

#[test]
fn hosts_are_at_the_addresses_that_were_asked_for() {
    let (first, second) = (Ipv4Addr::new(10, 77, 3, 4), Ipv4Addr::new(10, 77, 3, 5));
    let Some(bed) = Bed::at(&[first, second]) else { return };
    assert_eq!(bed.hosts().iter().map(Host::address).collect::<Vec<_>>(), [first, second]);
    let key = std::fs::read_to_string(bed.key().with_extension("pub")).expect("a key");
    bed.host(1).authorize("root", &key);
    assert!(answers(bed.host(1)) && answers(bed.host(2)));
}

#[test]
fn nothing_of_a_bed_is_left_when_its_program_is_killed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bed"));
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    BufReader::new(program.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
    let Some((device, folder)) = line.trim().split_once(' ') else {
        // There can be no bed here, which it has said.
        program.wait().expect("waited for");
        return;
    };
    let (device, folder) = (Path::new("/sys/class/net").join(device), PathBuf::from(folder));
    assert!(device.exists() && folder.exists());
    let all = below(program.id());
    assert!(all.len() > 10, "{all:?}");
    program.kill().expect("killed");
    program.wait().expect("waited for");
    until(PATIENCE, || (!device.exists() && !folder.exists()).then_some(())).expect("gone");
    // Each by its number and the moment of its start.
    until(PATIENCE, || (!all.iter().any(|it| started(it.0) == Some(it.1.clone()))).then_some(()))
        .expect("ended");
}

/// Every process below one, with when it started.
fn below(pid: u32) -> Vec<(u32, String)> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = listed.split_whitespace().filter_map(|it| it.parse().ok());
    children.flat_map(|it| started(it).map(|at| (it, at)).into_iter().chain(below(it))).collect()
}

/// When a process started, in the kernel's ticks; `None` when it has ended.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    (!rest.starts_with('Z')).then(|| rest.split(' ').nth(19).map(str::to_owned))?
}
