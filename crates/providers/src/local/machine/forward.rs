//! Connections that the client opens from the machine to the machine: a worker's port on loopback, and
//! nothing else, so that a machine is not a way around anybody's firewall.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::brake::Load;
use super::pump::{Stream, inward, outward};

/// Where a client may connect to, if that is allowed.
pub(super) fn target(host: &str, port: u32) -> Option<SocketAddr> {
    let address = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    address.is_loopback().then_some(SocketAddr::new(address, u16::try_from(port).ok()?))
}

/// Connects, tells the client, and moves bytes until both sides are done or one is gone.
pub(super) async fn forward(
    target: SocketAddr,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    load: Arc<Load>,
) {
    let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(target)).await else {
        reply.reject(ChannelOpenFailure::ConnectFailed).await;
        return;
    };
    // Not fatal: it only makes small messages slower.
    let _ = stream.set_nodelay(true);
    reply.accept().await;
    let (reader, writer) = channel.split();
    let (source, sink) = stream.into_split();
    let (eof, client_done) = oneshot::channel();
    let finish = async {
        outward(source, &writer, Stream::Stdout, &load, std::future::pending).await;
        let _ = writer.eof().await;
        // Both are done when the client is as well; an error means that it is gone.
        let _ = client_done.await;
    };
    tokio::select! {
        () = inward(reader, sink, eof, &load) => {}
        () = finish => {}
    }
    let _ = writer.close().await;
}

/// How long a connection on loopback may take; it is at once or never.
const CONNECT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machine_itself_can_be_reached() {
        for (host, port, allowed) in [
            ("127.0.0.1", 80, true),
            ("127.9.9.9", 80, true),
            ("::1", 80, true),
            ("localhost", 80, true),
            ("127.0.0.1", 65_536, false),
            ("0.0.0.0", 80, false),
            ("192.0.2.1", 80, false),
            ("example.org", 80, false),
            ("", 80, false),
        ] {
            assert_eq!(target(host, port).is_some(), allowed, "{host}:{port}");
        }
    }
}
