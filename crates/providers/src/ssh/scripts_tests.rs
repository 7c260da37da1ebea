//! Our scripts, run by the shell of this computer with a home of their own.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// What a script answers.
fn answer(home: &Path, script: &str, arguments: &[&str]) -> String {
    answer_of("", home, script, arguments)
}

/// What it answers on the host of this name.
fn answer_of(host: &str, home: &Path, script: &str, arguments: &[&str]) -> String {
    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-s", "--"]).args(arguments).env("HOME", home).env("PATH", path).env("HOST_OF_TEST", host);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
    shell.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
    let said = shell.wait_with_output().expect("ended");
    let said = String::from_utf8(said.stdout).expect("text");
    map::answer(&said).map(|(word, rest)| format!("{word} {rest}").trim().to_owned()).unwrap_or(said)
}

fn enter(host: &str, home: &Path, id: &str) -> String {
    answer_of(host, home, ENTER, &["machines", "pool", id, "1", "no", "60", "1", GUARD, "no"])
}

/// Puts a tool in front of the system's, by what it does in its place and when.
fn instead(home: &Path, tool: &str, first: &str) {
    let bin = home.join("bin");
    std::fs::create_dir_all(&bin).expect("made");
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().expect("a shell");
    let real = String::from_utf8(found.stdout).expect("text");
    let text = format!("#!/bin/sh\n{first}\nexec {} \"$@\"\n", real.trim());
    std::fs::write(bin.join(tool), text).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bin.join(tool), mode).expect("set");
}

/// Waits until the guard, or who ended it, has removed what was above its machine.
fn expect_gone(folder: &Path) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while folder.exists() {
        assert!(std::time::Instant::now() < end, "{} is there still", folder.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_machine_that_is_asked_for_twice_by_one_name_is_made_once_also_where_flock_does_not_wait() {
    for is_impatient in [false, true] {
        let home = tempfile::tempdir().expect("made");
        if is_impatient {
            // As BusyBox's is.
            instead(home.path(), "flock", r#"[ "$1" != -w ] || exit 1"#);
        }
        let first = enter("a", home.path(), "h-1");
        assert!(first.starts_with("machine ") && first.ends_with("/pool/h-1"), "{first}");
        // The first answer was lost with its session.
        assert_eq!(enter("a", home.path(), "h-1"), first);
        assert_eq!(enter("a", home.path(), "h-2"), "full 1");
        assert_eq!(answer(home.path(), LEAVE, &["machines", "pool", "h-1"]), "left");
        expect_gone(&home.path().join("machines"));
    }
}

#[test]
fn hosts_that_have_one_home_together_leave_each_others_machines_alone() {
    let home = tempfile::tempdir().expect("made");
    let home = home.path();
    instead(home, "uname", r#"[ "$1" != -n ] || { echo "$HOST_OF_TEST"; exit; }"#);
    // What one host has locked is free to the others, as on a network file system.
    instead(home, "flock", r#"case $* in */"$HOST_OF_TEST"/*) ;; *-n*true*) exit 0 ;; esac"#);
    let of = |host: &str| format!("{host}-1");
    for host in ["host-a", "host-b"] {
        let made = enter(host, home, &of(host));
        assert!(made.ends_with(&format!("/machines/{host}/pool/{}", of(host))), "{made}");
    }
    let look =
        |host: &str, id: &str| answer_of(host, home, include_str!("sh/look.sh"), &["machines", "pool", id]);
    assert!(
        look("host-a", "host-a-1").starts_with("lives ") && look("host-b", "host-b-1").starts_with("lives ")
    );
    assert_eq!(look("host-b", "host-a-1"), "gone");
    // All of the pool that the second has.
    assert_eq!(answer_of("host-b", home, LEAVE, &["machines", "pool"]), "left");
    assert!(look("host-a", "host-a-1").starts_with("lives "));
    assert_eq!(answer_of("host-a", home, LEAVE, &["machines", "pool"]), "left");
    expect_gone(&home.join("machines"));
}
