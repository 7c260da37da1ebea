//! The namespaces of one bed. Its first process ends when this one does, however that happens, because it waits
//! for the end of a pipe that only this process holds; with it the kernel ends every process of the bed, and
//! with the last of them the mounts, the devices and the names are gone.

use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::until;

/// The namespaces of one bed, with a bridge in them and one device outside, by which this machine is on its net.
#[derive(Debug)]
pub(super) struct Lab {
    init: Child,
    /// Its first process, as this machine counts.
    pid: u32,
    /// The bed's number on this machine, where that is on its net: 10.77.number.0/24.
    number: Option<u8>,
    /// What runs in it, to be waited for.
    children: Mutex<Vec<Child>>,
}

/// Why there can be no bed on this machine; `None` when there can.
pub(super) fn missing() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("hosts of its own are made of Linux namespaces".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root makes network namespaces".to_owned());
    }
    let mut absent: Vec<&str> = TOOLS.into_iter().filter(|it| !is_there(it)).collect();
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    if !libraries.map(|it| it.path().join(CLOCK)).any(|it| it.exists()) {
        absent.push(CLOCK);
    }
    let advice = "apt-get install -y --no-install-recommends openssh-server iproute2 socat sudo libfaketime";
    (!absent.is_empty()).then(|| format!("this machine has no {}; {advice}", absent.join(", ")))
}

impl Lab {
    /// Namespaces with a net of this number, or of one that is free.
    pub(super) fn new(number: Option<u8>) -> Self {
        let mut lab = Self::alone();
        lab.number = Some(lab.join(number));
        lab.run("ip", &["link", "set", "up0", "master", "bed", "up"]);
        let (device, gateway) = (lab.device(), lab.gateway());
        done(Command::new("ip").args(["addr", "add", &format!("{gateway}/24"), "dev", &device]));
        done(Command::new("ip").args(["link", "set", &device, "up"]));
        lab
    }

    /// Namespaces that this machine is not on any net of.
    pub(super) fn alone() -> Self {
        let mut init = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", include_str!("sh/lab.sh")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        said(&mut init, "ready");
        let pid = only_child(init.id());
        Self { init, pid, number: None, children: Mutex::default() }
    }

    /// Puts this machine on the bed's net. The name of the device is the lock: the kernel gives it to one.
    fn join(&self, number: Option<u8>) -> u8 {
        let first = FREE.start + (std::process::id() % FREE.len() as u32) as u8;
        let any = || (first..FREE.end).chain(FREE.start..first).find(|it| self.takes(*it));
        let joined = match number {
            Some(number) => until(PATIENCE, || self.takes(number).then_some(number)),
            None => until(PATIENCE, any),
        };
        joined.expect("a net of 10.77.0.0/16 that no other bed, and nothing else on this machine, uses")
    }

    fn takes(&self, number: u8) -> bool {
        let routes = Command::new("ip").args(["-4", "route", "show"]).output().expect("ip");
        let net = format!("10.77.{number}.");
        if String::from_utf8_lossy(&routes.stdout).lines().any(|it| it.starts_with(&net)) {
            return false;
        }
        let name = device(number);
        let namespace = self.pid.to_string();
        let add =
            ["link", "add", &name, "mtu", "1500", "type", "veth", "peer", "name", "up0", "netns", &namespace];
        Command::new("ip").args(add).output().expect("ip").status.success()
    }

    /// A program in the bed's namespaces.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-m", "-n", "-p", "-i", "-u", "--", program]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a program in the bed's namespaces; it must end well.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> String {
        done(self.command(program).args(arguments))
    }

    /// Keeps a process of the bed, to wait for it in the end.
    pub(super) fn keep(&self, child: Child) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }

    /// Waits until the bed has a device of this name.
    pub(super) fn wait_for_device(&self, name: &str) {
        let there = || self.command("ip").args(["link", "show", name]).output().expect("ip").status.success();
        until(PATIENCE, || there().then_some(())).expect("a device of its own");
    }

    /// A folder of the bed, as this machine sees it.
    pub(super) fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/mnt/client", self.pid))
    }

    /// This machine's address on the bed's net.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number.expect("a net that this machine is on"), 1)
    }

    /// The device by which this machine is on the bed's net.
    pub(super) fn device(&self) -> String {
        device(self.number.expect("a net that this machine is on"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.init.stdin.take());
        let _ = self.init.wait();
        for child in self.children.get_mut().unwrap_or_else(PoisonError::into_inner) {
            let _ = child.wait();
        }
        // The kernel takes its time with a net; the next bed may want the same addresses.
        if let Some(number) = self.number {
            let device = Path::new("/sys/class/net").join(device(number));
            let _ = until(PATIENCE, || (!device.exists()).then_some(()));
        }
    }
}

/// Waits until a process says a word on its standard output.
///
/// # Panics
/// When it ends without, with what it said on its standard error.
pub(super) fn said(child: &mut Child, word: &str) {
    let mut line = String::new();
    // Byte by byte would do as well: nothing follows the word.
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    if line.trim() != word {
        let mut why = String::new();
        let _ = child.stderr.take().map(|mut it| it.read_to_string(&mut why));
        let _ = child.wait();
        assert!(line.trim() == word, "a process of the bed said {line:?} and not {word:?}: {why}");
    }
}

/// The one child of a process.
pub(super) fn only_child(pid: u32) -> u32 {
    let children = || {
        let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        listed.split_whitespace().next()?.parse().ok()
    };
    until(PATIENCE, children).expect("a child process")
}

/// Runs a program that must end well, and returns what it said.
pub(super) fn done(command: &mut Command) -> String {
    let output = command.output().expect("a program that starts");
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}: {said}{why}", output.status);
    said.into_owned()
}

fn device(number: u8) -> String {
    format!("skybed{number}")
}

pub(super) fn is_there(tool: &str) -> bool {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    places.iter().any(|it| Path::new(it).join(tool).exists())
}

/// What a bed and its hosts are made of.
const TOOLS: [&str; 11] = [
    "unshare",
    "nsenter",
    "ip",
    "bash",
    "hostname",
    "sshd",
    "ssh",
    "socat",
    "sudo",
    "/dev/net/tun",
    "/usr/share/openssh/sshd_config",
];

/// What makes a clock wrong, in a folder of libraries.
const CLOCK: &str = "faketime/libfaketime.so.1";

/// The nets that beds take which do not ask for one.
const FREE: std::ops::Range<u8> = 64..250;

/// How long anything of the bed's own may take on a busy machine, the end of another bed included.
const PATIENCE: Duration = Duration::from_secs(120);
