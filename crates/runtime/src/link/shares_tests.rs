//! Shared values over one link, and over the next ones to the same worker, which is played by hand.

use super::*;
use crate::link::shares::Workers;
use crate::model::Incarnation;
use crate::payload::Common;

type Sending = tokio::task::JoinHandle<Result<(), LinkError>>;

impl Ends {
    /// Another link to the same worker.
    fn next(&self) -> Self {
        Self::to(Arc::clone(&self.shared.shares))
    }

    fn share(&self, common: &Arc<Common>) -> Sending {
        let (shared, common) = (Arc::clone(&self.shared), Arc::clone(common));
        tokio::spawn(async move { shares::share(&shared, &common, || shares::send(&shared, &common)).await })
    }

    /// The worker reads what is sent. It has not said that it has it.
    async fn reads(&mut self, common: &Common) -> Half {
        let mut stream = self.stream().await;
        assert_eq!(wire::read_kind(&mut stream).await, Ok(Kind::Shared));
        let (incoming, outgoing) = tokio::io::split(stream);
        let read = shares::read_common(&mut OtherHalf(incoming), 1000).await;
        assert_eq!(read, Ok((*common.key(), common.payload().clone().into_bytes())));
        Half(outgoing)
    }

    /// Has the worker have a value.
    async fn give(&mut self, common: &Arc<Common>) {
        let sending = self.share(common);
        let mut outgoing = self.reads(common).await;
        shares::confirm_common(&mut outgoing).await.expect("said");
        assert_eq!(sending.await.expect("joined"), Ok(()));
    }

    /// The queue has heard of the link: what the worker hears of shared values first.
    async fn reconciled(&mut self) -> (Worker, Vec<CommonKey>) {
        self.shared.shares.reconcile(&self.shared);
        let mut worker = self.lane().await;
        let Request::Needs { keys, more: false } = worker.hear().await else { panic!("what is needed") };
        (worker, keys)
    }
}

#[tokio::test]
async fn a_shared_value_is_sent_once_and_forgotten_with_its_last_owner() {
    let mut ends = Ends::new();
    let (mut worker, keys) = ends.reconciled().await;
    assert_eq!(keys, Vec::<CommonKey>::new());
    let common = Common::of("what this test shares".into());
    let asked = [ends.share(&common), ends.share(&common)];
    let mut outgoing = ends.reads(&common).await;
    assert!(!ends.shared.shares.has(common.key()));
    shares::confirm_common(&mut outgoing).await.expect("said");
    for asked in asked {
        assert_eq!(asked.await.expect("joined"), Ok(()));
    }
    assert_eq!(ends.share(&common).await.expect("joined"), Ok(()));
    assert!(ends.opened.try_recv().is_err());
    let key = *common.key();
    drop(common);
    assert_eq!(worker.hear().await, Request::Forget { key });
}

#[tokio::test]
async fn what_a_worker_was_given_is_not_sent_again_over_the_next_link_which_says_that_it_is_needed() {
    let mut ends = Ends::new();
    let common = Common::of("what two links share".into());
    ends.give(&common).await;
    ends.shared.carrier.close(Cause::Done, "broken");
    let mut next = ends.next();
    let (mut worker, keys) = next.reconciled().await;
    assert_eq!(keys, [*common.key()]);
    assert_eq!(next.share(&common).await.expect("joined"), Ok(()));
    assert!(next.opened.try_recv().is_err(), "nothing is sent");
    let key = *common.key();
    drop(common);
    assert_eq!(worker.hear().await, Request::Forget { key });
}

#[tokio::test]
async fn what_is_dropped_between_two_links_is_not_needed_over_the_second() {
    for is_noticed in [false, true] {
        let mut ends = Ends::new();
        let [kept, dropped] = ["kept", "dropped"].map(|it| Common::of(format!("{it} {is_noticed}").into()));
        ends.give(&kept).await;
        ends.give(&dropped).await;
        if is_noticed {
            ends.shared.carrier.close(Cause::Done, "broken");
            drop(dropped);
        } else {
            // What is said over a link that is broken and not known to be is lost with it.
            drop(dropped);
            ends.shared.carrier.close(Cause::Done, "broken");
        }
        let (_worker, keys) = ends.next().reconciled().await;
        assert_eq!(keys, [*kept.key()]);
    }
}

#[tokio::test]
async fn what_a_broken_link_brought_in_part_is_needed_and_sent_again() {
    let mut ends = Ends::new();
    let common = Common::of("what comes in part".into());
    let sending = ends.share(&common);
    drop(ends.reads(&common).await);
    let failed = sending.await.expect("joined").expect_err("it is not confirmed");
    assert!(matches!(failed, LinkError::Broken { .. }), "{failed}");
    let mut next = ends.next();
    let (_worker, keys) = next.reconciled().await;
    assert_eq!(keys, [*common.key()]);
    assert!(!next.shared.shares.has(common.key()));
    next.give(&common).await;
}

#[tokio::test]
async fn what_is_given_is_remembered_by_the_name_of_its_worker_as_long_as_it_is_needed() {
    let workers = Workers::default();
    let (name, other) = (Incarnation::new("w0"), Incarnation::new("w1"));
    let common = Common::of("what is remembered".into());
    let mut ends = Ends::to(workers.shares(&name));
    ends.give(&common).await;
    // No link is left, and the value is.
    drop(ends);
    assert!(workers.shares(&name).has(common.key()));
    assert!(!workers.shares(&other).has(common.key()), "a worker that is started again has nothing");
    let before = Arc::downgrade(&workers.shares(&name));
    drop(common);
    assert!(before.upgrade().is_none());
}
