//! Moto, an account of AWS that is none: one server for all tests of this process, in which each stand-in has an
//! account of its own. It is looked for where `SKYWARD_MOTO` says, the program `moto_server`; `.ci/run` installs it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::xml::Element;
use crate::server::{Reply, Seen};

/// A running server.
pub(crate) struct Moto {
    port: u16,
    /// Ends the server when it is closed, as it is when this process ends, however that is.
    _leash: Mutex<Child>,
}

static MOTO: OnceLock<Option<Moto>> = OnceLock::new();

impl Moto {
    /// The server; `None` where there is none, which is said, and which fails where everything must be there.
    pub(crate) fn get() -> Option<&'static Self> {
        let moto = MOTO.get_or_init(|| {
            let program = std::env::var("SKYWARD_MOTO").ok().filter(|it| !it.is_empty());
            if program.is_none() {
                assert!(
                    std::env::var_os("SKYWARD_REQUIRE_ALL").is_none(),
                    "SKYWARD_MOTO does not say where moto_server is"
                );
                println!("skipped for aws: SKYWARD_MOTO does not say where moto_server is");
            }
            program.map(|it| Self::start(&it))
        });
        moto.as_ref()
    }

    fn start(program: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        // The shell waits for the end of its input, which is the end of this process.
        let script =
            "\"$0\" -H 127.0.0.1 -p \"$1\" </dev/null >/dev/null 2>&1 & moto=$!; read -r _; kill $moto";
        let leash = Command::new("sh")
            .args(["-c", script, program, &port.to_string()])
            .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "true")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { port, _leash: Mutex::new(leash) }
    }

    /// Passes a request on, for one account; its status and its body.
    pub(crate) fn pass(&self, account: &str, seen: &Seen) -> (u16, String) {
        let mut head = format!("POST / HTTP/1.0\r\ncontent-length: {}\r\n", seen.body.len());
        for (name, value) in &seen.headers {
            if !["content-length", "host", "connection", "accept-encoding"].contains(&name.as_str()) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str(&format!("host: 127.0.0.1:{}\r\nx-moto-account-id: {account}\r\n\r\n", self.port));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&[head.as_bytes(), &seen.body].concat()).unwrap();
        let mut told = Vec::new();
        stream.read_to_end(&mut told).unwrap();
        let told = String::from_utf8_lossy(&told).into_owned();
        let (head, body) = told.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(500);
        (status, body.to_owned())
    }

    /// Asks EC2 of one account, as its owner.
    pub(crate) fn ec2(&self, account: &str, region: &str, form: &str) -> Element {
        let (status, body) = self.pass(account, &request(region, "ec2", None, form));
        assert_eq!(status, 200, "{form}: {body}");
        Element::read(&body)
    }

    /// Asks a service that speaks JSON.
    pub(crate) fn json(&self, account: &str, region: &str, target: &str, body: &str) -> (u16, String) {
        self.pass(account, &request(region, "ssm", Some(target), body))
    }
}

/// A request that nobody has signed. Moto believes whoever asks.
fn request(region: &str, service: &str, target: Option<&str>, body: &str) -> Seen {
    let credential = format!("Credential=AKIATEST/20261122/{region}/{service}/aws4_request");
    let authorization = format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0");
    let content_type = match target {
        Some(_) => "application/x-amz-json-1.1",
        None => "application/x-www-form-urlencoded; charset=utf-8",
    };
    let mut headers = vec![("authorization", authorization.as_str()), ("content-type", content_type)];
    headers.extend(target.map(|it| ("x-amz-target", it)));
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Seen {
        method: "POST".into(),
        path: "/".into(),
        query: Default::default(),
        headers: headers.collect(),
        body: body.as_bytes().to_vec(),
    }
}

/// What moto said, as an answer of ours.
pub(crate) fn reply((status, body): (u16, String)) -> Reply {
    Reply::text(status, &body)
}
