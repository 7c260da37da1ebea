//! Each command of `sky` where something is wrong with the folders that it needs, or somebody else has them: it ends,
//! says what failed, where and what to do, with its exit code; and what was rented is there still and is given back
//! when all is well again.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stderr, reason = "it says what it skips")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use skyward::prelude::*;

/// The seconds that a command may take: it waits ten for who has a file busy.
const LONGEST: &str = "90";

/// Those that only read or write the catalog of offers.
const OFFERS: [&[&str]; 6] = [
    &["offers", "list", "--provider", "local"],
    &["offers", "cheapest", "--cached"],
    &["offers", "summary", "--cached"],
    &["offers", "sql", "--cached", "SELECT 1"],
    &["offers", "refresh", "--provider", "local"],
    &["plan", "--provider", "local"],
];

/// Those that read or write the journal.
const JOURNAL: [&[&str]; 9] = [
    &["attach", "train"],
    &["attach", "train", "--json"],
    &["attach", "train", "--", "true"],
    &["attach", "train", "--stop"],
    &["reap"],
    &["reap", "--known", "--json"],
    &["reap", "--known", "--yes", "--all"],
    &["reap", "--known", "--yes", "--forget", "--pool", "train"],
    &["reap", "--known", "--yes", "--all", "--watch", "--every", "1"],
];

/// Gives everything back.
const GIVE_BACK: &[&str] = &["reap", "--known", "--yes", "--all"];

/// A user's home, with machines in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("made"))
    }

    fn path(&self, of: &str) -> PathBuf {
        self.0.path().join(of)
    }

    fn state(&self) -> PathBuf {
        self.path(".local/state/skyward")
    }

    fn builder(&self, local: Local) -> skyward::Builder {
        let timing = Timing { lease: Duration::from_secs(300), ..Timing::short() };
        let builder = Compute::builder().spec(Spec::on(local.directory(self.path("machines"))));
        builder.timing(timing).name("train").state(self.state())
    }

    /// One with a catalog, and a pool that its program has left.
    async fn with_a_pool() -> skyward::Result<Self> {
        let home = Self::new();
        home.says(&["offers", "refresh", "--provider", "local"], 0, &["1 offer"]);
        home.builder(Local::default()).start().await?.detach().await?;
        // The last who closes the journal leaves one file, which can be copied.
        let log = home.state().join("journal.sqlite-wal");
        assert!(within(Duration::from_secs(30), || !log.exists()), "this program has it open still");
        Ok(home)
    }

    /// `sky`, which is ended when it takes too long. Nobody is asked: the way out is a proxy that does not exist.
    fn sky(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args([LONGEST, env!("CARGO_BIN_EXE_sky")]).args(arguments);
        self.at_home(&mut command);
        command
    }

    fn at_home(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.0.path());
        command.env("HTTPS_PROXY", "http://127.0.0.1:1").stdin(Stdio::null());
    }

    /// Runs it, and looks at its exit code and for these words.
    fn says(&self, arguments: &[&str], code: i32, words: &[&str]) -> String {
        expect(arguments, self.sky(arguments).output().expect("it runs"), code, words)
    }

    /// Runs it where these commands of a shell have been run before, in file systems that only it sees. Afterwards the
    /// shell runs `after`. Nothing where that is not possible.
    fn confined(&self, before: &str, arguments: &[&str], after: &str) -> Option<Output> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0);
        let can =
            is_root && Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|it| it.success());
        if !can {
            let required = std::env::var_os("SKYWARD_REQUIRE_ALL").is_some();
            assert!(!required, "mount namespaces need root and `unshare`");
            eprintln!("skipped: mount namespaces need root and `unshare`");
            return None;
        }
        let script = format!(
            "set -e; h=$HOME; {before}; set +e; timeout {LONGEST} \"$0\" \"$@\"; code=$?; {after}; exit $code"
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_sky")]).args(arguments);
        self.at_home(&mut command);
        Some(command.output().expect("it runs"))
    }

    /// All that was rented is known and is given back.
    fn expect_nothing_lost(&self) {
        self.says(
            &["reap", "--known", "--json"],
            0,
            &["\"standing\": \"attachable\"", "\"provider\": \"local\""],
        );
        self.says(GIVE_BACK, 0, &["train", "given back"]);
        self.says(&["reap", "--known"], 0, &["nothing is rented"]);
        assert!(!self.path("machines").exists());
    }
}

