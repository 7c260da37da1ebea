//! `stream`: a million items of 100 bytes from one local node; the floor is as many bytes on one raw QUIC
//! stream to this process, in the same run, by turns. Then a reader that sleeps: what the producer's process holds
//! for it (`stream-buffers`), and how much that grows while it sleeps (`stream-memory`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, stream};
use quinn::{Connection, Endpoint, TransportConfig, VarInt};
use rustls::pki_types::PrivateKeyDer;
use skyward::prelude::*;

use crate::floor::{server, trusting};
use crate::{Report, median};

pub(crate) const ITEMS: u64 = 1_000_000;
pub(crate) const BYTES: usize = 100;

/// How much the floor's sender hands over at once.
const CHUNK: usize = 32 * 1024;

/// How long the reader sleeps after its first items.
const SLEEP: Duration = Duration::from_secs(3);

#[skyward::function]
fn items(count: u64) -> impl Stream<Item = String> {
    stream::iter(0..count).map(|it| format!("{it:0BYTES$}"))
}

/// The resident memory of the node's process, in KiB.
#[skyward::function]
async fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Ours and the floor, this many rounds each, by turns.
pub(crate) async fn measure(rounds: usize) -> skyward::Result<Vec<Report>> {
    let compute =
        Compute::builder().nodes(1).worker(Worker { concurrency: 2, ..Worker::default() }).start().await?;
    let floor = Floor::start().await?;
    let (mut ours, mut floors) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for round in 0..=rounds {
        let (took, raw) = (read(&compute).await?, floor.read().await?);
        // The first warms up.
        if round > 0 {
            ours.push(took);
            floors.push(raw);
        }
    }
    let [buffers, memory] = sleepy(&compute).await?;
    compute.stop().await?;
    Ok(vec![Report::beside("stream", rate(ours), rate(floors), "items/s", rounds), buffers, memory])
}

/// How many items a second that is.
pub(crate) fn rate(times: Vec<Duration>) -> f64 {
    ITEMS as f64 / median(times).as_secs_f64()
}

/// Reads all items; how long that took.
pub(crate) async fn read(compute: &Compute) -> skyward::Result<Duration> {
    let began = Instant::now();
    let mut items = items(ITEMS) >> compute;
    let mut count = 0;
    while let Some(item) = items.next().await {
        count += u64::from(item?.len() == BYTES);
    }
    if count == ITEMS { Ok(began.elapsed()) } else { Err("items are missing".into()) }
}

/// A reader that sleeps after its first item: how much more the producer's process holds a thirtieth of its sleep
/// later, and how much more than that at most until it ends.
async fn sleepy(compute: &Compute) -> skyward::Result<[Report; 2]> {
    let before = (resident() >> compute).await?;
    let mut items = items(ITEMS * 100) >> compute;
    items.next().await.transpose()?;
    let mut most = 0;
    let began = Instant::now();
    let mut first = None;
    while began.elapsed() < SLEEP {
        tokio::time::sleep(SLEEP / 30).await;
        let now = (resident() >> compute).await?;
        first.get_or_insert(now);
        most = most.max(now);
    }
    let first = first.unwrap_or_default();
    let mebibytes = |more: u64, than: u64| more.saturating_sub(than) as f64 / 1024.0;
    Ok([
        Report::alone("stream-buffers", mebibytes(first, before), "MiB", 1),
        Report::alone("stream-memory", mebibytes(most, first), "MiB", 1),
    ])
}

/// quinn alone: one stream of as many bytes, with the windows of a link.
struct Floor {
    connection: Connection,
    _endpoints: (Endpoint, Endpoint),
}

impl Floor {
    async fn start() -> skyward::Result<Self> {
        const NAME: &str = "floor";
        const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let key = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let certificate = key.cert.der().clone();
        let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let mut config = server(certificate.clone(), private)?;
        config.transport_config(windows().into());
        let sender = Endpoint::server(config, LOOPBACK)?;
        let (address, accepting) = (sender.local_addr()?, sender.clone());
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                if let Ok(connection) = incoming.await {
                    tokio::spawn(send(connection));
                }
            }
        });
        let endpoint = Endpoint::client(LOOPBACK)?;
        let mut config = trusting(certificate)?;
        config.transport_config(windows().into());
        let connection = endpoint.connect_with(config, address, NAME)?.await?;
        Ok(Self { connection, _endpoints: (endpoint, sender) })
    }

    async fn read(&self) -> skyward::Result<Duration> {
        let began = Instant::now();
        let (mut ask, mut receive) = self.connection.open_bi().await?;
        ask.write_all(b"go").await?;
        ask.finish()?;
        let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
        while let Some(read) = receive.read(&mut buffer).await? {
            bytes += read as u64;
        }
        if bytes == ITEMS * BYTES as u64 { Ok(began.elapsed()) } else { Err("bytes are missing".into()) }
    }
}

async fn send(connection: Connection) {
    while let Ok((mut send, _)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let chunk = vec![b'0'; CHUNK];
            let mut left = ITEMS as usize * BYTES;
            while left > 0 {
                let next = chunk.get(..left.min(CHUNK)).unwrap_or_default();
                // A peer that goes away is the end of the measurement.
                if send.write_all(next).await.is_err() {
                    return;
                }
                left -= next.len();
            }
            let _ = send.finish();
        });
    }
}

fn windows() -> TransportConfig {
    let mut windows = TransportConfig::default();
    windows
        .stream_receive_window(VarInt::from_u32(16 << 20))
        .receive_window(VarInt::from_u32(64 << 20))
        .send_window(64 << 20);
    windows
}
