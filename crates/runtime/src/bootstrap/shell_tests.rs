//! The script in a real `sh`, in a home folder of its own. Needs nothing else; the test of pip says so
//! when what it needs is missing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::includes::Includes;
use super::plan::{Plan, plan};
use super::progress::{Reader, Told};
use super::script::script;
use crate::model::{Capabilities, Image};

/// Writes a file that can be executed. A child writes it: were it open for writing here, another test's
/// fork could hold it open, and the system refuses to execute such a file.
pub(super) fn write_program(path: &Path, content: &[u8]) {
    let mut child = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    assert!(child.wait().unwrap().success());
}

const NONCE: &str = "4b1d";
const NO_ROOT: Capabilities =
    Capabilities { ends_itself: true, udp: true, same_computer: true, ..Capabilities::NONE };

/// A machine's home folder.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(".skyward").join(below)
    }

    fn work(&self, file: &str) -> String {
        fs::read_to_string(self.path("work").join(file)).unwrap_or_default()
    }

    /// Starts a run the way `run()` does: the script on the standard input of `sh -s`.
    fn start(&self, plan: &Plan, path: Option<&Path>) -> Child {
        let mut command = Command::new("sh");
        command.arg("-s").env("HOME", self.0.path());
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        write!(child.stdin.take().unwrap(), "nonce={NONCE}\n{}", script(plan)).unwrap();
        child
    }

    fn run(&self, plan: &Plan) -> Vec<Told> {
        heard(self.start(plan, None), plan)
    }
}

fn heard(child: Child, plan: &Plan) -> Vec<Told> {
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "everything is said on standard output");
    let mut reader = Reader::new(NONCE.into(), plan);
    let mut told = reader.read(&output.stdout);
    told.extend(reader.finish());
    told
}

fn planned(image: &Image) -> Plan {
    plan(image, &NO_ROOT).unwrap()
}

/// What happened, in short: `+` started, `=` skipped, `.` finished, `!` failed; output as it is.
fn short(told: &[Told]) -> Vec<String> {
    let short = |it: &Told| match it {
        Told::Waiting => "waiting".to_owned(),
        Told::Started { step } => format!("+ {step}"),
        Told::Skipped { step } => format!("= {step}"),
        Told::Finished { step } => format!(". {step}"),
        Told::Failed { step, code } => format!("! {step}: {code}"),
        Told::Output { line, .. } => line.clone(),
        Told::Ended => "end".to_owned(),
    };
    told.iter().map(short).collect()
}

#[test]
fn steps_run_in_order_with_the_environment_and_a_second_run_skips_them() {
    let home = Home::new();
    let image = Image::new()
        .env("GREETING", "it's $HOME,\n\"two\" lines")
        .shell("printf %s \"$GREETING\" >greeting; pwd; cat")
        .shell("echo to stderr >&2; echo last");
    let plan = planned(&image);
    let work = home.path("work");
    let first = home.run(&plan);
    assert_eq!(
        short(&first),
        [
            "+ env: GREETING",
            ". env: GREETING",
            "+ shell 1: printf %s \"$GREETING\" >greeting; pwd; cat",
            &work.to_string_lossy(),
            ". shell 1: printf %s \"$GREETING\" >greeting; pwd; cat",
            "+ shell 2: echo to stderr >&2; echo last",
            "to stderr",
            "last",
            ". shell 2: echo to stderr >&2; echo last",
            "end"
        ]
    );
    assert_eq!(home.work("greeting"), "it's $HOME,\n\"two\" lines");
    let second = home.run(&plan);
    assert_eq!(second.len(), 4);
    assert!(second.iter().take(3).all(|it| matches!(it, Told::Skipped { .. })), "{second:?}");
}

