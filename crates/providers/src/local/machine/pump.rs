//! Bytes between a channel and a process or a connection, each way at the pace of the slower side.

use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

use super::brake::Load;

/// Moves what the client sends into `sink` and closes that at the client's end of file, which `eof`
/// hears of. Returns when the client closed the channel.
pub(super) async fn inward<W: AsyncWrite + Unpin>(
    mut reader: ChannelReadHalf,
    sink: W,
    eof: oneshot::Sender<()>,
    load: &Load,
) {
    let mut sink = Some(sink);
    let mut eof = Some(eof);
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                // Who does not read any more is not given any more; the client may still be sending.
                if let Some(open) = &mut sink
                    && open.write_all(&data).await.is_err()
                {
                    sink = None;
                }
                load.taken(data.len());
            }
            ChannelMsg::Eof => {
                if let Some(mut open) = sink.take() {
                    let _ = open.shutdown().await;
                }
                if let Some(eof) = eof.take() {
                    let _ = eof.send(());
                }
            }
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

/// Moves what `source` has to the client, until its end or until `quiet` says that no more is to be
/// waited for.
pub(super) async fn outward<R: AsyncRead + Unpin, Q: Future<Output = ()>>(
    mut source: R,
    writer: &ChannelWriteHalf<Msg>,
    stream: Stream,
    load: &Load,
    quiet: impl Fn() -> Q,
) {
    let mut first = true;
    loop {
        let mut bytes = Vec::with_capacity(if first { CHUNK_FIRST } else { CHUNK });
        first = false;
        let read = tokio::select! {
            read = source.read_buf(&mut bytes) => read,
            () = quiet() => return,
        };
        if !matches!(read, Ok(1..)) {
            return;
        }
        let sent = match stream {
            Stream::Stdout => load.send(writer.data_bytes(bytes)).await,
            Stream::Stderr => load.send(writer.extended_data_bytes(1, bytes)).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Which of a channel's two streams to the client.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// How much is read at once, in bytes: one packet's worth. The first read is small, because most
/// commands print a line.
const CHUNK: usize = 64 * 1024;
const CHUNK_FIRST: usize = 4 * 1024;
