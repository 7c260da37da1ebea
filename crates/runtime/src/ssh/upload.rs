//! Putting a file on a machine over one channel: asked for, streamed, verified there, then moved into
//! place in one step, so that nobody ever sees half of it.

use bytes::Bytes;

use super::{Piece, Session, SshError, quote};

/// A file to be put on machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of the file as it will be on the machine, in hexadecimal.
    pub hash: String,
    /// What travels.
    pub bytes: Bytes,
    /// What travels is compressed and is unpacked there.
    pub gzip: bool,
    /// How many bytes the file will have on the machine, if that is known.
    pub size: Option<u64>,
    /// The file is a program.
    pub executable: bool,
}

/// What an upload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Whether bytes travelled; `false`: the file was there.
    pub sent: bool,
}

pub(super) async fn upload(session: &Session, blob: &Blob, to: &str) -> Result<Uploaded, SshError> {
    let mut running = session.open(&command(blob, to)).await?;
    let mut said = Said::default();
    let mut sent = false;
    while let Some(piece) = running.next().await {
        match piece {
            Piece::Stdout(bytes) if !sent => {
                said.stdout.extend_from_slice(&bytes);
                if said.wants() {
                    sent = true;
                    running.feed(blob.bytes.clone());
                }
            }
            Piece::Stdout(_) => {}
            Piece::Stderr(bytes) => said.stderr.extend_from_slice(&bytes),
            Piece::Exit(code) => return said.outcome(session, to, code, sent),
        }
        if said.stdout.len() + said.stderr.len() > MOST {
            return Err(running.endless());
        }
    }
    Err(running.broken())
}

/// What the remote shell has said so far.
#[derive(Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Said {
    fn line(&self, wanted: &str) -> bool {
        // A login shell may print a greeting first.
        self.stdout.split(|it| *it == b'\n').any(|line| line == wanted.as_bytes())
    }

    fn wants(&self) -> bool {
        self.line(SEND)
    }

    fn outcome(
        &self,
        session: &Session,
        to: &str,
        code: Option<i32>,
        sent: bool,
    ) -> Result<Uploaded, SshError> {
        let endpoint = session.endpoint().to_string();
        let to = to.to_owned();
        let stderr = String::from_utf8_lossy(&self.stderr).trim().to_owned();
        match code {
            Some(0) if sent || self.line(HAVE) => Ok(Uploaded { sent }),
            Some(WRITE) => Err(SshError::UploadWrite { to, endpoint, stderr }),
            Some(DAMAGED) => Err(SshError::UploadDamaged { to, endpoint, stderr }),
            code => Err(SshError::UploadShell { to, endpoint, code, stderr }),
        }
    }
}

/// What travels packed has a checksum over what it was, which unpacking compares, and a session lets nothing through that
/// was changed on the way: to hash it there as well would take half as long again as to unpack it. Of what travels as it
/// is the hash is taken while the bytes arrive. What a full disk cut off is found by who writes, and by the size. So is a
/// file that a machine without power forgot. One that is there is as new as its last use, as it is kept no longer than that.
///
/// One line without exclamation marks, so that any login shell hands it on to `sh` as it is.
fn command(blob: &Blob, to: &str) -> String {
    let take = if blob.gzip { UNPACK } else { HASH };
    let mode = if blob.executable { "700" } else { "600" };
    let size = blob.size.map_or_else(|| String::from("-"), |it| it.to_string());
    let script = format!(
        "umask 077; cd || exit {WRITE}; to=$1; hash=$2; mode=$3; size=$4; \
         if test -f \"$to\" && {{ test \"$size\" = - || test \"$(wc -c < \"$to\")\" -eq \"$size\"; }}; then \
         touch -c -- \"$to\" 2> /dev/null; echo {HAVE}; exit 0; fi; \
         mkdir -p -- \"$(dirname -- \"$to\")\" || exit {WRITE}; \
         tmp=\"$to.$$.part\"; trap 'rm -f -- \"$tmp\"' EXIT; trap 'exit {WRITE}' HUP INT TERM; \
         echo {SEND}; \
         got=$hash; bad=; {take}; \
         test -f \"$tmp\" || {{ df -Pk . >&2; exit {WRITE}; }}; \
         test -z \"$bad\" || {{ echo \"it cannot be unpacked\" >&2; exit {DAMAGED}; }}; \
         test \"$got\" = \"$hash\" || \
         {{ echo \"its sha256 is $got and must be $hash\" >&2; exit {DAMAGED}; }}; \
         test \"$size\" = - || test \"$(wc -c < \"$tmp\")\" -eq \"$size\" || \
         {{ echo \"its size must be $size\" >&2; exit {DAMAGED}; }}; \
         chmod \"$mode\" \"$tmp\" && mv -f -- \"$tmp\" \"$to\" || exit {WRITE}"
    );
    let [script, to, hash] = [&script, to, &blob.hash].map(quote);
    format!("exec sh -c {script} sh {to} {hash} {mode} {size}")
}

const HAVE: &str = "skyward-upload-have";
const SEND: &str = "skyward-upload-send";

/// Unpacks what comes into the file. Whether that fails and whether writing does is told apart.
const UNPACK: &str = "bad=$({ { gzip -dc || echo bad >&3; } | cat > \"$tmp\" || rm -f -- \"$tmp\"; } 3>&1)";

/// Puts what comes into the file, and hashes it where there is something to hash with.
const HASH: &str = "sum=; if command -v sha256sum > /dev/null 2>&1; then sum=sha256sum; \
                    elif command -v shasum > /dev/null 2>&1; then sum='shasum -a 256'; fi; \
                    if test -n \"$sum\"; then got=$({ tee -- \"$tmp\" || rm -f -- \"$tmp\"; } | $sum); got=${got%% *}; \
                    else cat > \"$tmp\" || rm -f -- \"$tmp\"; fi";

/// A greeting and a few lines are all that there is to say.
const MOST: usize = 256 * 1024;

/// The script's exit codes, out of the way of the shell's own.
const WRITE: i32 = 71;
const DAMAGED: i32 = 72;
