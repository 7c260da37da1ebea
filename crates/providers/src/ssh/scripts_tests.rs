//! Our scripts, run by the shell of this computer with a home of their own.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// What a script answers.
fn answer(home: &Path, script: &str, arguments: &[&str]) -> String {
    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-s", "--"]).args(arguments).env("HOME", home).env("PATH", path);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
    shell.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
    let said = shell.wait_with_output().expect("ended");
    let said = String::from_utf8(said.stdout).expect("text");
    map::answer(&said).map(|(word, rest)| format!("{word} {rest}").trim().to_owned()).unwrap_or(said)
}

fn enter(home: &Path, id: &str) -> String {
    answer(home, ENTER, &["machines", "pool", id, "1", "no", "60", "1", GUARD, "no"])
}

/// Has `flock` be one that does not know how to wait, as BusyBox's is.
fn impatient(home: &Path) {
    let bin = home.join("bin");
    std::fs::create_dir_all(&bin).expect("made");
    let found = Command::new("sh").args(["-c", "command -v flock"]).output().expect("a shell");
    let flock = String::from_utf8(found.stdout).expect("text");
    let text = format!("#!/bin/sh\n[ \"$1\" != -w ] || exit 1\nexec {} \"$@\"\n", flock.trim());
    std::fs::write(bin.join("flock"), text).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bin.join("flock"), mode).expect("set");
}

#[test]
fn a_machine_that_is_asked_for_twice_by_one_name_is_made_once_also_where_flock_does_not_wait() {
    for is_impatient in [false, true] {
        let home = tempfile::tempdir().expect("made");
        if is_impatient {
            impatient(home.path());
        }
        let first = enter(home.path(), "h-1");
        assert!(first.starts_with("machine ") && first.ends_with("/machines/pool/h-1"), "{first}");
        // The first answer was lost with its session.
        assert_eq!(enter(home.path(), "h-1"), first);
        assert_eq!(enter(home.path(), "h-2"), "full 1");
        assert_eq!(answer(home.path(), LEAVE, &["machines", "pool", "h-1"]), "left");
        assert!(!home.path().join("machines").exists());
    }
}
