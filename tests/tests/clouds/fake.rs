//! A cloud that does not exist: keeps state as the real one does, answers by its contract, and fails when
//! it is told to. What differs from cloud to cloud is a [`Face`].

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use skyward::provider::Offer;
use skyward_providers::cloud::Account;
use skyward_providers::http::Access;
use skyward_runtime::backoff::Backoff;
use skyward_runtime::model::HostKey;

use tokio::sync::Barrier;

use crate::backing::Backing;
use crate::contract::Contract;
use crate::server::{Reply, Seen, Server};

/// One cloud's ways.
pub(crate) trait Face: Send + 'static {
    /// The contract's file.
    fn contract(&self) -> Option<&'static str>;
    /// What a request does wrong, where its contract is of a kind of its own.
    fn wrong(&self, _seen: &Seen) -> Vec<String> {
        Vec::new()
    }
    /// The file with the schema of what it has by GraphQL.
    fn graphql(&self) -> Option<&'static str> {
        None
    }
    /// Says in the contract what its own text says in words alone.
    fn amend(&self, _contract: &mut Value) {}
    /// What a request does and is answered; the key is right.
    fn answer(&mut self, seen: &Seen) -> Reply;
    /// Answers the next request of this kind with this.
    #[cfg(feature = "aws")]
    fn script(&mut self, _kind: &'static str, _reply: Reply) {}
    /// The machine at an address.
    #[cfg(feature = "aws")]
    fn at(&self, _address: &str) -> String {
        String::new()
    }
    /// The permissions that were needed so far.
    #[cfg(feature = "aws")]
    fn permissions(&self) -> std::collections::BTreeSet<String> {
        std::collections::BTreeSet::new()
    }
    /// Whether a request may ask at all.
    fn lets_in(&self, seen: &Seen, key: &str) -> bool {
        seen.header("authorization") == format!("Bearer {key}")
    }
    /// Whether a request does no more than to log in.
    fn logs_in(&self, _seen: &Seen) -> bool {
        false
    }
    /// How this cloud says no.
    fn refusal(&self, fault: Fault) -> Reply;
    /// Whether a request rents machines.
    fn rents(&self, seen: &Seen) -> bool;
    /// Whether a request makes the last of what a preparation makes.
    fn prepares_last(&self, seen: &Seen) -> bool;
    /// The machines that cost, and the key that each lets in.
    fn machines(&self) -> Vec<(String, String)>;
    /// Those of them that run: real machines stand behind these.
    fn running(&self) -> Vec<(String, String)> {
        self.machines()
    }
    /// What a machine's host key must be.
    fn host_key(&self, _id: &str) -> HostKey {
        HostKey::PinOnFirstUse
    }
    /// Changes a machine from outside.
    fn set(&mut self, id: &str, condition: Condition);
    /// Everything that exists but machines.
    fn things(&self) -> Vec<String>;
    /// What the provider must make of the catalog.
    fn offers(&self) -> Vec<Offer>;
    /// The provider for this cloud, with this key.
    fn provider(&self, key: &str, access: Access, ssh_port: u16) -> Box<dyn Account>;
}

/// What happens to a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    Active(IpAddr),
    /// It ended itself, as far as it can.
    Shutdown,
    /// The cloud took it back, or filed it away.
    Taken,
    /// Somebody else deleted it.
    Vanished,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: the request before the one that fails.
    None,
    NoCapacity,
    Quota,
    BadKey,
    InsufficientFunds,
    /// 429, with so many seconds to wait if the cloud says it.
    Limited(Option<u32>),
    Broken,
    /// It is done, and the answer is lost.
    DoneButLost,
    /// It is not done, and there is no answer.
    Lost,
}

/// Which requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hits {
    Any,
    Rent,
    PrepareLast,
}

/// A running one.
pub(crate) struct Fake {
    pub(crate) server: Server,
    pub(crate) key: String,
    inner: Arc<Inner>,
}

struct Inner {
    face: Mutex<Box<dyn Face>>,
    faults: Mutex<VecDeque<(Hits, Fault)>>,
    contract: Option<Contract>,
    violations: Mutex<Vec<String>>,
    backing: Option<Backing>,
    meeting: Mutex<Option<Arc<Barrier>>>,
}

impl Fake {
    pub(crate) async fn start(face: Box<dyn Face>) -> Self {
        Self::backed(face, None).await
    }

    /// One whose machines are real ones.
    pub(crate) async fn backed(face: Box<dyn Face>, backing: Option<Backing>) -> Self {
        let key = format!("sk-{}-not-for-eyes", skyward_runtime::random::text(20).unwrap());
        let contract = face.contract().and_then(|it| Contract::load(it, |contract| face.amend(contract)));
        let contract = match face.graphql() {
            Some(file) => contract.and_then(|it| it.and_graphql(file)),
            None => contract,
        };
        let inner = Arc::new(Inner {
            face: Mutex::new(face),
            faults: Mutex::default(),
            contract,
            violations: Mutex::default(),
            backing,
            meeting: Mutex::default(),
        });
        let (handler, right) = (Arc::clone(&inner), key.clone());
        let server = Server::start(Arc::new(move |seen| {
            let (inner, right) = (Arc::clone(&handler), right.clone());
            async move { inner.handle(seen, &right).await }.boxed()
        }))
        .await;
        Self { server, key, inner }
    }

