//! What befalls hosts.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use super::Host;
use super::host::DISK_MB;
use super::wire::Weather;
use crate::{send, until};

impl Host {
    /// Pulls its network cable.
    pub fn cut(&self) {
        self.outside("ip", &["link", "set", &self.name, "down"]);
    }

    /// Plugs its network cable in.
    pub fn heal(&self) {
        self.outside("ip", &["link", "set", &self.name, "up"]);
    }

    /// Changes how its wire treats what goes over it.
    ///
    /// # Panics
    /// When its wire is a plain one.
    pub fn weather(&self, weather: Weather) {
        self.wire
            .as_ref()
            .expect("a wire that can be changed: take the hosts from `Bed::wired`")
            .set(weather);
    }

    /// Loses everything that comes and goes, without a word to anybody.
    pub fn blackhole(&self) {
        self.weather(Weather { loss_percent: 100, ..Weather::default() });
    }

    /// Loses all UDP, and nothing else.
    pub fn block_udp(&self) {
        self.weather(Weather { no_udp: true, ..Weather::default() });
    }

    /// Cuts it off from every other host that is set apart as well, and from nobody else.
    pub fn set_apart(&self) {
        self.outside("ip", &["link", "set", "dev", &self.name, "type", "bridge_slave", "isolated", "on"]);
    }

    /// Lets so many bits pass in a second, each way, by queues of the kernel. On plain wires, where a
    /// [`weather`](Self::weather) of many hosts at once would take the processor that is to be measured.
    ///
    /// # Panics
    /// When the kernel has no such queues.
    pub fn narrow(&self, bits_per_second: u64) {
        let rate = format!("{bits_per_second}bit");
        let queue = ["root", "tbf", "rate", &rate, "burst", "128kb", "latency", "50ms"];
        self.outside("tc", &[&["qdisc", "replace", "dev", &self.name], &queue[..]].concat());
        self.run(&format!("tc qdisc replace dev eth0 {}", queue.join(" ")));
    }

    /// Stops every process on it, its first one included.
    pub fn freeze(&self) {
        self.signal(Signal::STOP, 'T');
    }

    /// Lets the processes of a frozen host go on.
    pub fn thaw(&self) {
        for pid in self.pids() {
            let _ = send(pid, Signal::CONT);
        }
    }

    /// Takes its power: it is silent at once, and nothing on it runs any more. Its disk stays as it is.
    pub fn power_cut(&self) {
        // Before its processes end, or the kernel would answer for it.
        self.cut();
        self.kill();
    }

    /// Gives it power, and waits until its SSH server answers.
    ///
    /// # Panics
    /// When it does not boot.
    pub fn power_on(&self) {
        self.begin_boot();
        self.booted();
    }

    /// Restarts its SSH server, and ends all sessions.
    ///
    /// # Panics
    /// When the server does not start.
    pub fn restart_sshd(&self) {
        self.run(
            "for one in /proc/[0-9]*; do case $(cat $one/comm 2>/dev/null) in sshd*) kill -KILL ${one#/proc/};; esac; \
             done; rm -f /run/sshd.pid; until /usr/sbin/sshd; do sleep 0.05; done",
        );
        self.wait_for_ssh();
    }

    /// Leaves no room on its disk.
    pub fn fill_disk(&self) {
        let script = "used=$(df -k --output=used \"/mnt/$1\" | tail -n 1); \
             mount -o remount,size=$((used + 64))k \"/mnt/$1\"";
        self.outside("sh", &["-ec", script, "sh", &self.name]);
    }

    /// Makes room on its disk again.
    pub fn free_disk(&self) {
        self.outside("mount", &["-o", &format!("remount,size={DISK_MB}m"), &format!("/mnt/{}", self.name)]);
    }

    /// Sets its clock wrong by so many seconds, for every session from now on. The clock that counts from the
    /// boot stays right, as on a computer whose battery is empty.
    ///
    /// # Panics
    /// When `libfaketime` is not there.
    pub fn set_clock_wrong(&self, seconds: i64) {
        let library = self.run("ls /usr/lib/*/faketime/libfaketime.so.1");
        let library = library.trim();
        self.run(&format!(
            "printf '%s\\n' LD_PRELOAD={library} FAKETIME={seconds:+} DONT_FAKE_MONOTONIC=1 >/etc/environment"
        ));
    }

    /// Has its SSH server refuse to forward connections, in every session from now on.
    pub fn refuse_forwarding(&self) {
        self.run("echo AllowTcpForwarding no >/etc/ssh/sshd_config.d/forwarding.conf");
        self.restart_sshd();
    }

    /// Gives its SSH server other keys, as when another machine answers at its address.
    pub fn change_host_key(&self) {
        self.run(
            "for kind in ed25519 ecdsa; do rm -f /etc/ssh/ssh_host_${kind}_key*; \
             ssh-keygen -q -t $kind -N '' -f /etc/ssh/ssh_host_${kind}_key; done",
        );
        self.restart_sshd();
    }

    pub(super) fn wait_for_ssh(&self) {
        let greets = || {
            let mut greeting = [0; 4];
            let mut stream = TcpStream::connect_timeout(&(self.address(), 22).into(), PATIENCE).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            stream.read_exact(&mut greeting).ok()?;
            (&greeting == b"SSH-").then_some(())
        };
        until(PATIENCE, greets).expect("an SSH server that answers");
    }

    /// Signals every process on it until all are in this state.
    fn signal(&self, signal: Signal, state: char) {
        let all = || {
            let rest: Vec<_> = self.pids().into_iter().filter(|it| !is_in(*it, state)).collect();
            for pid in &rest {
                // It may have ended meanwhile.
                let _ = send(*pid, signal);
            }
            rest.is_empty().then_some(())
        };
        until(PATIENCE, all).expect("all processes of the host");
    }
}

/// Whether a process is in this state, or has ended and cannot be in any.
fn is_in(pid: u32, state: char) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let found = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    found.is_none_or(|it| it == state || it == 'Z')
}

/// How long a host may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(30);
