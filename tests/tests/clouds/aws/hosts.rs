//! Calls on real hosts: each has the address that moto handed out, becomes what its user data says, as cloud-init
//! would do it, and has a metadata service of its own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use skyward::prelude::*;
use skyward::{EventKind, Loss, NodePhase};
use skyward_providers::aws::{Aws as Provided, Config};
use skyward_tests::testbed::{Bed, Host};
use skyward_tests::until_said;

use super::{Aws, Moto, REGION, config};
use crate::fake::{Condition, Fake};
use crate::smoke::{add, fails, rank};

/// The hosts of one subnet.
pub(crate) struct Hosts {
    bed: Bed,
    /// Those that are somebody's machine.
    used: Mutex<BTreeSet<Ipv4Addr>>,
    /// Those without power.
    off: Mutex<BTreeSet<Ipv4Addr>>,
}

impl Hosts {
    /// Lets as many hosts be machines as there are machines; each boots with what it is told.
    pub(crate) fn follow(&self, living: &[(Ipv4Addr, String)], told: &str) {
        let (mut used, mut off) = (self.used.lock().unwrap(), self.off.lock().unwrap());
        let gone: Vec<_> =
            used.iter().filter(|it| !living.iter().any(|(at, _)| at == *it)).copied().collect();
        for address in gone {
            self.host(address).power_cut();
            used.remove(&address);
            off.insert(address);
        }
        for (address, key) in living {
            if used.insert(*address) {
                let host = self.host(*address);
                if off.remove(address) {
                    host.power_on();
                }
                boot(host, key, told);
            }
        }
    }

    fn host(&self, address: Ipv4Addr) -> &Host {
        self.bed.hosts().iter().find(|it| it.address() == address).expect("a host at this address")
    }

    fn used(&self) -> usize {
        self.used.lock().unwrap().len()
    }

    /// Says on a host that its machine will be taken.
    fn warn(&self, name: &str) {
        let host = self.bed.hosts().iter().find(|it| it.name() == name).expect("a host of this name");
        let soon = "date -u -d '+110 seconds' +%Y-%m-%dT%H:%M:%SZ";
        host.run(&format!(
            "printf '{{\"action\": \"terminate\", \"time\": \"%s\"}}' \"$({soon})\" >/run/draft; mv /run/draft /run/action"
        ));
    }
}

/// What cloud-init makes of a host: its key, who is let in, and what it runs when it boots.
fn boot(host: &Host, key: &str, told: &str) {
    let told: Value = serde_saphyr::from_str(told).expect("a cloud-config");
    let text = |path: &str| told.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (private, public) = (text("/ssh_keys/ed25519_private"), text("/ssh_keys/ed25519_public"));
    host.run(&format!(
        "rm -f /etc/ssh/ssh_host_*; umask 077; cat >/etc/ssh/ssh_host_ed25519_key <<'KEY'\n{}\nKEY\n\
         echo '{public}' >/etc/ssh/ssh_host_ed25519_key.pub; rm -f /run/action",
        private.trim_end()
    ));
    host.restart_sshd();
    host.authorize("ubuntu", key);
    assert_eq!(told["bootcmd"][0][1], "-c");
    host.run(&text("/bootcmd/0/2"));
    host.run(&format!(
        "ip addr add 169.254.169.254/32 dev lo; cat >/run/metadata.py <<'PYTHON'\n{METADATA}PYTHON\n\
         setsid python3 /run/metadata.py </dev/null >/dev/null 2>&1 &"
    ));
}

/// A metadata service that answers who has a token.
const METADATA: &str = "\
import http.server
class Metadata(http.server.BaseHTTPRequestHandler):
    def tell(self, status, body):
        self.send_response(status)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_PUT(self):
        asks = 'x-aws-ec2-metadata-token-ttl-seconds' in self.headers
        self.tell(200 if asks else 400, b'a-token')
    def do_GET(self):
        if self.headers.get('x-aws-ec2-metadata-token') != 'a-token':
            return self.tell(401, b'')
        try:
            assert self.path == '/latest/meta-data/spot/instance-action'
            self.tell(200, open('/run/action', 'rb').read())
        except (AssertionError, OSError):
            self.tell(404, b'')
http.server.HTTPServer(('169.254.169.254', 80), Metadata).serve_forever()
";

