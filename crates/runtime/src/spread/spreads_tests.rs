//! Tests of what comes to nodes from each other: real dialogs over pipes, and nodes that fail.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tokio::io::{AsyncReadExt as _, DuplexStream, ReadBuf, duplex};
use tokio::sync::Semaphore;

use super::*;
use crate::link::{Incoming, Outgoing, Stream};
use crate::model::PoolId;
use crate::spread::{Open, Store, fetch, read_offer, serve};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

const KEY: CommonKey = [7; 40];

/// One direction of a stream; none once it was given up.
struct Half(Option<DuplexStream>);

impl AsyncWrite for Half {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(it) => Pin::new(it).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Half {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some(it) => Pin::new(it).poll_read(cx, into),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[async_trait]
impl Outgoing for Half {
    fn reset(&mut self) {
        self.0 = None;
    }

    fn prioritise(&mut self, _: i32) {}

    fn unwanted(&self) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }
}

impl Incoming for Half {
    fn stop(&mut self) {
        self.0 = None;
    }
}

/// What a node does when another asks it.
#[derive(Clone)]
enum Peer {
    Gives(Arc<Store>),
    /// Gives other bytes.
    Lies,
    /// Ends after so many bytes.
    Dies(Arc<Store>, usize),
    Unreachable,
}

/// All nodes, as they reach each other.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<BTreeMap<Incarnation, Peer>>>);

impl Open for Net {
    fn open<'a>(&'a self, door: &'a Door, said: Vec<u8>) -> BoxFuture<'a, Result<Box<dyn Incoming>, String>> {
        let peer = lock(&self.0).get(&door.name).cloned().expect("a node");
        async move {
            let (asks, asked) = duplex(1 << 10);
            let (gives, given) = duplex(1 << 16);
            let mut asks = Half(Some(asks));
            asks.write_all(&said).await.map_err(|it| it.to_string())?;
            let mut stream =
                Stream { outgoing: Box::new(Half(Some(gives))), incoming: Box::new(Half(Some(asked))) };
            let (store, most) = match peer {
                Peer::Unreachable => return Err("nothing answers".to_owned()),
                Peer::Gives(store) => (store, usize::MAX),
                Peer::Dies(store, most) => (store, most),
                Peer::Lies => {
                    tokio::spawn(async move { stream.outgoing.write_all(&vec![0; 4 << 20]).await });
                    return Ok(Box::new(Half(Some(given))) as Box<dyn Incoming>);
                }
            };
            tokio::spawn(async move { serve(&store, &mut stream, &Semaphore::new(1), LONG).await });
            // The question stays open as long as the answer.
            let (relay, cut) = duplex(1 << 16);
            tokio::spawn(async move {
                let (_asks, mut relay) = (asks, relay);
                let _ = tokio::io::copy(&mut given.take(most as u64), &mut relay).await;
            });
            Ok(Box::new(Half(Some(cut))) as Box<dyn Incoming>)
        }
        .boxed()
    }
}

/// A pool of nodes that all want the same thing.
struct Bench {
    spreads: Spreads,
    net: Net,
    thing: Thing,
    payload: Payload,
    stores: Vec<Arc<Store>>,
    /// How much the client has written to each node.
    sent: Vec<AtomicU64>,
}

fn name(number: usize) -> Incarnation {
    Incarnation::new(format!("n{number}"))
}

impl Bench {
    fn new(nodes: usize, bytes: usize) -> Self {
        let (spreads, net) = (Spreads::new(Events::new(PoolId::new("p"))), Net::default());
        let stores: Vec<Arc<Store>> = (0..nodes).map(|_| Arc::default()).collect();
        for (number, store) in stores.iter().enumerate() {
            let door = Door { name: name(number), address: [127, 0, 0, 1].into(), port: 1 };
            spreads.here(Rank(u32::try_from(number).expect("few")), name(number), door);
            lock(&net.0).insert(name(number), Peer::Gives(Arc::clone(store)));
        }
        let payload: Payload = (0..bytes).map(|it| (it % 249) as u8).collect::<Vec<_>>().into();
        let sent = (0..nodes).map(|_| AtomicU64::new(0)).collect();
        Self { spreads, net, thing: Thing::default(), payload, stores, sent }
    }

    fn is(&self, node: usize, peer: Peer) {
        lock(&self.net.0).insert(name(node), peer);
    }

    /// Gives one node all of it.
    async fn give(&self, node: usize) {
        let (client, worker) = duplex(1 << 16);
        let (mut from_node, to_node) = tokio::io::split(client);
        let (mut from_client, mut to_client) = tokio::io::split(worker);
        let offer = Offer { key: KEY, manifest: Manifest::of(&self.payload) };
        let mut to_node = Counted(to_node, &self.sent[node]);
        let node_name = name(node);
        let streams = (&mut from_node, &mut to_node);
        let given = self.spreads.converse(&self.thing, &node_name, offer, &self.payload, streams);
        let taken = async {
            let Offer { key, manifest } = read_offer(&mut from_client).await.expect("an offer");
            let held = self.stores[node].offered(key, manifest);
            let client = (&mut from_client, &mut to_client);
            fetch(&held, client, &self.net, LONG).await.expect("fetched");
            assert_eq!(held.whole(), Some(self.payload.clone().into_bytes()));
            held.have(&mut to_client).await.expect("said");
        };
        let (given, ()) =
            tokio::time::timeout(LONG, async { tokio::join!(given, taken) }).await.expect("in time");
        given.expect("given");
    }

