//! One host of a bed: its disk, its boots, and what it says when it is asked.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;

use super::lab::{Lab, done, only_child, said};
use super::wire::Wire;
use crate::send;

/// One host of a bed. Two users are let in, `root` and `ubuntu`, who may become root by `sudo`.
#[derive(Debug)]
pub struct Host {
    pub(super) name: String,
    address: Ipv4Addr,
    pub(super) lab: Arc<Lab>,
    pub(super) wire: Option<Wire>,
    power: Mutex<Power>,
}

/// Whether the host runs.
#[derive(Debug)]
enum Power {
    Off,
    /// It has been switched on. `program` leads to its first process.
    Booting {
        program: Child,
    },
    /// Its first process, as this machine counts.
    On {
        program: Child,
        init: u32,
    },
}

impl Host {
    /// A host with a fresh disk, and its net; switched off.
    pub(super) fn new(lab: &Arc<Lab>, number: u8, address: Ipv4Addr, key: &str, wired: bool) -> Self {
        let name = format!("h{number}");
        lab.run("ip", &["netns", "add", &name]);
        let wire = if wired {
            let far = format!("{name}f");
            let wire = Wire::between(lab, &name, &far);
            lab.run("ip", &["link", "set", &far, "netns", &name, "name", "eth0"]);
            Some(wire)
        } else {
            lab.run("ip", &["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &name]);
            None
        };
        lab.run("ip", &["link", "set", &name, "master", "bed", "up"]);
        let script = include_str!("sh/disk.sh");
        lab.run("sh", &["-c", script, "sh", &name, &DISK_MB.to_string(), key]);
        Self { name, address, lab: Arc::clone(lab), wire, power: Mutex::new(Power::Off) }
    }

    /// Its address.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key of its SSH server, as in `known_hosts` (Ed25519).
    pub fn host_key(&self) -> String {
        let path = format!("/mnt/{}/etc/ssh/ssh_host_ed25519_key.pub", self.name);
        self.lab.run("cat", &[&path]).trim().to_owned()
    }

    /// Lets another key in: an OpenSSH public key line.
    pub fn authorize(&self, user: &str, key: &str) {
        let home = if user == "root" { "root".to_owned() } else { format!("home/{user}") };
        let script = "printf '%s\\n' \"$2\" >>\"/mnt/$1/.ssh/authorized_keys\"";
        self.lab.run("sh", &["-c", script, "sh", &format!("{}/{home}", self.name), key]);
    }

    /// Runs a script on it as root.
    ///
    /// # Panics
    /// When it is switched off.
    pub fn output(&self, script: &str) -> Output {
        let init = self.init().expect("a host that runs");
        let mut command = Command::new("nsenter");
        command.args([
            "-t",
            &init.to_string(),
            "-m",
            "-n",
            "-p",
            "-i",
            "-u",
            "--",
            "/bin/bash",
            "-c",
            script,
        ]);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root").stdin(Stdio::null()).output().expect("nsenter")
    }

    /// Runs a script on it as root, which must end well, and returns what that said.
    ///
    /// # Panics
    /// When it ends badly.
    pub fn run(&self, script: &str) -> String {
        let output = self.output(script);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script:?} on {} ended with {}: {why}", self.name, output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Every file of its disk, the system's logs apart.
    pub fn files(&self) -> Vec<String> {
        let root = format!("/mnt/{}", self.name);
        let found = self.lab.run("find", &[&root, "-xdev", "-not", "-path", "*/var/log/*"]);
        let mut files: Vec<_> =
            found.lines().filter_map(|it| it.strip_prefix(&root)).map(str::to_owned).collect();
        files.sort();
        files
    }

    /// What runs on it besides its first process and its SSH server, whose sessions end a little after their client.
    pub fn processes(&self) -> Vec<String> {
        let running = self.pids().into_iter().filter_map(|pid| {
            let read = |what| std::fs::read(format!("/proc/{pid}/{what}")).ok();
            let line = String::from_utf8_lossy(&read("cmdline")?).replace('\0', " ");
            Some((pid, line)).filter(|(_, line)| !line.is_empty())
        });
        let init = self.init();
        let system =
            |pid: u32, line: &str| Some(pid) == init || line.starts_with("sshd: ") || line == "sleep 3600 ";
        running
            .filter(|(pid, line)| !system(*pid, line))
            .map(|(pid, line)| format!("{pid}: {line}"))
            .collect()
    }

    /// Every process on it, as this machine counts.
    pub(super) fn pids(&self) -> Vec<u32> {
        let Some(init) = self.init() else { return Vec::new() };
        let space = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(init);
        crate::processes().into_iter().filter(|it| own.is_some() && space(*it) == own).collect()
    }

    /// Its first process, while it runs.
    pub(super) fn init(&self) -> Option<u32> {
        match &*self.power() {
            Power::On { init, .. } => Some(*init),
            Power::Off | Power::Booting { .. } => None,
        }
    }

    pub(super) fn begin_boot(&self) {
        let (name, address) = (&self.name, format!("{}/24", self.address));
        let script = "ip -n $1 link set lo up; ip -n $1 addr replace $2 dev eth0; ip -n $1 link set eth0 up; \
             ip link set $1 up; exec ip netns exec $1 unshare --pid --fork --kill-child --mount --uts --ipc \
             sh -c \"$3\" sh $1 \"$4\"";
        let (boot, init) = (include_str!("sh/boot.sh"), include_str!("sh/init.sh"));
        let mut command = self.lab.command("sh");
        command.args(["-ec", script, "sh", name, &address, boot, init]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        *self.power() = Power::Booting { program: command.spawn().expect("nsenter") };
    }

    pub(super) fn booted(&self) {
        let power = std::mem::replace(&mut *self.power(), Power::Off);
        *self.power() = match power {
            Power::Booting { mut program } => {
                said(&mut program, "up");
                let init = only_child(only_child(program.id()));
                Power::On { program, init }
            }
            other => other,
        };
        // The kernel takes a moment until a link that is up carries anything.
        self.wait_for_ssh();
    }

    /// Ends every process on it at once.
    pub(super) fn kill(&self) {
        match std::mem::replace(&mut *self.power(), Power::Off) {
            Power::On { mut program, init } => {
                let _ = send(init, Signal::KILL);
                let _ = program.wait();
            }
            Power::Booting { mut program } => {
                let _ = program.kill();
                let _ = program.wait();
            }
            Power::Off => {}
        }
    }

    fn power(&self) -> MutexGuard<'_, Power> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes its disk or its net from outside.
    pub(super) fn outside(&self, program: &str, arguments: &[&str]) {
        done(self.lab.command(program).args(arguments));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How much fits on the disk of a host, in MiB. It is memory, and taken only as it is filled.
pub(super) const DISK_MB: u32 = 2048;
