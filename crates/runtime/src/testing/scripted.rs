//! A cloud that says what a test wants it to say, for pools that are real: its machines are another
//! provider's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::model::{Capabilities, Instance, InstanceId, Leftover, Market, Offer};
use crate::provider::{Provider, ProviderError, ProviderErrorKind, Provisioned, Request};

/// A cloud with a name, offers and answers of its own, whose machines are those of `inner`. Clones share the
/// script and what was asked.
///
/// ```
/// # use skyward_runtime::model::{InstanceType, Offer, Price};
/// # use skyward_runtime::provider::{Provider, ProviderErrorKind};
/// # use skyward_runtime::testing::{Answer, Scripted};
/// # use skyward_runtime::usd;
/// # fn script(local: impl Provider) {
/// let offer = Offer::of("aws", InstanceType::named("small"), Price::on_demand(usd!(0.10)));
/// let cloud = Scripted::new("aws", local)
///     .offers([offer])
///     .answers([Answer::Refuse(ProviderErrorKind::Quota), Answer::Give(1)]);
/// let asked = cloud.asked();
/// # }
/// ```
#[derive(Clone)]
pub struct Scripted {
    name: String,
    inner: Arc<dyn Provider>,
    offers: Result<Vec<Offer>, ProviderErrorKind>,
    prepares: bool,
    /// Whether it gives machines back yet.
    gives_back: Arc<dyn Fn() -> bool + Send + Sync>,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    /// How many requests to give machines back are refused yet.
    refusals: u32,
    asked: Vec<Asked>,
    machines: Vec<InstanceId>,
}

/// How one request for machines is answered. When there are no answers left, all are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// At most so many machines; the others are missing for lack of capacity.
    Give(u32),
    /// None, and why.
    Refuse(ProviderErrorKind),
}

/// What a cloud was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its offers.
    Offers,
    /// To set things up for this offer, by its id.
    Prepare(String),
    /// So many machines of this offer, from this market.
    Provision(String, Market, u32),
    /// To give machines back, how many.
    Terminate(usize),
    /// To undo everything.
    Teardown,
}

impl Scripted {
    /// A cloud of this name with the other provider's machines and offers of none.
    pub fn new(name: impl Into<String>, inner: impl Provider) -> Self {
        let (inner, offers, script) = (Arc::new(inner), Ok(Vec::new()), Arc::default());
        Self { name: name.into(), inner, offers, prepares: true, gives_back: Arc::new(|| true), script }
    }

    /// What it has for rent.
    #[must_use]
    pub fn offers(self, offers: impl IntoIterator<Item = Offer>) -> Self {
        Self { offers: Ok(offers.into_iter().collect()), ..self }
    }

    /// Has it fail to list offers.
    #[must_use]
    pub fn no_offers(self, kind: ProviderErrorKind) -> Self {
        Self { offers: Err(kind), ..self }
    }

    /// Has it fail to set anything up.
    #[must_use]
    pub fn unprepared(self) -> Self {
        Self { prepares: false, ..self }
    }

    /// How the first requests for machines are answered.
    #[must_use]
    pub fn answers(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.script().answers.extend(answers);
        self
    }

    /// Has it give machines back only once this is so, however long whoever asked has to wait.
    #[must_use]
    pub fn gives_back_once(self, it_is_time: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { gives_back: Arc::new(it_is_time), ..self }
    }

    /// Has it refuse to end machines by their names so often first.
    #[must_use]
    pub fn refuses_to_end(self, times: u32) -> Self {
        self.script().refusals = times;
        self
    }

    /// What it was asked for so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.script().asked.clone()
    }

    /// The machines that it gave and that were not given back.
    pub fn machines(&self) -> Vec<InstanceId> {
        self.script().machines.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn its_time(&self) {
        while !(self.gives_back)() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn refusal(&self, kind: ProviderErrorKind) -> ProviderError {
        ProviderError::new(kind, format!("{} refuses ({kind:?}), as its script says", self.name))
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        self.script().asked.push(Asked::Offers);
        match &self.offers {
            Ok(offers) => stream::iter(offers.iter().cloned().map(Ok)).boxed(),
            Err(kind) => stream::iter([Err(self.refusal(*kind))]).boxed(),
        }
    }

    async fn prepare(&self, request: &Request) -> Result<(), ProviderError> {
        self.script().asked.push(Asked::Prepare(request.offer.id.clone()));
        if !self.prepares {
            return Err(self.refusal(ProviderErrorKind::Permission));
        }
        self.inner.prepare(request).await
    }

    async fn provision(&self, request: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let answer = {
            let mut script = self.script();
            script.asked.push(Asked::Provision(request.offer.id.clone(), request.market, count));
            script.answers.pop_front().unwrap_or(Answer::Give(u32::MAX))
        };
        let given = match answer {
            Answer::Refuse(kind) => return Err(self.refusal(kind)),
            Answer::Give(0) => return Err(self.refusal(ProviderErrorKind::NoCapacity)),
            Answer::Give(most) => most.min(count),
        };
        let mut provisioned = self.inner.provision(request, given).await?;
        self.script().machines.extend(provisioned.instances.iter().map(|it| it.id.clone()));
        if given < count {
            provisioned.shortfall.get_or_insert(self.refusal(ProviderErrorKind::NoCapacity));
        }
        Ok(provisioned)
    }

    async fn describe(&self, request: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        self.inner.describe(request, id).await
    }

    async fn terminate(&self, request: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        let is_refused = {
            let mut script = self.script();
            script.asked.push(Asked::Terminate(ids.len()));
            let left = script.refusals.checked_sub(1);
            script.refusals = left.unwrap_or(0);
            left.is_some()
        };
        if is_refused {
            return Err(self.refusal(ProviderErrorKind::Transient));
        }
        self.its_time().await;
        self.inner.terminate(request, ids).await?;
        self.script().machines.retain(|it| !ids.contains(it));
        Ok(())
    }

    async fn teardown(&self, request: &Request) -> Result<Vec<Leftover>, ProviderError> {
        self.script().asked.push(Asked::Teardown);
        self.its_time().await;
        let left = self.inner.teardown(request).await?;
        self.script().machines.clear();
        Ok(left)
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scripted").field(&self.name).finish()
    }
}