/// A stand-in whose subnet has hosts, and a provider that reaches machines at their own addresses.
async fn stage(number: u8) -> Option<(Fake, Arc<Hosts>, Arc<Provided>)> {
    Moto::get()?;
    // The first that moto hands out of a subnet is the fourth.
    let addresses: Vec<_> = (4..10).map(|it| Ipv4Addr::new(10, 77, number, it)).collect();
    let bed = Bed::at(&addresses)?;
    let hosts = Arc::new(Hosts { bed, used: Mutex::default(), off: Mutex::default() });
    let mut aws = Aws { hosts: Some(Arc::clone(&hosts)), ..Aws::default() };
    let subnet = aws.subnet(&format!("10.77.{number}.0/24"));
    let fake = Fake::start(Box::new(aws)).await;
    let settings = Config {
        subnet_id: Some(subnet),
        private_address: true,
        instance_types: vec!["t3.micro".into()],
        shutdown_command: Config::default().shutdown_command,
        ..config(&fake.key, fake.access(), 22)
    };
    Some((fake, hosts, Arc::new(Provided::new(settings))))
}

impl Aws {
    /// A subnet of these addresses, in a network of its own.
    fn subnet(&mut self, block: &str) -> String {
        let block = super::encoded(block);
        let network = self.ec2(&format!("Action=CreateVpc&CidrBlock={block}"));
        let network = network.at(&["vpc", "vpcId"]).to_owned();
        let zone = format!("{REGION}a");
        let subnet = format!("Action=CreateSubnet&VpcId={network}&CidrBlock={block}&AvailabilityZone={zone}");
        self.ec2(&subnet).at(&["subnet", "subnetId"]).to_owned()
    }
}

/// The name of the host.
#[skyward::function]
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

async fn until(events: &mut skyward::Events, what: impl Fn(&EventKind) -> bool) {
    until_said(events, Duration::from_secs(180), what).await;
}

async fn works(compute: &Compute) -> skyward::Result<()> {
    assert_eq!((add(2, 3) >> compute).await?, 5);
    assert_eq!((rank() * compute).await?, [Some(0), Some(1)]);
    let sums = (gather((0..50).map(|it| add(it, 1))) >> compute).await?;
    assert_eq!(sums, (1..51).collect::<Vec<_>>());
    assert!((fails() >> compute).await.is_err());
    Ok(())
}

/// The host keys are verified, or none of this would begin: they are what the user data says, and nothing is pinned.
#[skyward::test]
async fn calls_run_on_hosts_that_are_told_their_keys_and_taken_with_and_without_a_warning()
-> skyward::Result<()> {
    let Some((fake, hosts, provider)) = stage(41).await else { return Ok(()) };
    let timing = Timing { lease: Duration::from_secs(60), ..Timing::default() };
    let spec = Spec::on_shared(provider).spot();
    let compute = skyward_tests::apart().spec(spec).nodes(2).timing(timing).start().await?;
    let mut events = compute.events();
    assert_eq!((fake.machines().len(), hosts.used()), (2, 2));
    works(&compute).await?;

    // With a warning the machine drains, and its rank has another one.
    let warned = (host() >> compute.node(1)).await?;
    hosts.warn(&warned);
    until(&mut events, |it| matches!(it, EventKind::Preempting { rank, .. } if rank.0 == 1)).await;
    let replaced = |it: &EventKind, which: u32| matches!(it, EventKind::Node { rank, attempt, phase: NodePhase::Ready } if (rank.0, attempt.0) == (which, 1));
    until(&mut events, |it| replaced(it, 1)).await;
    assert_ne!((host() >> compute.node(1)).await?, warned);
    works(&compute).await?;

    // Without one it is lost, and its cloud says why.
    let taken = (host() >> compute.node(0)).await?;
    let address = hosts.bed.hosts().iter().find(|it| it.name() == taken).map(Host::address);
    let id = fake.face().at(&address.expect("a host of this name").to_string());
    fake.face().set(&id, Condition::Taken);
    let lost = |it: &EventKind| matches!(it, EventKind::NodeLost { rank, loss: Some(Loss::Preempted), .. } if rank.0 == 0);
    until(&mut events, lost).await;
    until(&mut events, |it| replaced(it, 0)).await;
    // A broadcast goes to whoever is ready, so what waits for the rank comes first.
    assert_ne!((host() >> compute.node(0)).await?, taken);
    works(&compute).await?;

    compute.stop().await?;
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(hosts.used(), 0);
    assert_eq!(fake.violations(), [""; 0]);
    Ok(())
}
