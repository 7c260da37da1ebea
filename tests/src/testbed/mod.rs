//! Real hosts for tests: network, process and mount namespaces with a disk of their own and OpenSSH as Debian
//! installs it, on a bridge that nothing else is on, and everything that can befall them.
//!
//! ```text
//! Bed::of(3) ─→ lab (one process, all namespaces) ─→ disk, net ─boot─→ up ─power_cut─→ off ─power_on─→ up
//!                └ ends with the test, however that ends, and takes everything of the bed with it
//! ```
//!
//! What a bed makes on the machine is one network device and its route, to 10.77.n.0/24; they go with it.

mod boxes;
mod faults;
mod groups;
mod host;
mod lab;
mod wire;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

pub use boxes::{Engine, can_limit, within, within_second};
pub use groups::{processes_of, sweep};
pub use host::Host;
pub use wire::Weather;

use lab::Lab;

/// Hosts on a net of their own.
///
/// ```no_run
/// use skyward_tests::testbed::Bed;
/// let Some(bed) = Bed::of(3) else { return };
/// bed.host(1).cut();
/// ```
#[derive(Debug)]
pub struct Bed {
    // They end before what they are in.
    hosts: Vec<Host>,
    lab: Arc<Lab>,
}

impl Bed {
    /// This many hosts, on plain wires. `None` where this machine cannot have a bed, which is said; that fails
    /// where no test may be skipped (`SKYWARD_REQUIRE_ALL`).
    ///
    /// # Panics
    /// When a host does not boot.
    pub fn of(count: u8) -> Option<Self> {
        Self::made(count, None, false)
    }

    /// As [`of`](Self::of), on wires that can be slow, lossy and narrow ([`Host::weather`]).
    ///
    /// # Panics
    /// When a host does not boot.
    pub fn wired(count: u8) -> Option<Self> {
        Self::made(count, None, true)
    }

    /// Hosts at these addresses, which are in one 10.77.n.0/24 with n below 64; waits for the bed that has it.
    ///
    /// # Panics
    /// When the addresses are others, or a host does not boot.
    pub fn at(addresses: &[Ipv4Addr]) -> Option<Self> {
        let nets: Vec<_> = addresses.iter().map(|it| it.octets()).collect();
        let [a, b, number, _] = nets.first().copied().expect("an address");
        assert!(nets.iter().all(|it| it.starts_with(&[10, 77, number])) && number < 64, "{a}.{b}.{number}");
        let bed = Self::empty(Some(number))?;
        Some(bed.with(addresses, false))
    }

    /// The host of this number; the first is 1.
    ///
    /// # Panics
    /// When there is none.
    pub fn host(&self, number: usize) -> &Host {
        self.hosts.get(number - 1).expect("a host of this number")
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The file of the private key that all hosts let in, as `root` and as `ubuntu`.
    pub fn key(&self) -> PathBuf {
        self.folder().join("key")
    }

    /// A folder for the files of who uses the bed. It goes with the bed, however that ends.
    pub fn folder(&self) -> PathBuf {
        self.lab.folder()
    }

    /// The text of a `known_hosts` file that knows all hosts as they are now.
    pub fn known_hosts(&self) -> String {
        self.hosts.iter().map(|it| format!("{} {}\n", it.address(), it.host_key())).collect()
    }

    /// This machine's address on the bed's net, at which hosts reach it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.lab.gateway()
    }

    /// The name of the one device that the bed has on this machine.
    pub fn device(&self) -> String {
        self.lab.device()
    }

    fn made(count: u8, number: Option<u8>, wired: bool) -> Option<Self> {
        let bed = Self::empty(number)?;
        let [a, b, c, _] = bed.gateway().octets();
        let addresses: Vec<_> = (0..count).map(|it| Ipv4Addr::new(a, b, c, 10 + it)).collect();
        Some(bed.with(&addresses, wired))
    }

    /// What the `ssh` client of this machine would need to log in to every host by its name, as `ubuntu`: a file of
    /// settings, with a list of known hosts beside it.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn ssh_config(&self) -> PathBuf {
        let (known, config) = (self.folder().join("known_hosts"), self.folder().join("config"));
        std::fs::write(&known, self.known_hosts()).expect("written");
        let key = self.key();
        let entry = |host: &Host| {
            format!(
                "Host {}\n  HostName {}\n  User ubuntu\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  \
                 GlobalKnownHostsFile none\n",
                host.name(),
                host.address(),
                key.display(),
                known.display()
            )
        };
        let text: String = self.hosts.iter().map(entry).collect();
        std::fs::write(&config, text).expect("written");
        config
    }

    fn empty(number: Option<u8>) -> Option<Self> {
        if let Some(missing) = lab::missing() {
            skipped(&missing);
            return None;
        }
        Some(Self { hosts: Vec::new(), lab: Arc::new(Lab::new(number)) })
    }

    fn with(mut self, addresses: &[Ipv4Addr], wired: bool) -> Self {
        let key = std::fs::read_to_string(self.key().with_extension("pub")).expect("a key");
        for (number, address) in (1..).zip(addresses) {
            self.hosts.push(Host::new(&self.lab, number, *address, key.trim(), wired));
        }
        for host in &self.hosts {
            host.begin_boot();
        }
        for host in &self.hosts {
            host.booted();
        }
        self
    }
}

/// Says that a test does not run, and why.
#[expect(clippy::print_stderr, reason = "a test that does not run says so where its reader looks")]
fn skipped(missing: &str) {
    let must = std::env::var_os("SKYWARD_REQUIRE_ALL").is_some();
    assert!(!must, "SKYWARD_REQUIRE_ALL is set, but there is no test bed: {missing}");
    eprintln!("SKIPPED: no test bed: {missing}");
}
