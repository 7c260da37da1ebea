//! The functions that the tests call, registered by hand as the macro would.

use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use skyward_runtime::model::FunctionId;
use skyward_runtime::registry::{
    Answer, Body, BoxSource, Ending, Function, Input, Inputs, Put, Registry, Source, Trouble,
};

macro_rules! register {
    ($($body:ident $name:ident),+ $(,)?) => {
        $(inventory::submit! {
            Function {
                name: stringify!($name),
                place: concat!(file!(), ":", stringify!($name)),
                signature: "fn(Bytes)",
                body: Body::$body($name),
            }
        })+
    };
}

register!(
    Async echo,
    Async fail,
    Async panic_async,
    Async undecodable,
    Async unencodable,
    Async leave_a_note,
    Async start_a_child,
    Async count_nodes,
    Blocking double,
    Blocking panic_blocking,
    Blocking block_until_noted,
    Blocking block_until_cancelled,
    Blocking end_as_told,
    Blocking tell_of_place,
    Blocking leave_a_child,
    Async start_a_stubborn_child,
);

macro_rules! register_streams {
    ($($name:ident takes $inputs:literal),+) => {
        $(inventory::submit! {
            Function {
                name: stringify!($name),
                place: concat!(file!(), ":", stringify!($name)),
                signature: "fn(Bytes, Inputs)",
                body: Body::Stream { inputs: $inputs, start: $name },
            }
        })+
    };
}

register_streams!(numbers takes 0, swallow takes 1);

/// The id of a function.
pub(crate) fn id(name: &str) -> FunctionId {
    let registry = Registry::global().expect("distinct");
    (0..).map(FunctionId).find(|it| registry.get(*it).expect("registered").name == name).expect("infinite")
}

type Running = Result<BoxFuture<'static, Answer>, String>;

fn echo(arguments: Bytes) -> Running {
    Ok(Box::pin(async move { Answer::Returned(arguments.into()) }))
}

fn fail(arguments: Bytes) -> Running {
    Ok(Box::pin(async move { Answer::Failed(arguments) }))
}

fn panic_async(_: Bytes) -> Running {
    Ok(Box::pin(async move {
        tokio::task::yield_now().await;
        panic!("async {}", "boom")
    }))
}

fn undecodable(_: Bytes) -> Running {
    Err("not what I take".to_owned())
}

fn unencodable(_: Bytes) -> Running {
    Ok(Box::pin(async { Answer::Unencodable("cannot be written".to_owned()) }))
}

/// Writes `running` to the file that it is given, waits for ever, and writes `dropped` when dropped.
fn leave_a_note(arguments: Bytes) -> Running {
    struct Note(PathBuf);
    impl Drop for Note {
        fn drop(&mut self) {
            std::fs::write(&self.0, "dropped").expect("written");
        }
    }
    let path = path(&arguments);
    Ok(Box::pin(async move {
        std::fs::write(&path, "running").expect("written");
        let _note = Note(path);
        std::future::pending().await
    }))
}

/// Starts a process that outlives the task, and returns its id.
fn start_a_child(_: Bytes) -> Running {
    Ok(Box::pin(async {
        let child = tokio::process::Command::new("sleep").arg("600").spawn().expect("started");
        Answer::Returned(child.id().expect("running").to_string().into())
    }))
}

fn count_nodes(_: Bytes) -> Running {
    let nodes = skyward_runtime::inside::instance_info().map_or(0, |it| it.nodes);
    Ok(Box::pin(async move { Answer::Returned(nodes.to_string().into()) }))
}

fn double(arguments: Bytes) -> Result<Answer, String> {
    Ok(Answer::Returned([arguments.clone(), arguments].concat().into()))
}

fn panic_blocking(_: Bytes) -> Result<Answer, String> {
    panic!("blocking boom")
}

/// Writes `running` to the file that it is given and blocks until somebody writes `go` there.
fn block_until_noted(arguments: Bytes) -> Result<Answer, String> {
    let path = path(&arguments);
    std::fs::write(&path, "running").map_err(|it| it.to_string())?;
    while std::fs::read_to_string(&path).map_err(|it| it.to_string())? != "go" {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Answer::Returned("".into()))
}

/// Writes `running` to the file that it is given, blocks until nobody wants its outcome, and writes
/// `cancelled`.
fn block_until_cancelled(arguments: Bytes) -> Result<Answer, String> {
    let path = path(&arguments);
    std::fs::write(&path, "running").map_err(|it| it.to_string())?;
    while !skyward_runtime::inside::cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::write(&path, "cancelled").map_err(|it| it.to_string())?;
    Ok(Answer::Returned("".into()))
}