    fn sent(&self) -> Vec<u64> {
        self.sent.iter().map(|it| it.load(Ordering::Relaxed)).collect()
    }
}

/// What is written to a node, counted.
struct Counted<'a, W>(W, &'a AtomicU64);

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<'_, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.0).poll_write(cx, bytes))?;
        self.1.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// More than any dialog has beside the chunks.
const WORDS: u64 = 64 << 10;

#[tokio::test]
async fn the_client_sends_it_once_and_every_node_has_all_of_it() {
    for (nodes, chunks) in [(4, 9), (7, 2)] {
        let bench = Bench::new(nodes, chunks * (CHUNK as usize) - 3);
        join_all((0..nodes).map(|it| bench.give(it))).await;
        let sent: u64 = bench.sent().iter().sum();
        let length = bench.payload.len() as u64;
        assert!((length..length + WORDS).contains(&sent), "{sent} of {length} to {nodes} nodes");
        // What is there is not sent again, nor asked of anybody.
        bench.give(0).await;
        assert!(bench.sent().iter().sum::<u64>() < length + WORDS);
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_what_the_client_said_is_refused_and_had_from_elsewhere() {
    let bench = Bench::new(2, 3 * CHUNK as usize);
    let mut events = bench.spreads.0.events.subscribe();
    bench.give(0).await;
    bench.is(0, Peer::Lies);
    bench.give(1).await;
    let [_, second] = bench.sent()[..] else { panic!("two") };
    assert!(second >= 3 * CHUNK, "the client gave it all: {second}");
    let told: Vec<_> = std::iter::from_fn(|| Some(events.try_recv().ok()?.kind)).collect();
    let bytes = 3 * CHUNK;
    let reason = "chunk 0 is not what the client said".to_owned();
    let expected = [
        EventKind::Given { rank: Rank(0), from: None, bytes },
        EventKind::PeerFailed { rank: Rank(1), peer: Rank(0), reason },
        EventKind::Given { rank: Rank(1), from: None, bytes },
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_node_that_dies_in_the_middle_is_gone_round_with_what_came_from_it_kept() {
    let bench = Bench::new(3, 4 * CHUNK as usize);
    bench.give(0).await;
    bench.is(0, Peer::Dies(Arc::clone(&bench.stores[0]), 5 * (CHUNK as usize) / 2));
    bench.give(1).await;
    let [_, second, _] = bench.sent()[..] else { panic!("three") };
    assert!((2 * CHUNK..2 * CHUNK + WORDS).contains(&second), "the client gave the rest alone: {second}");
    // The third has all of it from the second.
    bench.spreads.left(&name(0));
    bench.give(2).await;
    assert!(bench.sent()[2] < WORDS);
}

#[tokio::test]
async fn nodes_that_do_not_reach_each_other_have_it_from_the_client() {
    let bench = Bench::new(6, 2 * CHUNK as usize);
    (0..6).for_each(|it| bench.is(it, Peer::Unreachable));
    for node in 0..6 {
        bench.give(node).await;
    }
    assert!(bench.sent().iter().all(|it| *it >= 2 * CHUNK));
    assert!(lock(&bench.spreads.0.reach).is_in_vain(Instant::now()), "nobody tries any more");
}

#[tokio::test]
async fn what_broke_off_is_gone_on_with() {
    let bench = Bench::new(1, 4 * CHUNK as usize);
    let offer = Offer { key: KEY, manifest: Manifest::of(&bench.payload) };
    let held = bench.stores[0].offered(KEY, offer.manifest.clone());
    let whole = bench.payload.clone().into_bytes();
    let half: Bytes = whole.slice(..2 * CHUNK as usize + 17);
    let (client, worker) = duplex(1 << 20);
    let (mut from_client, mut to_client) = tokio::io::split(worker);
    let breaks = async {
        let (_, mut to_node) = tokio::io::split(client);
        write_message(&mut to_node, &Turn::Mine).await.expect("said");
        to_node.write_all(&half).await.expect("said");
    };
    let (fetched, ()) =
        tokio::join!(fetch(&held, (&mut from_client, &mut to_client), &bench.net, LONG), breaks);
    assert!(fetched.is_err());
    assert_eq!(held.chunks(), 2);
    bench.give(0).await;
    let sent = bench.sent()[0];
    assert!((2 * CHUNK..2 * CHUNK + WORDS).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_node_that_asks_nothing_takes_no_turn_and_is_given_up() {
    let ((_asks, asked), (gives, _given)) = (duplex(64), duplex(64));
    let mut stream = Stream { outgoing: Box::new(Half(Some(gives))), incoming: Box::new(Half(Some(asked))) };
    let (store, turns) = (Store::default(), Semaphore::new(1));
    let mut silent = Box::pin(serve(&store, &mut stream, &turns, Duration::from_millis(20)));
    assert!((&mut silent).now_or_never().is_none());
    assert_eq!(turns.available_permits(), 1);
    let error = silent.await.expect_err("nothing was asked").to_string();
    assert!(error.contains("no question"), "{error}");
}
