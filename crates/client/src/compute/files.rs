//! Files to and from nodes.

use std::path::{Path, PathBuf};

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use skyward_runtime::files::{self, Artifact, FileError, Transferred};
use skyward_runtime::link::{InUse, Link};
use skyward_runtime::model::Rank;
use tokio_util::task::AbortOnDropHandle;

use super::{Compute, Node};
use crate::engine::Engine;

/// How many nodes are served at once. Each takes a file, a chunk of memory and its stream's window; with
/// these a link of 10 Gbit/s is full.
const AT_ONCE: usize = 16;

impl Compute {
    /// Sends a file or a folder of this computer to every node that there is, to be there under the path
    /// `remote`, which is relative to the worker's directory: functions start in it, so they find it
    /// under the same path. Nodes that join later do not have it; what every node needs belongs into
    /// [`Image::include`](crate::Image::include).
    ///
    /// `remote` is the name that it will have, not the folder that it will be in. Folders on the way
    /// are made. A folder is merged into what is there; a file replaces what is there at once, when it
    /// has arrived whole and its SHA-256 is right. Executable files stay so; owners, times and other
    /// permissions are not kept. Symbolic links are kept when they stay in the folder that is sent.
    ///
    /// Memory does not grow with the size. Nothing happens until the future is polled; dropping it stops
    /// the transfer, and leaves files that are whole and no others.
    ///
    /// # Errors
    /// The first trouble, which stops the rest: with what is here, with what is on a node (`remote`
    /// leads out of the worker's directory, the disk is full), or with a link.
    ///
    /// ```no_run
    /// # async fn example(compute: &skyward::Compute) -> skyward::Result<()> {
    /// compute.upload("weights/small.bin", "weights.bin").await?;
    /// compute.node(2).upload("corpus/part-2", "corpus").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upload(
        &self,
        local: impl AsRef<Path>,
        remote: impl AsRef<Path>,
    ) -> Result<Transferred, FileError> {
        let (local, remote) = (local.as_ref().to_owned(), remote.as_ref().to_owned());
        self.each(remote, move |rank, link, remote| {
            let local = local.clone();
            async move { files::upload(&link, rank, &local, &remote).await }
        })
        .await
    }

    /// Fetches a file or a folder from every node that there is. That of the node of rank 2 will be
    /// `local/2/NAME`, where NAME is the last part of `remote`. [`Node::download`](crate::Node::download)
    /// fetches from one node, under the very path that it is given.
    ///
    /// What is said at [`upload`](Self::upload) of paths, folders, permissions and cancellation holds
    /// here too. A node can write below that path and nowhere else.
    ///
    /// # Errors
    /// The first trouble, which stops the rest; that of a node which does not have the file, for one.
    ///
    /// ```no_run
    /// # async fn example(compute: &skyward::Compute) -> skyward::Result<()> {
    /// compute.download("logs/train.txt", "logs").await?; // logs/0/train.txt, logs/1/train.txt, …
    /// compute.head().download("out/model.bin", "model.bin").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn download(
        &self,
        remote: impl AsRef<Path>,
        local: impl AsRef<Path>,
    ) -> Result<Transferred, FileError> {
        let (local, remote) = (local.as_ref().to_owned(), remote.as_ref().to_owned());
        self.each(remote, move |rank, link, remote| {
            let mut local = local.join(rank.to_string());
            local.extend(remote.file_name());
            async move { files::download(&link, rank, &remote, &local).await }
        })
        .await
    }

    /// Fetches the file that a function has returned as an [`Artifact`], to be here under this path.
    ///
    /// # Errors
    /// As [`Node::download`](crate::Node::download); and when the artifact's node is not in the pool any
    /// more (a pool that scales gives back a node that has had no call and no transfer for a while), or the file is not the one that the artifact was made of.
    ///
    /// ```no_run
    /// use skyward::prelude::*;
    /// use skyward::Artifact;
    ///
    /// #[skyward::function]
    /// fn train(epochs: u32) -> Result<Artifact, Failure> {
    ///     std::fs::write("model.bin", vec![0; 1 << 20])?;
    ///     Ok(Artifact::file("model.bin")?)
    /// }
    ///
    /// # async fn example(compute: &Compute) -> skyward::Result<()> {
    /// let model = (train(10) >> compute).await?;
    /// compute.fetch(&model, "models/final.bin").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch(
        &self,
        artifact: &Artifact,
        local: impl AsRef<Path>,
    ) -> Result<Transferred, FileError> {
        let (pool, artifact, local) = (self.pool.clone(), artifact.clone(), local.as_ref().to_owned());
        on(self.engine, async move {
            let found = pool.link_of(artifact.node()).await;
            let Some((rank, link, _in_use)) = found else { return Err(FileError::gone(&artifact)) };
            files::fetch(&link, rank, &artifact, &local).await
        })
        .await
    }

    /// Does something with every node's link, some at once, and adds up what came of it.
    async fn each<F>(
        &self,
        remote: PathBuf,
        transfer: impl Fn(Rank, Link, PathBuf) -> F + Send + 'static,
    ) -> Result<Transferred, FileError>
    where
        F: Future<Output = Result<Transferred, FileError>> + Send + 'static,
    {
        let pool = self.pool.clone();
        on(self.engine, async move {
            let links = pool.links().await;
            if links.is_empty() {
                return Err(FileError::no_such_node(Rank(0), remote));
            }
            let begin = |(rank, link, in_use)| {
                let transfer = transfer(rank, link, remote.clone());
                async move {
                    let _in_use: InUse = in_use;
                    transfer.await
                }
            };
            let transfers: Vec<_> = links.into_iter().map(begin).collect();
            let add = async |sum: Transferred, it| Ok(sum + it);
            iter(transfers).buffer_unordered(AT_ONCE).try_fold(Transferred::default(), add).await
        })
        .await
    }
}

