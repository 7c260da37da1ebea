//! The worker's half of a transfer.

use std::path::Path;

use tokio::io::AsyncWriteExt;

use super::error::Fault;
use super::parcel::{Answer, Item, Request};
use super::place::Boundary;
use super::receive::Receiver;
use super::send::send;
use crate::link::{Incoming, Outgoing, Stream, WireError, read_message, write_message};

/// Serves one stream of [`Kind::File`](crate::link::Kind::File): paths are below `directory`, and those
/// that lead out of it are refused.
///
/// # Errors
/// When the stream fails, which is how a client gives a transfer up, or makes no sense. Trouble with
/// files is told to the client and is no error here.
pub async fn serve(stream: &mut Stream, directory: &Path) -> Result<(), WireError> {
    let Stream { outgoing, incoming } = stream;
    outgoing.prioritise(super::client::PRIORITY);
    match read_message(&mut **incoming, "a request for files").await? {
        Request::Put { to } => {
            let taken = put(&mut **incoming, directory, Path::new(&to)).await;
            let answer: Answer = match taken {
                Ok(received) => Ok(received),
                Err(Fault::Here(error) | Fault::There(error)) => Err(error),
                Err(Fault::Stream(error)) => return Err(error),
            };
            write_message(&mut **outgoing, &answer).await?;
        }
        Request::Get { from } => match get(&mut **outgoing, directory, Path::new(&from)).await {
            Ok(()) => {}
            Err(Fault::Here(error) | Fault::There(error)) => {
                write_message(&mut **outgoing, &Item::Fault(error)).await?;
            }
            Err(Fault::Stream(error)) => return Err(error),
        },
    }
    outgoing.shutdown().await.map_err(|it| WireError::Interrupted(it.to_string()))
}

async fn put(incoming: &mut dyn Incoming, directory: &Path, to: &Path) -> Result<super::Transferred, Fault> {
    let receiver = Receiver::new(Boundary::new(directory)?, to);
    let first = read_message(incoming, "a parcel").await?;
    receiver.receive(first, incoming).await
}

async fn get(outgoing: &mut dyn Outgoing, directory: &Path, from: &Path) -> Result<(), Fault> {
    let boundary = Boundary::new(directory)?;
    let root = boundary.existing(from)?;
    send(outgoing, &root, from).await.map(|_| ())
}
