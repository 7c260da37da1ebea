//! The pool's SSH key as files, for a person who looks at a machine that was kept: written when one is
//! kept, and never otherwise.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::{HostKey, Identity, InstanceId, PoolId, SshEndpoint};
use crate::ssh::{ClientKey, quote};

/// The key of one kept machine, and who its server must be: two files that are removed when this is
/// dropped. A program that ends before the machine does leaves them; the next one that keeps a machine
/// removes what is out of date, and no machine lets such a key in any more.
#[derive(Debug)]
pub(super) struct KeyFile {
    folder: PathBuf,
    key: PathBuf,
    hosts: PathBuf,
}

impl KeyFile {
    /// Writes the files, which only this user can read.
    pub(super) fn write(
        pool: &PoolId,
        instance: &InstanceId,
        until: SystemTime,
        key: &ClientKey,
        endpoint: &SshEndpoint,
    ) -> io::Result<Self> {
        let home = std::env::home_dir().ok_or_else(|| io::Error::other("there is no home directory"))?;
        Self::write_in(&home.join(FOLDER), pool, instance, until, key, endpoint)
    }

    fn write_in(
        folder: &Path,
        pool: &PoolId,
        instance: &InstanceId,
        until: SystemTime,
        key: &ClientKey,
        endpoint: &SshEndpoint,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        sweep(folder, SystemTime::now());
        // An id is a cloud's own text: it must not lead out of the folder.
        let plain: String =
            instance.as_str().chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).collect();
        let name = format!("{pool}-{plain}.{}", seconds(until));
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let written = Self { folder: folder.to_owned(), key: file(KEY), hosts: file(HOSTS) };
        let private = key.private().map_err(io::Error::other)?;
        create(&written.key)?.write_all(private.reveal().as_bytes())?;
        let mut hosts = create(&written.hosts)?;
        let lines = match &endpoint.host_key {
            HostKey::Known(line) => std::slice::from_ref(line),
            HostKey::OneOf(lines) => lines,
            HostKey::PinOnFirstUse => &[],
        };
        for line in lines {
            writeln!(hosts, "[{}]:{} {line}", endpoint.host, endpoint.port)?;
        }
        Ok(written)
    }

    /// The command with which a person gets there.
    pub(super) fn command(&self, endpoint: &SshEndpoint) -> String {
        let quoted = |it: &Path| quote(&it.display().to_string());
        // A server that nobody could vouch for is taken at its word once, as the client itself did.
        let trust = match endpoint.host_key {
            HostKey::Known(_) | HostKey::OneOf(_) => "yes",
            HostKey::PinOnFirstUse => "accept-new",
        };
        let to = format!("-p {} {}", endpoint.port, quote(&format!("{}@{}", endpoint.user, endpoint.host)));
        match endpoint.login.identity {
            Identity::Pool => format!(
                "ssh -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={} -o StrictHostKeyChecking={trust} {to}",
                quoted(&self.key),
                quoted(&self.hosts),
            ),
            // The user knows the way, and the server knows the user.
            Identity::Own { .. } => {
                let through: Vec<_> = endpoint.login.through.iter().map(ToString::to_string).collect();
                let jump = if through.is_empty() {
                    String::new()
                } else {
                    format!("-J {} ", quote(&through.join(",")))
                };
                format!("ssh {jump}{to}")
            }
        }
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        for file in [&self.key, &self.hosts] {
            // Somebody else may have removed it, which is what is wanted.
            let _ = fs::remove_file(file);
        }
        // Fails as long as there are others.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// A new file that nobody else can read.
fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
}

/// Removes the files of machines whose time is over.
fn sweep(folder: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|it| it.path()) {
        if expiry(&path).is_some_and(|it| it < seconds(now)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Until when a file of ours counts.
fn expiry(path: &Path) -> Option<u64> {
    let ours = path.extension().is_some_and(|it| it == KEY || it == HOSTS);
    ours.then(|| path.file_stem()?.to_str()?.rsplit_once('.')?.1.parse().ok()).flatten()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

/// Where the files are, below the user's home.
const FOLDER: &str = ".skyward/kept";
const KEY: &str = "key";
const HOSTS: &str = "hosts";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn endpoint(host_key: HostKey) -> SshEndpoint {
        SshEndpoint {
            host: "127.0.0.1".into(),
            port: 2222,
            user: "me".into(),
            host_key,
            login: Box::default(),
        }
    }

    #[test]
    fn only_its_owner_can_read_a_key_and_it_is_gone_with_its_machine() {
        let home = tempfile::tempdir().expect("made");
        let folder = home.path().join("it's ours");
        let (pool, key) = (PoolId::new("p"), ClientKey::generate().expect("made"));
        let until = SystemTime::now() + Duration::from_secs(60);
        let host = ClientKey::generate().expect("made").public().to_owned();
        let known = endpoint(HostKey::Known(host.clone()));
        let write = |id: &str, until| {
            KeyFile::write_in(&folder, &pool, &InstanceId::new(id), until, &key, &known).expect("written")
        };
        let old = write("old", SystemTime::now() - Duration::from_secs(60));
        std::mem::forget(old);
        let file = write("../i-1", until);
        let names = fs::read_dir(&folder).expect("read").flatten();
        assert!(names.into_iter().all(|it| !it.file_name().to_string_lossy().contains("old")), "swept");
        for path in [&file.key, &file.hosts] {
            assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
            assert_eq!(path.parent(), Some(folder.as_path()));
        }
        assert!(
            fs::read_to_string(&file.key).expect("read").starts_with("-----BEGIN OPENSSH PRIVATE KEY-----")
        );
        assert_eq!(fs::read_to_string(&file.hosts).expect("read"), format!("[127.0.0.1]:2222 {host}\n"));
        let command = file.command(&known);
        assert!(command.starts_with("ssh -i ") && command.ends_with("-p 2222 'me@127.0.0.1'"), "{command}");
        assert!(
            command.contains("StrictHostKeyChecking=yes") && command.contains(r"it'\''s ours"),
            "{command}"
        );
        assert!(file.command(&endpoint(HostKey::PinOnFirstUse)).contains("accept-new"));
        drop(file);
        assert!(!folder.exists());
    }
}
