//! Real machines for clouds that do not exist: each is a process of this computer with an SSH server, and has
//! an address of its own on loopback, at which it is reached by the port that all of its cloud's have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skyward::Local;
use skyward::PoolId;
use skyward::provider::{InstanceState, Provider, Request};
use skyward_runtime::model::{InstanceId, InstanceType, Market, Offer, Price};
use skyward_runtime::usd;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

pub(crate) struct Backing {
    local: Local,
    /// Kept for its end: the machines' directories are in it.
    _folder: tempfile::TempDir,
    ssh_port: u16,
    machines: Mutex<BTreeMap<String, Machine>>,
}

struct Machine {
    id: InstanceId,
    door: JoinHandle<()>,
}

/// The last two bytes of the next machine's address.
static NEXT: AtomicU32 = AtomicU32::new(1);

impl Backing {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::default().directory(folder.path().join("machines"));
        // A port that is free here is most likely free at the other addresses of loopback.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ssh_port = free.local_addr().unwrap().port();
        Self { local, _folder: folder, ssh_port, machines: Mutex::default() }
    }

    pub(crate) const fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// Starts what is wanted and not there, ends what is there and not wanted; the addresses of the new.
    pub(crate) async fn follow(&self, wanted: &[(String, String)]) -> Vec<(String, IpAddr)> {
        let mut machines = self.machines.lock().await;
        let unwanted: Vec<_> =
            machines.keys().filter(|id| !wanted.iter().any(|(it, _)| it == *id)).cloned().collect();
        for id in unwanted {
            let machine = machines.remove(&id).unwrap();
            machine.door.abort();
            self.local.terminate(&request(""), std::slice::from_ref(&machine.id)).await.unwrap();
        }
        let mut new = Vec::new();
        for (id, key) in wanted {
            if !machines.contains_key(id) {
                let (machine, address) = self.boot(key).await;
                machines.insert(id.clone(), machine);
                new.push((id.clone(), address));
            }
        }
        new
    }

    async fn boot(&self, key: &str) -> (Machine, IpAddr) {
        let request = request(key);
        self.local.prepare(&request).await.unwrap();
        let id = self.local.provision(&request, 1).await.unwrap().instances.remove(0).id;
        let port = loop {
            match self.local.describe(&request, &id).await.unwrap().state {
                InstanceState::Running { ssh, .. } => break ssh.port,
                // Each look waits a little by itself; the client's deadline bounds them all.
                InstanceState::Pending => {}
                InstanceState::Leaving { reason, .. } | InstanceState::Gone { reason, .. } => {
                    panic!("the machine is gone: {reason}")
                }
            }
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = number.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, 88, high, low));
        let listener = TcpListener::bind((address, self.ssh_port)).await.unwrap();
        let door = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut outside, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut inside) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        (Machine { id, door }, address)
    }
}

fn request(key: &str) -> Request {
    Request {
        pool: PoolId::new("backing"),
        offer: Offer::of("local", InstanceType::named("local"), Price::on_demand(usd!(0))),
        market: Market::OnDemand,
        disk_gb: None,
        volumes: Vec::new(),
        ssh_key: key.to_owned(),
        lease: Duration::from_secs(60),
    }
}