type Starting = Result<BoxFuture<'static, BoxSource>, String>;

/// Gives as many numbers as it is told, as text.
fn numbers(arguments: Bytes, _: Inputs) -> Starting {
    struct Numbers(std::ops::Range<u32>);
    impl Source for Numbers {
        fn poll_put(&mut self, _: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<Put> {
            Poll::Ready(self.0.next().map_or(Put::End(Ending::Complete), |it| {
                buffer.extend_from_slice(it.to_string().as_bytes());
                Put::Item
            }))
        }
    }
    let count = std::str::from_utf8(&arguments).ok().and_then(|it| it.parse().ok()).ok_or("not a number")?;
    Ok(Box::pin(async move { Box::new(Numbers(0..count)) as BoxSource }))
}

/// Takes a stream to its end and gives how many items it had.
fn swallow(_: Bytes, mut inputs: Inputs) -> Starting {
    struct Swallow {
        input: Input,
        trouble: Trouble,
        count: Option<u32>,
    }
    impl Source for Swallow {
        fn poll_put(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<Put> {
            let Some(count) = &mut self.count else { return Poll::Ready(Put::End(Ending::Complete)) };
            loop {
                match std::task::ready!(self.input.as_mut().poll_next(context)) {
                    Some(Ok(_)) => *count += 1,
                    Some(Err(fault)) => {
                        self.trouble.tell(fault);
                        return Poll::Pending;
                    }
                    None => break,
                }
            }
            buffer.extend_from_slice(count.to_string().as_bytes());
            self.count = None;
            Poll::Ready(Put::Item)
        }
    }
    let (input, trouble) = inputs.take()?;
    Ok(Box::pin(async move { Box::new(Swallow { input, trouble, count: Some(0) }) as BoxSource }))
}

fn path(arguments: &Bytes) -> PathBuf {
    PathBuf::from(String::from_utf8(arguments.to_vec()).expect("a path"))
}

/// Says two lines and ends its process in the way that it is told: `abort`, `exit 3`, `signal 11`.
fn end_as_told(arguments: Bytes) -> Result<Answer, String> {
    let told = String::from_utf8(arguments.to_vec()).map_err(|it| it.to_string())?;
    println!("about to {told}");
    eprintln!("out of luck");
    let number = told.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or_default();
    match told.split(' ').next() {
        Some("exit") => std::process::exit(number),
        Some("signal") => {
            let own = rustix::process::getpid();
            let signal = rustix::process::Signal::from_named_raw(number).expect("a signal");
            // Rust looks at the first SIGSEGV itself, in case it is a stack that has no room left.
            loop {
                rustix::process::kill_process(own, signal).expect("sent");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        _ => std::process::abort(),
    }
}

/// What a process knows of its place: `pid slot devices CUDA_VISIBLE_DEVICES nodes`. Waits until the file
/// that it is given is there, so that a test can hold several at once.
fn tell_of_place(arguments: Bytes) -> Result<Answer, String> {
    if !arguments.is_empty() {
        while !path(&arguments).exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let info = skyward_runtime::inside::instance_info().ok_or("not on a node")?;
    let cuda = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let pid = std::process::id();
    let told = format!("{pid} {:?} {:?} {cuda} {}", info.slot, info.devices, info.nodes);
    Ok(Answer::Returned(told.into()))
}

/// Starts a process and leaves it to itself. Writes its own id and that one's to the file that it is given.
fn leave_a_child(arguments: Bytes) -> Result<Answer, String> {
    let mut sleeps = std::process::Command::new("sleep");
    let child = sleeps.arg("1000").spawn().map_err(|it| it.to_string())?;
    let ids = format!("{} {}", std::process::id(), child.id());
    std::fs::write(path(&arguments), ids).map_err(|it| it.to_string())?;
    Ok(Answer::Returned("left".into()))
}

/// Starts a process that heeds no SIGTERM, writes its own id and that one's to the file that it is given,
/// and waits for ever.
fn start_a_stubborn_child(arguments: Bytes) -> Running {
    let path = path(&arguments);
    Ok(Box::pin(async move {
        let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("started");
        let mut ready = [0; 6];
        let stdout = child.stdout.as_mut().expect("piped");
        tokio::io::AsyncReadExt::read_exact(stdout, &mut ready).await.expect("ready");
        let ids = format!("{} {}", std::process::id(), child.id().expect("running"));
        std::fs::write(&path, ids).expect("written");
        std::future::pending().await
    }))
}