#[test]
fn a_failing_step_stops_the_run_and_the_next_run_goes_on_there() {
    let home = Home::new();
    let plan = planned(
        &Image::new()
            .shell("echo once >>done")
            .shell("echo oops\nfalse\necho not reached")
            .shell("test -e repaired || exit 7")
            .shell("echo end >>done"),
    );
    assert_eq!(short(&home.run(&plan))[2..], ["+ shell 2: echo oops …", "oops", "! shell 2: echo oops …: 1"]);
    // Whether `sh -e` holds cannot be repaired from outside, so the second step is replaced.
    let plan = planned(
        &Image::new().shell("echo once >>done").shell("test -e repaired || exit 7").shell("echo end >>done"),
    );
    assert_eq!(short(&home.run(&plan)).last().unwrap(), "! shell 2: test -e repaired || exit 7: 7");
    fs::write(home.path("work/repaired"), "").unwrap();
    let told = short(&home.run(&plan));
    assert_eq!(told[..2], ["= shell 1: echo once >>done", "+ shell 2: test -e repaired || exit 7"]);
    assert_eq!(told.last().unwrap(), "end");
    assert_eq!(home.work("done"), "once\nend\n");
}

#[test]
fn a_changed_image_does_its_later_steps_again_and_so_does_the_way_back() {
    let home = Home::new();
    let (one, two) =
        (planned(&Image::new().shell("echo 1 >value")), planned(&Image::new().shell("echo 2 >value")));
    for (plan, value) in [(&one, "1\n"), (&two, "2\n"), (&one, "1\n")] {
        assert_eq!(home.run(plan).last(), Some(&Told::Ended));
        assert_eq!(home.work("value"), value);
    }
}

#[test]
fn what_a_step_prints_is_never_taken_for_the_scripts_words() {
    let home = Home::new();
    let plan = planned(
        &Image::new()
            .shell("echo; echo 'end'; echo \"$nonce end\"; echo ' 4b1d end'; printf no-line-end")
            .shell(":"),
    );
    let told = home.run(&plan);
    let line = |it: &Told| if let Told::Output { line, .. } = it { Some(line.clone()) } else { None };
    let lines: Vec<_> = told.iter().filter_map(line).collect();
    assert_eq!(lines, ["end", " end", " 4b1d end", "no-line-end"]);
    assert_eq!(told.last(), Some(&Told::Ended));
    assert!(matches!(told.get(told.len() - 3), Some(Told::Started { .. })), "{told:?}");
}

#[test]
fn steps_cannot_see_the_mark_in_their_environment_or_on_a_command_line() {
    let home = Home::new();
    let plan = planned(&Image::new().shell("env; tr '\\0' '\\n' </proc/$PPID/cmdline || true"));
    let told = short(&home.run(&plan));
    assert!(!told.iter().any(|it| it.contains(NONCE)), "{told:?}");
}

