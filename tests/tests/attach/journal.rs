//! Programs whose journal cannot be written, or cannot be read: at their start, and while their pool lives.

use super::*;

#[test]
fn where_the_journal_cannot_be_written_clouds_are_refused_and_this_computer_goes_on() {
    let place = Place::new("attach-unwritable");
    // A folder below a file can be made by nobody, root included.
    std::fs::write(place.path("state"), "a file").expect("written");
    refused_and_goes_on(&place, place.0.path(), "set XDG_STATE_HOME to one that is");
}

fn refused_and_goes_on(place: &Place, folder: &Path, words: &str) {
    let cloud = output_within(
        DEADLINE,
        Command::new(env!("CARGO_BIN_EXE_returner")).arg(folder).args(["a", "4", "cloud"]),
    );
    let told = said(&cloud);
    assert!(!cloud.status.success() && told.contains(words), "{told}");
    assert!(!folder.join("machines").exists(), "something was rented");
    let local = output_within(
        DEADLINE,
        Command::new(env!("CARGO_BIN_EXE_returner")).arg(folder).args(["a", "4", "sweep"]),
    );
    let told = said(&local);
    assert!(local.status.success() && told.contains("not written down"), "{told}");
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Runs the program in a mount namespace of its own, in which the folder of its journal is made as told.
fn confined(place: &Place, mount: &str, deed: &str) -> Option<Output> {
    let state = place.path("state");
    std::fs::create_dir_all(&state).expect("made");
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    let can = is_root && Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|it| it.success());
    if !can {
        assert!(
            std::env::var_os("SKYWARD_REQUIRE_ALL").is_none(),
            "mount namespaces need root and `unshare`"
        );
        eprintln!("skipped: mount namespaces need root and `unshare`");
        return None;
    }
    let script = format!(
        "set -e; s={0}; mount -t tmpfs -o size=256k,mode=700 tmpfs $s; {mount}; shift 0; exec \"$0\" \"$@\"",
        state.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_returner")]);
    command.arg(place.0.path()).args(["a", "4", deed]);
    Some(output_within(DEADLINE, &mut command))
}

#[test]
fn on_a_read_only_or_full_disk_clouds_are_refused_and_this_computer_goes_on() {
    let full = "dd if=/dev/zero of=$s/fill 2>/dev/null || true";
    for (name, mount, words) in [
        ("read-only", "mount -o remount,ro $s", "Read-only file system"),
        ("full", full, "failed to write the journal"),
    ] {
        let place = Place::new(&format!("attach-{name}"));
        let Some(cloud) = confined(&place, mount, "cloud") else { return };
        let told = said(&cloud);
        assert!(!cloud.status.success() && told.contains(words), "{name}: {told}");
        assert!(!place.path("machines").exists(), "something was rented");
        let local = confined(&place, mount, "sweep").expect("possible");
        let told = said(&local);
        assert!(local.status.success() && told.contains("not written down"), "{name}: {told}");
        assert_eq!(place.computed(), (0..TASKS).collect::<Vec<_>>());
        assert_eq!(place.left(), Vec::<String>::new());
    }
}

/// The journal takes nothing from when the pool is ready, for longer than its machines live alone.
#[test]
fn what_could_not_be_written_while_a_pool_lived_costs_it_nothing() {
    let place = Place::new("attach-unwritten");
    let mut program = place.command("sweep", LONG, "stay");
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut program = program.spawn().expect("started");
    let mut lines = BufReader::new(program.stdout.take().expect("piped")).lines();
    assert!(lines.any(|it| it.is_ok_and(|it| it == "running")));
    let seen = || place.journal().named("sweep").expect("read").expect("there");
    let busy = place.database();
    busy.execute_batch(
        "CREATE TRIGGER broken BEFORE UPDATE ON pools BEGIN SELECT RAISE(FAIL, 'no room'); END",
    )
    .expect("broken");
    let lapsed = until(DEADLINE, || would_be_lapsed(&seen()).then_some(()));
    assert!(lapsed.is_some(), "it is not written that its owner lives");
    let (machines, computed) = (place.machines(), place.computed());
    assert_eq!((machines.len(), &computed), (2, &(0..TASKS).collect::<Vec<_>>()));
    program.kill().expect("killed");
    program.wait().expect("waited");
    busy.execute_batch("DROP TRIGGER broken").expect("repaired");

    let output = place.run("sweep", LONG, "sweep");
    let told = said(&output);
    assert!(output.status.success() && told.contains("attached: 2 nodes"), "{told}");
    let lines: Vec<String> = told.lines().map(str::to_owned).collect();
    assert_eq!((results(&lines), place.computed()), (all_results(), computed), "nothing is computed twice");
    assert_eq!(place.left(), Vec::<String>::new());
}

/// A pool of this computer goes on without a journal only where none is known.
#[test]
fn a_pool_that_is_known_is_not_begun_a_second_time_because_the_journal_fails() {
    let place = Place::new("attach-doubled");
    place.killed("train", PATIENT, Some("running"), Duration::ZERO);
    let machines = place.machines();
    assert_eq!(machines.len(), 2);
    let (database, salt) = (place.database(), std::fs::read_dir(place.path("state/keys")).expect("keys"));
    let salt = salt.flatten().next().expect("a pool's").path().join("salt");
    let refused = |words: &str| {
        let told = said(&place.run("train", PATIENT, "sweep"));
        assert!(told.contains(words) && !told.contains("not written down"), "{words}: {told}");
        assert_eq!(place.machines(), machines, "{words}");
    };
    let break_it = "CREATE TRIGGER broken BEFORE UPDATE ON pools BEGIN SELECT RAISE(FAIL, 'no room'); END";
    database.execute_batch(break_it).expect("broken");
    refused("failed to write the journal");
    database.execute_batch("DROP TRIGGER broken").expect("repaired");
    std::fs::rename(&salt, place.path("salt")).expect("away");
    refused("failed to read the keys of pool");
    std::fs::rename(place.path("salt"), &salt).expect("back");
    let spoil = |how: &str| {
        let text = format!("UPDATE deeds SET request = {how} WHERE kind = 'provision'");
        database.execute_batch(&text).expect("changed");
    };
    spoil("'-' || request");
    refused("cannot be read");
    spoil("substr(request, 2)");
    let output = place.run("train", PATIENT, "sweep");
    let told = said(&output);
    assert!(output.status.success() && told.contains("attached: 2 nodes"), "{told}");
    assert_eq!(place.left(), Vec::<String>::new());
}