fn expect(arguments: &[&str], output: Output, code: i32, words: &[&str]) -> String {
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(words.iter().all(|it| text.contains(it)), "{arguments:?} does not say {words:?}: {text}");
    text
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[skyward::test]
async fn on_a_read_only_home_each_command_says_what_to_do_and_nothing_is_lost() -> skyward::Result<()> {
    let home = Home::with_a_pool().await?;
    let read_only = "mount --bind $h $h; mount -o remount,bind,ro $h";
    let (cache, state) = (shown(&home.path(".cache/skyward")), shown(&home.state()));
    let of_offers =
        ["error: failed to open the catalog of offers in", &cache, "Read-only", "set XDG_CACHE_HOME"];
    let of_journal =
        ["error: failed to write the journal in", &state, "Read-only", "make it writable for you"];
    for (commands, words) in [(&OFFERS[..], of_offers), (&JOURNAL[..], of_journal)] {
        for command in commands {
            let Some(output) = home.confined(read_only, command, "true") else { return Ok(()) };
            expect(command, output, 1, &words);
        }
    }
    let keys = home.confined(read_only, &["providers", "list"], "true").expect("possible");
    expect(&["providers", "list"], keys, 0, &["this computer"]);
    home.expect_nothing_lost();
    Ok(())
}

#[skyward::test]
async fn on_a_full_disk_each_command_says_what_to_do_and_nothing_is_lost() -> skyward::Result<()> {
    let home = Home::with_a_pool().await?;
    let full = "mkdir -p $h/full; mount -t tmpfs -o size=1m,mode=700 tmpfs $h/full; cp -a $h/.local $h/.cache $h/full; \
                mount --bind $h/full/.local $h/.local; mount --bind $h/full/.cache $h/.cache; \
                dd if=/dev/zero of=$h/full/fill 2>/dev/null || true";
    // There is room again, on the same disk.
    let again = "rm $h/full/fill; \"$0\" reap --known --json; \"$0\" offers list --cached --json";
    let known = ["\"standing\": \"attachable\"", "\"instance_type\""];
    let (cache, state) = (shown(&home.path(".cache/skyward")), shown(&home.state()));
    let of_offers =
        ["error: failed to open the catalog of offers in", &cache, "the disk is full; free some space"];
    let of_journal = ["error: failed to write the journal in", &state, "the disk is full; free some space"];
    for (commands, words) in [(&OFFERS[..], of_offers), (&JOURNAL[..], of_journal)] {
        for command in commands {
            let Some(output) = home.confined(full, command, again) else { return Ok(()) };
            expect(command, output, 1, &[&words[..], &known].concat());
        }
    }
    fs::remove_dir(home.path("full"))?;
    home.expect_nothing_lost();
    Ok(())
}

#[skyward::test]
async fn a_journal_that_is_no_database_is_said_with_the_pools_it_knew() -> skyward::Result<()> {
    let home = Home::with_a_pool().await?;
    let (file, aside) = (home.state().join("journal.sqlite"), home.path("aside"));
    fs::copy(&file, &aside)?;
    let pool = fs::read_dir(home.state().join("keys"))?.next().expect("a pool's keys")?.file_name();
    let pool = pool.to_string_lossy().into_owned();
    fs::write(&file, "this is no journal, and it is longer than the head of one would be".repeat(99))?;
    for command in JOURNAL {
        home.says(
            command,
            1,
            &[
                "error: failed to read the journal in",
                &shown(&home.state()),
                &pool,
                "then move the file away",
            ],
        );
    }
    assert!(home.path("machines").exists());
    fs::copy(&aside, &file)?;
    home.expect_nothing_lost();
    Ok(())
}

#[skyward::test]
async fn what_a_journal_cannot_say_any_more_is_said_and_keeps_its_pool() -> skyward::Result<()> {
    let home = Home::with_a_pool().await?;
    let (file, aside) = (home.state().join("journal.sqlite"), home.path("aside"));
    fs::copy(&file, &aside)?;
    Connection::open(&file).expect("opened").execute("UPDATE deeds SET request = '{'", []).expect("spoilt");
    let damage = "warning: the journal is damaged: something that was asked of a cloud for pool";
    home.says(&["reap", "--known"], 0, &[damage, "train"]);
    home.says(GIVE_BACK, 1, &[damage, "left:"]);
    home.says(&["attach", "train", "--stop"], 1, &["left:"]);
    home.says(&["reap", "--known"], 0, &[damage, "train"]);
    assert!(home.path("machines").exists());
    fs::copy(&aside, &file)?;
    home.expect_nothing_lost();
    Ok(())
}

#[skyward::test]
async fn a_journal_in_a_folder_that_everybody_can_write_is_not_believed() -> skyward::Result<()> {
    let home = Home::with_a_pool().await?;
    let set = |mode| fs::set_permissions(home.state(), fs::Permissions::from_mode(mode));
    set(0o777)?;
    for command in JOURNAL {
        let words =
            ["error: failed to use the journal in", "its mode 777 lets everybody write", "`chmod go-w`"];
        home.says(command, 1, &words);
    }
    set(0o700)?;
    home.expect_nothing_lost();
    Ok(())
}

#[skyward::test]
async fn what_a_living_program_has_is_left_alone_until_it_leaves_it() -> skyward::Result<()> {
    let home = Home::new();
    let compute = home.builder(Local::default()).start().await?;
    let own = format!("in use by process {}", std::process::id());
    for command in &JOURNAL[..4] {
        home.says(command, 1, &["error: pool train is", &own, "wait for it, or end that program"]);
    }
    home.says(&["reap", "--known"], 0, &["train", &own, "is left alone"]);
    home.says(GIVE_BACK, 0, &["train", &own, "is left alone"]);
    home.says(&["reap", "--known", "--yes", "--pool", "train"], 1, &[&own, "is left alone"]);
    home.says(JOURNAL[7], 1, &[&own, "is left alone"]);
    let told = home.says(&["reap", "--known", "--json"], 0, &["\"standing\": \"owned\"", "\"needs\": null"]);
    assert!(told.contains(&format!("\"pid\": {}", std::process::id())), "{told}");

    let mut watch = Command::new(env!("CARGO_BIN_EXE_sky"));
    home.at_home(watch.args(JOURNAL[8]).stdout(Stdio::null()).stderr(Stdio::null()));
    let mut watch = watch.spawn().expect("it runs");
    let detached = compute.detach().await;
    let gone = within(Duration::from_secs(60), || !home.path("machines").exists());
    let lives = watch.try_wait().is_ok_and(|it| it.is_none());
    let _ = watch.kill();
    let _ = watch.wait();
    assert!(gone && lives, "it is given back, and the watch goes on: {gone} {lives}");
    detached
}

#[skyward::test]
async fn a_pool_that_is_just_starting_is_left_alone() -> skyward::Result<()> {
    let home = Home::new();
    let mut local = Local::default();
    local.faults.boot_delay = Duration::from_secs(4);
    let starting = tokio::spawn(home.builder(local).start());
    let begun = within(Duration::from_secs(60), || {
        let told = home.sky(&["reap", "--known", "--json"]).output().expect("it runs");
        String::from_utf8_lossy(&told.stdout).contains("\"standing\": \"owned\"")
    });
    assert!(begun && !starting.is_finished());
    home.says(GIVE_BACK, 0, &["train", "in use by process", "is left alone"]);
    home.says(&["reap", "--known", "--yes", "--pool", "train"], 1, &["is left alone"]);
    let compute = starting.await.map_err(|error| error.to_string())??;
    assert_eq!((one() >> &compute).await?, 1);
    compute.stop().await
}

#[skyward::function]
async fn one() -> u32 {
    1
}

#[skyward::test]
async fn two_reaps_at_once_give_back_each_pool_once() -> skyward::Result<()> {
    let home = Home::with_a_pool().await?;
    let run = || home.sky(GIVE_BACK).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let told = [run(), run()].map(|it: Child| it.wait_with_output().expect("ended"));
    let mut ended_well = 0;
    for output in told {
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        let is_well = output.status.success();
        assert!(is_well || text.contains("pool train is in use by process"), "{text}");
        ended_well += u32::from(is_well);
    }
    assert!(ended_well >= 1);
    home.says(GIVE_BACK, 0, &["nothing is rented"]);
    assert!(!home.path("machines").exists());
    Ok(())
}

#[skyward::test]
async fn who_finds_a_file_busy_looks_and_changes_nothing() -> skyward::Result<()> {
    let home = Home::with_a_pool().await?;
    let lock = |file: PathBuf| {
        let writer = Connection::open(file).expect("opened");
        writer.execute_batch("BEGIN IMMEDIATE").expect("begun");
        writer
    };
    let writers =
        [home.state().join("journal.sqlite"), home.path(".cache/skyward/offers-1.sqlite")].map(lock);
    let busy = "another program kept it busy; try again";
    thread::scope(|scope| {
        scope.spawn(|| home.says(OFFERS[4], 1, &["the catalog of offers in", busy]));
        home.says(JOURNAL[3], 1, &["failed to use the journal in", &shown(&home.state()), busy]);
    });
    home.says(JOURNAL[6], 1, &["failed to use the journal in", &shown(&home.state()), busy]);
    for command in
        [OFFERS[1], OFFERS[2], OFFERS[3], JOURNAL[0], JOURNAL[1], JOURNAL[2], JOURNAL[4], JOURNAL[5]]
    {
        home.says(command, 0, &[]);
    }
    drop(writers);
    home.expect_nothing_lost();
    Ok(())
}

#[skyward::test]
async fn a_pool_whose_journal_is_elsewhere_is_found_where_it_is() -> skyward::Result<()> {
    let home = Home::new();
    let elsewhere = home.path("elsewhere");
    home.builder(Local::default()).state(&elsewhere).start().await?.detach().await?;
    let (named, misspelt) = (shown(&elsewhere), shown(&home.path("elsewere")));
    home.says(&["reap", "--known"], 0, &["there is no journal in", "nothing was rented from here"]);
    home.says(&["attach", "train"], 2, &["name is train: there is no journal in"]);
    for command in [&["reap", "--state", &misspelt][..], &["attach", "train", "--state", &misspelt]] {
        home.says(command, 2, &["--state is", &misspelt, "there is no journal in"]);
    }
    assert!(!home.path("elsewere").exists() && !home.state().exists(), "a look makes nothing");
    home.says(&["attach", "train", "--state", &named], 0, &["pool train (", "running"]);
    let told = home.says(&["reap", "--known", "--json", "--state", &named], 0, &[]);
    let machine = r#""machines": [
      {
        "id": ""#;
    assert!(told.contains(machine), "{told}");
    for line in [
        r#""holder": null"#,
        r#""name": "train""#,
        r#""needs": [
      "--yes",
      "--pool="#,
        r#""pool": ""#,
        r#""provider": "local""#,
        r#""reaped": false"#,
        r#""seconds_left": 3"#,
        r#""standing": "attachable""#,
        r#""told": "is left alone""#,
    ] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
    home.says(&["reap", "--known", "--yes", "--all", "--state", &named], 0, &["given back"]);
    assert!(!home.path("machines").exists());
    Ok(())
}

/// Whether it comes to be so in time.
fn within(deadline: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while !is_so() {
        if Instant::now() >= end {
            return false;
        }
        thread::park_timeout(Duration::from_millis(50));
    }
    true
}
