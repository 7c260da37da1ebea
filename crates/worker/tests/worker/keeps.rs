//! What a worker keeps for the next link, and for the next owner.

use skyward_runtime::link::{CallRequest, Hello, Link, Outcome};
use skyward_runtime::model::{Attempt, Epoch, Key, Retention, TaskId};
use skyward_runtime::retention::Left;
use tokio::sync::mpsc;

use crate::node::{Node, SOON, as_arguments, call, request, says, until};
use crate::tests;

tests!(
    a_call_runs_on_without_a_link_and_is_asked_for_over_the_next,
    an_outcome_that_was_not_acknowledged_is_there_again_and_gone_when_it_was,
    a_large_outcome_is_kept_until_the_client_has_all_of_it,
    a_call_on_a_stream_of_its_own_is_asked_for_like_any_other,
    a_key_leads_the_next_owner_to_the_running_call_and_to_the_kept_outcome,
    the_next_owner_hears_when_what_was_left_has_ended_over_each_of_its_links,
    a_key_of_another_call_is_refused,
    outcomes_that_memory_does_not_hold_are_read_from_the_disk_and_leave_no_file,
);

/// A link of the owner of this number.
async fn owned(node: &Node, epoch: u64) -> Link {
    node.dial(Hello { epoch: Epoch(epoch), ..node.hello.clone() }).await.expect("welcome")
}

/// What its worker says that it has under keys.
fn told(link: &Link) -> mpsc::UnboundedReceiver<Vec<(Key, Left)>> {
    let (tell, told) = mpsc::unbounded_channel();
    link.reconcile(&[], move |keys| drop(tell.send(keys)));
    told
}

/// What it says next, which is of one key at most.
async fn next(told: &mut mpsc::UnboundedReceiver<Vec<(Key, Left)>>) -> Option<(String, Left)> {
    let said = tokio::time::timeout(SOON, told.recv()).await.expect("in time").expect("linked");
    assert!(said.len() < 2, "{said:?}");
    said.into_iter().next().map(|(key, left)| (key.as_str().to_owned(), left))
}

fn keyed(key: &str, request: CallRequest) -> CallRequest {
    CallRequest { key: Some(Key::new(key).expect("fits")), ..request }
}

async fn a_call_runs_on_without_a_link_and_is_asked_for_over_the_next() {
    let node = Node::start().await;
    let (link, note) = (node.link().await, node.file("note"));
    let asked = request("block_until_noted", as_arguments(&note));
    let call = tokio::spawn(link.call(asked.clone()));
    until("it runs", || says(&note) == "running").await;
    link.close("broken");
    call.await.expect("joined").expect_err("the link is over");
    for _ in 0..2 {
        let link = node.link().await;
        link.reconcile(&[(asked.task, asked.attempt)], |_| {});
        let resumed = tokio::spawn(link.resume(asked.clone()));
        link.close("broken again");
        resumed.await.expect("joined").expect_err("the link is over");
    }
    let link = node.link().await;
    let resumed = tokio::spawn(link.resume(asked));
    std::fs::write(&note, "go").expect("written");
    assert_eq!(resumed.await.expect("joined"), Ok(Outcome::Returned("".into())));
    let never = request("echo", "x");
    assert_eq!(link.resume(never.clone()).await, Ok(Outcome::Unknown));
    assert_eq!(link.call(never).await, Ok(Outcome::Returned("x".into())));
}

async fn an_outcome_that_was_not_acknowledged_is_there_again_and_gone_when_it_was() {
    let node = Node::start().await;
    let link = node.link().await;
    let (first, second) = (request("echo", "first"), request("echo", "second"));
    assert_eq!(link.call(first.clone()).await, Ok(Outcome::Returned("first".into())));
    // Says that one outcome has come.
    link.sweep();
    assert_eq!(link.call(second.clone()).await, Ok(Outcome::Returned("second".into())));
    link.close("broken");
    let link = node.link().await;
    assert_eq!(link.resume(first).await, Ok(Outcome::Unknown));
    assert_eq!(link.resume(second.clone()).await, Ok(Outcome::Returned("second".into())));
    link.sweep();
    let is_gone = async {
        while link.resume(second.clone()).await != Ok(Outcome::Unknown) {
            link.sweep();
        }
    };
    tokio::time::timeout(SOON, is_gone).await.expect("acknowledged");
}

async fn a_large_outcome_is_kept_until_the_client_has_all_of_it() {
    let node = Node::start().await;
    let link = node.link().await;
    let asked = request("double", vec![7; 60_000]);
    let mut call = Box::pin(link.call(asked.clone()));
    // It is sent, and nobody fetches what comes of it.
    assert!(futures_util::poll!(&mut call).is_pending());
    assert_eq!(crate::node::call(&link, "echo", "on").await, Outcome::Returned("on".into()));
    link.close("broken");
    let link = node.link().await;
    assert_eq!(link.resume(asked.clone()).await, Ok(Outcome::Returned(vec![7; 120_000].into())));
    let is_gone = async { while link.resume(asked.clone()).await != Ok(Outcome::Unknown) {} };
    tokio::time::timeout(SOON, is_gone).await.expect("released");
}

async fn a_call_on_a_stream_of_its_own_is_asked_for_like_any_other() {
    let node = Node::start().await;
    let link = node.link().await;
    let asked = request("echo", vec![3; 1 << 20]);
    let call = tokio::spawn(link.call(asked.clone()));
    // Wherever it is when the link breaks, it runs once or can be sent again.
    link.close("broken");
    let _ = call.await.expect("joined");
    let link = node.link().await;
    let outcome = link.resume(asked.clone()).await;
    let expected = Ok(Outcome::Returned(vec![3; 1 << 20].into()));
    assert!(outcome == expected || outcome == Ok(Outcome::Unknown), "neither kept nor unknown");
}