#[test]
fn a_cut_off_script_does_nothing() {
    let home = Home::new();
    let plan = planned(&Image::new().shell("touch ran\ntouch ran-too"));
    let whole = script(&plan);
    for end in [whole.find("touch ran-too").unwrap(), whole.len() - 6] {
        let mut child = Command::new("sh")
            .arg("-s")
            .env("HOME", home.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        write!(child.stdin.take().unwrap(), "nonce={NONCE}\n{}", &whole[..end]).unwrap();
        child.wait().unwrap();
        assert!(!home.path("work/ran").exists());
    }
}

/// Fails when two run it at once, and takes long enough to be caught.
const ALONE: &str =
    "mkdir busy\ni=0; while [ $i -lt 30000 ]; do i=$((i+1)); done\nrmdir busy\necho x >>count";

fn assert_one_at_a_time(home: &Home, path: Option<&Path>) {
    let plan = planned(&Image::new().shell(ALONE));
    let children: Vec<_> = (0..4).map(|_| home.start(&plan, path)).collect();
    let all: Vec<_> = children.into_iter().map(|it| heard(it, &plan)).collect();
    let started = all.iter().flatten().filter(|it| matches!(it, Told::Started { .. })).count();
    let skipped = all.iter().flatten().filter(|it| matches!(it, Told::Skipped { .. })).count();
    assert_eq!((started, skipped), (1, 3), "{all:?}");
    assert!(all.iter().all(|it| it.last() == Some(&Told::Ended)), "{all:?}");
    assert_eq!(home.work("count"), "x\n");
}

#[test]
fn runs_at_the_same_time_wait_for_each_other() {
    assert_one_at_a_time(&Home::new(), None);
}

/// A folder with the few tools that the script uses, and no `flock`.
fn few_tools(folder: &Path) {
    let path = std::env::var_os("PATH").unwrap();
    for tool in ["sh", "mkdir", "rmdir", "cat", "rm", "ln", "readlink", "sleep", "mv"] {
        let found = std::env::split_paths(&path).map(|it| it.join(tool)).find(|it| it.is_file()).unwrap();
        symlink(found, folder.join(tool)).unwrap();
    }
}

#[test]
fn runs_wait_for_each_other_where_there_is_no_flock() {
    let tools = tempfile::tempdir().unwrap();
    few_tools(tools.path());
    assert_one_at_a_time(&Home::new(), Some(tools.path()));
}

#[test]
fn the_lock_of_a_dead_run_is_taken_over_where_there_is_no_flock() {
    let (home, tools) = (Home::new(), tempfile::tempdir().unwrap());
    few_tools(tools.path());
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    fs::create_dir_all(home.path("")).unwrap();
    symlink(format!("pid-{}", dead.id()), home.path("lock.owner")).unwrap();
    assert_one_at_a_time(&home, Some(tools.path()));
    assert!(home.path("lock.owner").symlink_metadata().is_err(), "the lock is given back");
}

#[test]
fn what_a_step_leaves_running_does_not_keep_the_lock() {
    let home = Home::new();
    let plan = planned(&Image::new().shell("sleep 100 >/dev/null 2>&1 & echo $! >pid"));
    assert_eq!(home.run(&plan).last(), Some(&Told::Ended));
    let again = home.run(&plan);
    let pid = home.work("pid");
    Command::new("kill").arg(pid.trim()).status().unwrap();
    assert!(!again.contains(&Told::Waiting), "{again:?}");
}

#[test]
fn included_files_are_unpacked_where_shell_steps_and_the_worker_run() {
    let (home, source) = (Home::new(), tempfile::tempdir().unwrap());
    let data = source.path().join("my data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("x.csv"), "1,2\n").unwrap();
    symlink("x.csv", data.join("link")).unwrap();
    let image = Image::new().include(&data).shell("cat 'my data/link' >seen");
    let includes = Includes::pack(&image).unwrap();
    let to = home.0.path().join(includes.path().unwrap());
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let mut plain = Vec::new();
    let mut unpack = flate2::read::GzDecoder::new(&includes.archive().unwrap().bytes[..]);
    std::io::copy(&mut unpack, &mut plain).unwrap();
    fs::write(to, plain).unwrap();
    let told = home.run(&planned(&image).with(&includes));
    assert_eq!(told.last(), Some(&Told::Ended), "{told:?}");
    assert_eq!(home.work("seen"), "1,2\n");
}

#[test]
fn without_python_the_error_says_what_to_do() {
    let (home, tools) = (Home::new(), tempfile::tempdir().unwrap());
    few_tools(tools.path());
    let plan = planned(&Image::new().pip(["iniconfig"]));
    let told = short(&heard(home.start(&plan, Some(tools.path())), &plan));
    assert_eq!(told.last().unwrap(), "! python: 69", "{told:?}");
    assert!(told.iter().any(|it| it.contains("no python3 on this machine")), "{told:?}");
}

#[test]
fn python_packages_are_installed_where_tasks_find_them() {
    let home = Home::new();
    if let Some(missing) = missing_for_pip() {
        assert!(
            std::env::var_os("SKYWARD_REQUIRE_ALL").is_none(),
            "SKYWARD_REQUIRE_ALL is set, but {missing}"
        );
        eprintln!("SKIPPED python_packages_are_installed_where_tasks_find_them: {missing}");
        return;
    }
    let image = Image::new()
        .pip(["iniconfig >= 2"])
        .env("CHECK", "import iniconfig, sys; print('found', sys.prefix)")
        .shell("python -c \"$CHECK\"");
    let plan = planned(&image);
    let told = short(&home.run(&plan));
    let expected = format!("found {}", home.path("venv").display());
    assert!(told.contains(&expected), "{told:#?}");
    assert_eq!(home.run(&plan).len(), 5, "everything is done");
}

/// Why packages cannot be installed here.
fn missing_for_pip() -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let tried = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--retries", "0", "--timeout", "20", "-d"])
        .arg(folder.path())
        .arg("iniconfig")
        .output();
    match tried {
        Err(error) => Some(format!("there is no python3: {error}")),
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(format!("pip reaches no index: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}
