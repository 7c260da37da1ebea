//! The files of an image from machine to machine, before there is a worker: the program goes there first, and gets them.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::steps::{Steps, listen_at};
use crate::bootstrap;
use crate::model::{EventKind, Incarnation};
use crate::payload::{CommonKey, Payload};
use crate::program::{FetchStart, FetchUp, decode_answer, encode_order};
use crate::spread::{CHUNK, Door};
use crate::ssh::{Blob, Session};

/// How long a machine that has the files is asked by nobody before it stops to give them on.
const LINGER: Duration = Duration::from_secs(3);

impl Steps {
    /// Has the machine have the included files, by way of others where that is better than from the client alone.
    ///
    /// # Errors
    /// Why it did not get them that way, in words: they can be uploaded as well.
    pub(super) async fn fetch_files(
        &self,
        session: &Session,
        address: (IpAddr, IpAddr),
    ) -> Result<(), String> {
        let kit = &self.kit;
        let (Some(_), Some(archive), Some(path)) = (&kit.files, kit.includes.archive(), kit.includes.path())
        else {
            return Ok(());
        };
        // Behind another machine there is no way to this one.
        let is_nowhere = address.1.is_unspecified();
        if archive.bytes.len() as u64 <= CHUNK || !archive.gzip || is_nowhere {
            return Ok(());
        }
        let deadline = kit.timing.upload;
        let fetched = tokio::time::timeout(deadline, self.fetch(session, archive, path, address)).await;
        fetched.unwrap_or_else(|_| Err(format!("it took longer than {deadline:?}")))
    }

    async fn fetch(
        &self,
        session: &Session,
        archive: &Blob,
        path: String,
        (outside, inside): (IpAddr, IpAddr),
    ) -> Result<(), String> {
        let kit = &self.kit;
        let files = kit.files.clone().ok_or("machines do not reach each other")?;
        let program = kit.program.get().await?;
        let deployed = bootstrap::deploy(session, &program, kit.timing.upload).await;
        let deployed = deployed.map_err(|it| it.to_string())?;
        if deployed.sent {
            kit.events.emit(EventKind::Deployed { rank: self.rank, bytes: deployed.bytes, sent: true });
        }
        let fetchers = Incarnation::new(format!("{}-files", kit.request.pool));
        let start = FetchStart {
            pool: kit.request.pool.clone(),
            epoch: kit.epoch,
            identity: kit.authority.issue(fetchers.as_str()).map_err(|it| it.to_string())?,
            name: fetchers.clone(),
            listen: listen_at(outside),
            path,
            hash: archive.hash.clone(),
            detect: kit.timing.detect,
        };
        let command =
            bootstrap::fetch_command(&deployed.path).ok_or("the program cannot be started there")?;
        let mut stream = session.pipe(&command).await.map_err(|it| it.to_string())?;
        let port = match begin(&mut stream, &start).await? {
            FetchUp::Here => return Ok(()),
            FetchUp::Failed(reason) => return Err(reason),
            FetchUp::Listening { port } => port,
        };
        let (rank, name, key) = (self.rank, self.incarnation.clone(), key(archive)?);
        files.here(rank, name.clone(), Door { name: fetchers, address: inside, port });
        let (mut from_node, mut to_node) = tokio::io::split(stream);
        let payload = Payload::from(archive.bytes.clone());
        let given = files.give_file(&name, key, &payload, (&mut from_node, &mut to_node)).await;
        if let Err(error) = given {
            files.left(&name);
            return Err(error.to_string());
        }
        let (session, rounds) = (session.clone(), kit.timing.upload.div_duration_f64(LINGER) as u32);
        tokio::spawn(async move {
            for _ in 0..rounds {
                let over = tokio::time::timeout(LINGER, session.closed()).await.is_ok();
                if over || !files.is_asked(key, &name) {
                    break;
                }
            }
            files.left(&name);
            // What gives them on ends with its standard input.
            drop((from_node, to_node));
        });
        Ok(())
    }
}

/// Tells what gets the files what to get, and hears whether it can.
async fn begin(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    start: &FetchStart,
) -> Result<FetchUp, String> {
    let order = encode_order(start).map_err(|it| it.to_string())?;
    stream.write_all(&order).await.map_err(|it| it.to_string())?;
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await.map_err(|it| it.to_string())? == 0 {
            return Err("the program ended before it answered".to_owned());
        }
        // It says nothing after its answer before we speak.
        if let Some(up) = decode_answer(&received).map_err(|it| it.to_string())? {
            return Ok(up);
        }
    }
}

/// What the files are called among machines: by what is in them.
fn key(archive: &Blob) -> Result<CommonKey, String> {
    let mut key: CommonKey = [0; 40];
    let (hash, _) = key.split_at_mut(32);
    hex::decode_to_slice(&archive.hash, hash).map_err(|it| it.to_string())?;
    Ok(key)
}