async fn a_key_leads_the_next_owner_to_the_running_call_and_to_the_kept_outcome() {
    let node = Node::start().await;
    let (link, note) = (owned(&node, 11).await, node.file("note"));
    let mine = |task| CallRequest {
        task: TaskId(task),
        attempt: Attempt(0),
        ..keyed("mine", request("block_until_noted", as_arguments(&note)))
    };
    let plain = request("leave_a_note", as_arguments(&node.file("plain")));
    let lost = [tokio::spawn(link.call(mine(1))), tokio::spawn(link.call(plain))];
    until("they run", || says(&note) == "running" && says(&node.file("plain")) == "running").await;
    link.close("its owner is gone");
    for call in lost {
        call.await.expect("joined").expect_err("the link is over");
    }
    let link = owned(&node, 12).await;
    until("what has no key is nobody's", || says(&node.file("plain")) == "dropped").await;
    let mut keys = told(&link);
    // Its numbers begin anew: the same one is another call.
    assert_eq!(
        link.call(CallRequest { task: TaskId(1), ..request("echo", "on") }).await,
        Ok(Outcome::Returned("on".into()))
    );
    let said = |left| Some(("mine".to_owned(), left));
    assert_eq!([next(&mut keys).await, next(&mut keys).await], [said(Left::Running), None]);
    let joined = tokio::spawn(link.call(mine(2)));
    assert_eq!(next(&mut keys).await, said(Left::Nothing));
    std::fs::write(&note, "go").expect("written");
    assert_eq!(joined.await.expect("joined"), Ok(Outcome::Returned("".into())));
    // Nobody has said that it was taken, and the next owner finds it.
    drop(link);
    let link = owned(&node, 13).await;
    let mut keys = told(&link);
    assert_eq!([next(&mut keys).await, next(&mut keys).await], [said(Left::Kept), None]);
    assert_eq!(link.call(mine(7)).await, Ok(Outcome::Returned("".into())));
    link.release(TaskId(7), Attempt(0));
    let again = tokio::spawn(link.call(mine(8)));
    std::fs::write(&note, "").expect("written");
    until("it runs again", || says(&note) == "running").await;
    std::fs::write(&note, "go").expect("written");
    assert_eq!(again.await.expect("joined"), Ok(Outcome::Returned("".into())));
}

async fn the_next_owner_hears_when_what_was_left_has_ended_over_each_of_its_links() {
    let node = Node::start().await;
    let (link, note) = (owned(&node, 21).await, node.file("note"));
    let left = tokio::spawn(link.call(keyed("left", request("block_until_noted", as_arguments(&note)))));
    until("it runs", || says(&note) == "running").await;
    link.close("its owner is gone");
    left.await.expect("joined").expect_err("the link is over");
    let said = |left| Some(("left".to_owned(), left));
    for _ in 0..2 {
        let link = owned(&node, 22).await;
        let mut keys = told(&link);
        assert_eq!([next(&mut keys).await, next(&mut keys).await], [said(Left::Running), None]);
        link.close("another one follows");
    }
    let link = owned(&node, 22).await;
    let mut keys = told(&link);
    assert_eq!([next(&mut keys).await, next(&mut keys).await], [said(Left::Running), None]);
    std::fs::write(&note, "go").expect("written");
    assert_eq!(next(&mut keys).await, said(Left::Kept));
}

async fn a_key_of_another_call_is_refused() {
    let node = Node::start().await;
    let link = node.link().await;
    let first = keyed("k", request("echo", "one"));
    assert_eq!(link.call(first.clone()).await, Ok(Outcome::Returned("one".into())));
    assert_eq!(link.call(keyed("k", request("echo", "two"))).await, Ok(Outcome::Differs));
    assert_eq!(link.call(keyed("k", request("double", "one"))).await, Ok(Outcome::Differs));
    assert_eq!(link.call(keyed("k", request("echo", vec![1; 1 << 20]))).await, Ok(Outcome::Differs));
    assert_eq!(link.call(keyed("k", request("echo", "one"))).await, Ok(Outcome::Returned("one".into())));
    link.release(first.task, first.attempt);
    assert_eq!(link.call(keyed("k", request("echo", "two"))).await, Ok(Outcome::Returned("two".into())));
}

async fn outcomes_that_memory_does_not_hold_are_read_from_the_disk_and_leave_no_file() {
    let node =
        Node::start_with(|it| it.retention = Retention { memory: 1 << 20, ..Retention::default() }).await;
    let link = node.link().await;
    let data = |number: u8| vec![number; 3 << 20];
    for number in 0..4 {
        let asked = keyed(&format!("k{number}"), request("echo", data(number)));
        // Nothing new is taken until the one before is on the disk.
        let taken = async {
            loop {
                match link.call(asked.clone()).await {
                    Ok(Outcome::Full) => {}
                    outcome => break outcome,
                }
            }
        };
        let outcome = tokio::time::timeout(SOON, taken).await.expect("in time");
        assert_eq!(outcome, Ok(Outcome::Returned(data(number).into())));
    }
    for number in (0..4).rev() {
        let asked = keyed(&format!("k{number}"), request("echo", data(number)));
        assert_eq!(link.call(asked.clone()).await, Ok(Outcome::Returned(data(number).into())));
        link.release(asked.task, asked.attempt);
    }
    let files = std::fs::read_dir(node.file("")).expect("listed").flatten().map(|it| it.file_name());
    let files: Vec<_> = files.filter(|it| it.to_string_lossy().contains("outcomes")).collect();
    assert_eq!(files, Vec::<std::ffi::OsString>::new());
    assert_eq!(call(&link, "echo", "on").await, Outcome::Returned("on".into()));
}
