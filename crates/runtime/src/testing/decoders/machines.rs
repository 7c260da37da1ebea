//! What machines say on the way to a worker: the lines of the bootstrap script, host keys, and the role that a
//! process is asked to play.

use super::read;
use crate::bootstrap::plan;
use crate::bootstrap::progress::{Reader, Told};
use crate::model::{Capabilities, HostKey, Image, SshEndpoint};
use crate::program::role::Role;
use crate::ssh::handler::Client;

/// The word that begins the script's own lines.
const NONCE: &str = "N";

/// The output of a script of two steps, whose keys are `K1` and `K2` here.
pub(super) fn lines(bytes: &[u8]) {
    let Some((piece, rest)) = bytes.split_first() else { return };
    let can = Capabilities { root: true, ends_itself: true, udp: true, ..Capabilities::NONE };
    let plan = read(plan(&Image::new().shell("one").shell("two"), &can));
    let keys: Vec<_> = plan.steps().iter().map(|it| it.key.as_bytes()).collect();
    let rest = with_keys(rest, &keys);
    let hear = |size: usize| {
        let mut reader = Reader::new(NONCE.to_owned(), &plan);
        let mut told: Vec<_> = rest.chunks(size).flat_map(|it| reader.read(it)).collect();
        told.extend(reader.finish());
        (told, reader.last_lines())
    };
    let (told, last) = hear(usize::from(*piece) + 1);
    assert_eq!((told.clone(), last.clone()), hear(rest.len().max(1)), "where it is cut does not matter");
    let outputs = told.iter().filter_map(|it| match it {
        Told::Output { line, .. } => Some(line),
        Told::Waiting
        | Told::Started { .. }
        | Told::Skipped { .. }
        | Told::Finished { .. }
        | Told::Failed { .. }
        | Told::Ended => None,
    });
    for line in outputs.chain(&last) {
        assert!(!line.contains(|it: char| it.is_control() && it != '\t'), "{line:?} plays with the terminal");
    }
    let ends = |it: &&Told| matches!(it, Told::Failed { .. } | Told::Ended);
    assert!(told.iter().filter(ends).count() <= 1, "it ends twice");
}

/// The text with each `K1` and `K2` replaced.
fn with_keys(mut text: &[u8], keys: &[&[u8]]) -> Vec<u8> {
    let mut made = Vec::new();
    while let Some((first, rest)) = text.split_first() {
        let key = match text {
            [b'K', b'1', ..] => keys.first(),
            [b'K', b'2', ..] => keys.get(1),
            _ => None,
        };
        match key {
            Some(key) => made.extend_from_slice(key),
            None => made.push(*first),
        }
        text = if key.is_some() { rest.get(1..).unwrap_or_default() } else { rest };
    }
    made
}

pub(super) fn line_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "\x05\nN wait\n\nN skip K1\n\nN start K2\nhello\n\nN done K2\n\nN end\n",
        "\x00\nN start K2\n 1%\r 50%\r 99%\r\n\x1b[1mbold\x07\tx\n\nN fail K2 7\n",
        "\u{7f}a banner\nN end\nN start K9\ncut off",
    ];
    texts.map(|it| it.as_bytes().to_vec()).to_vec()
}

/// A line as a cloud tells of a machine's host key.
pub(super) fn host_keys(bytes: &[u8]) {
    let line = String::from_utf8_lossy(bytes).into_owned();
    let endpoint = |line: String| SshEndpoint {
        host: "127.0.0.1".to_owned(),
        port: 22,
        user: "somebody".to_owned(),
        host_key: HostKey::Known(line),
        login: Box::default(),
    };
    let Ok((client, ..)) = Client::new(&endpoint(line.clone())) else { return };
    assert!(client.expected().is_some(), "{line:?} is a key");
    let first = client.algorithms().first().cloned();
    // What is behind the key is a comment and says nothing.
    let words: Vec<_> = line.split(' ').take(2).collect();
    let (again, ..) = read(Client::new(&endpoint(words.join(" "))));
    assert_eq!((again.expected(), again.algorithms().first().cloned()), (client.expected(), first));
}

pub(super) fn host_key_seeds() -> Vec<Vec<u8>> {
    // Keys of nobody, made for this.
    let lines = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti a comment",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=",
        "ssh-ed25519 AAAA",
    ];
    lines.map(|it| it.as_bytes().to_vec()).to_vec()
}

/// A variable of the environment that asks for a role.
pub(super) fn roles(bytes: &[u8]) {
    let asked = String::from_utf8_lossy(bytes);
    let (own, other) = (7, 8);
    let role = Role::parse(&asked, own);
    if role != Role::Client {
        assert_eq!(Role::parse(&asked, other), Role::Client, "a role is for one process");
        assert!(asked.contains(':'));
    }
}

pub(super) fn role_seeds() -> Vec<Vec<u8>> {
    ["worker:7", "task:8", "machine:07", "pipe:", ":7", "worker:7:7"]
        .map(|it| it.as_bytes().to_vec())
        .to_vec()
}