impl Node {
    /// Sends a file or a folder of this computer to this node; what [`Compute::upload`] says holds.
    ///
    /// # Errors
    /// As there; and when the pool has no node of this rank now.
    pub async fn upload(
        &self,
        local: impl AsRef<Path>,
        remote: impl AsRef<Path>,
    ) -> Result<Transferred, FileError> {
        let (local, remote) = (local.as_ref().to_owned(), remote.as_ref().to_owned());
        let node = self.clone();
        on(self.engine, async move {
            let (link, _in_use) = node.link(&remote).await?;
            files::upload(&link, node.rank, &local, &remote).await
        })
        .await
    }

    /// Fetches a file or a folder from this node, to be here under the path `local`; what
    /// [`Compute::download`] says holds but for the path.
    ///
    /// # Errors
    /// As there; and when the pool has no node of this rank now.
    pub async fn download(
        &self,
        remote: impl AsRef<Path>,
        local: impl AsRef<Path>,
    ) -> Result<Transferred, FileError> {
        let (local, remote) = (local.as_ref().to_owned(), remote.as_ref().to_owned());
        let node = self.clone();
        on(self.engine, async move {
            let (link, _in_use) = node.link(&remote).await?;
            files::download(&link, node.rank, &remote, &local).await
        })
        .await
    }

    async fn link(&self, remote: &Path) -> Result<(Link, InUse), FileError> {
        let links = self.pool.links().await;
        let found = links.into_iter().find(|(rank, ..)| *rank == self.rank);
        found
            .map(|(_, link, in_use)| (link, in_use))
            .ok_or_else(|| FileError::no_such_node(self.rank, remote))
    }
}

/// Runs a transfer on the engine, wherever its future is polled. Dropping that stops it.
async fn on<T: Send + 'static>(
    engine: &'static Engine,
    transfer: impl Future<Output = T> + Send + 'static,
) -> T {
    let running = AbortOnDropHandle::new(engine.handle().spawn(transfer));
    match running.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody else can stop it; the process is ending.
            Err(_) => std::future::pending().await,
        },
    }
}