    /// A provider that asks this cloud, in a hurry.
    pub(crate) fn provider(&self) -> Box<dyn Account> {
        self.provider_with(&self.key)
    }

    pub(crate) fn provider_with(&self, key: &str) -> Box<dyn Account> {
        let ssh_port = self.inner.backing.as_ref().map_or(22, Backing::ssh_port);
        self.face().provider(key, self.access(), ssh_port)
    }

    pub(crate) fn access(&self) -> Access {
        let pause = Duration::from_millis(2);
        Access {
            base_url: Some(self.server.url.clone()),
            request_timeout: Duration::from_secs(2),
            backoff: Backoff { first: pause, factor: 1, most: pause },
            settles: Duration::from_millis(20),
            pace: 10_000,
            ..Access::default()
        }
    }

    /// Lets the next requests of a kind go wrong, in this order.
    pub(crate) fn fail(&self, hits: Hits, faults: impl IntoIterator<Item = Fault>) {
        self.inner.faults.lock().unwrap().extend(faults.into_iter().map(|it| (hits, it)));
    }

    /// The next request is not answered before every other cloud at this barrier was asked, too.
    pub(crate) fn wait_for_others(&self, barrier: &Arc<Barrier>) {
        *self.inner.meeting.lock().unwrap() = Some(Arc::clone(barrier));
    }

    /// Changes a machine from outside, and what stands behind it.
    pub(crate) async fn change(&self, id: &str, condition: Condition) {
        self.face().set(id, condition);
        self.inner.match_backing().await;
    }

    /// What was asked, but for logins.
    pub(crate) fn asked(&self) -> Vec<Seen> {
        let mut seen = self.server.seen();
        seen.retain(|it| !self.face().logs_in(it));
        seen
    }

    pub(crate) fn face(&self) -> MutexGuard<'_, Box<dyn Face>> {
        self.inner.face.lock().unwrap()
    }

    /// What costs, by id.
    pub(crate) fn machines(&self) -> Vec<String> {
        self.face().machines().into_iter().map(|(id, _)| id).collect()
    }

    /// Everything that exists.
    pub(crate) fn left(&self) -> Vec<String> {
        let machines = self.machines().into_iter().map(|it| format!("machine {it}"));
        machines.chain(self.face().things()).collect()
    }

    /// What broke the contract so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.inner.violations.lock().unwrap().clone()
    }

    pub(crate) fn contract(&self) -> Option<&Contract> {
        self.inner.contract.as_ref()
    }
}

impl Inner {
    async fn handle(&self, seen: Seen, right: &str) -> Reply {
        let meeting = self.meeting.lock().unwrap().take();
        if let Some(barrier) = meeting {
            barrier.wait().await;
        }
        let wrong = self.face.lock().unwrap().wrong(&seen);
        self.violations.lock().unwrap().extend(wrong);
        let body: Option<Value> = (!seen.body.is_empty()).then(|| seen.json());
        if let Some(contract) = &self.contract {
            let wrong = match contract.operation(&seen.method, &seen.path) {
                Ok(operation) => contract.request(&operation, seen.query.keys(), body.as_ref()),
                Err(wrong) => vec![wrong],
            };
            self.violations.lock().unwrap().extend(wrong);
        }
        let (reply, lost) = self.decide(&seen, right);
        self.match_backing().await;
        if let (Some(contract), Reply::Answer { status, body, .. }) = (&self.contract, &reply)
            && let Ok(operation) = contract.operation(&seen.method, &seen.path)
            // No contract says how a limit or a broken gateway looks.
            && ![429, 502].contains(status)
        {
            self.violations.lock().unwrap().extend(contract.answer(&operation, *status, body));
        }
        if lost { Reply::Cut } else { reply }
    }

    fn decide(&self, seen: &Seen, right: &str) -> (Reply, bool) {
        let mut face = self.face.lock().unwrap();
        if !face.lets_in(seen, right) {
            return (face.refusal(Fault::BadKey), false);
        }
        let mut faults = self.faults.lock().unwrap();
        let hit = |hits: Hits| match hits {
            Hits::Any => true,
            Hits::Rent => face.rents(seen),
            Hits::PrepareLast => face.prepares_last(seen),
        };
        let fault = match faults.front() {
            Some((hits, _)) if hit(*hits) => faults.pop_front().map_or(Fault::None, |(_, it)| it),
            _ => Fault::None,
        };
        match fault {
            Fault::None => (face.answer(seen), false),
            Fault::DoneButLost => (face.answer(seen), true),
            Fault::Lost => (Reply::Cut, true),
            fault => (face.refusal(fault), false),
        }
    }

    /// Makes a real machine of each that is new, and removes those that are not there any more.
    async fn match_backing(&self) {
        let Some(backing) = &self.backing else { return };
        let wanted = self.face.lock().unwrap().running();
        for (id, address) in backing.follow(&wanted).await {
            self.face.lock().unwrap().set(&id, Condition::Active(address));
        }
    }
}
