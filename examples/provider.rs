//! A provider of one's own, outside of Skyward: computers that are there anyway, whose SSH servers let the
//! pool's key in. `cargo run --example provider` shows a spec with it.
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::{collections::BTreeSet, net::IpAddr};

use skyward::provider::*;
use tokio::sync::Mutex;

fn on_the_shelf() -> InstanceState {
    InstanceState::Gone { reason: "it is on the shelf".into(), loss: Loss::Stopped }
}

struct Shelf {
    computers: Vec<IpAddr>,
    taken: Mutex<BTreeSet<IpAddr>>,
}

#[async_trait]
impl Provider for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { udp: true, ends_itself: true, ..Capabilities::NONE }
    }
    fn offers(&self) -> BoxStream<'_, Result<Offer, ProviderError>> {
        let kind = InstanceType::named("computer");
        Box::pin(stream::iter([Ok(Offer::of("shelf", kind, Price::on_demand(skyward::usd!(0))))]))
    }
    async fn prepare(&self, _: &Request) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn provision(&self, _: &Request, count: u32) -> Result<Provisioned, ProviderError> {
        let mut taken = self.taken.lock().await;
        let free = self.computers.iter().filter(|it| !taken.contains(it));
        let new: Vec<IpAddr> = free.take(count as usize).copied().collect();
        taken.extend(&new);
        let none = || ProviderError::new(ProviderErrorKind::NoCapacity, "no other computer is free");
        let shortfall = (new.len() < count as usize).then(none);
        let rented =
            |it: IpAddr| Instance { id: InstanceId::new(it.to_string()), state: InstanceState::Pending };
        Ok(Provisioned { instances: new.into_iter().map(rented).collect(), shortfall })
    }
    async fn describe(&self, _: &Request, id: &InstanceId) -> Result<Instance, ProviderError> {
        let taken = self.taken.lock().await.iter().copied().find(|it| it.to_string() == id.as_str());
        let state = taken.map_or_else(on_the_shelf, |address| {
            let (host, host_key) = (address.to_string(), HostKey::PinOnFirstUse);
            let ssh = SshEndpoint { host, port: 22, user: "sky".into(), host_key, login: Box::default() };
            // A computer of one's own costs nothing more when its lease lapses.
            let end = End::Command { shell: "true".into() };
            InstanceState::Running { ssh, address, private: None, end, notice: Notice::None }
        });
        Ok(Instance { id: id.clone(), state })
    }
    async fn terminate(&self, _: &Request, ids: &[InstanceId]) -> Result<(), ProviderError> {
        self.taken.lock().await.retain(|it| !ids.iter().any(|id| id.as_str() == it.to_string()));
        Ok(())
    }
    async fn teardown(&self, _: &Request) -> Result<Vec<Leftover>, ProviderError> {
        self.taken.lock().await.clear();
        Ok(Vec::new())
    }
}

fn main() {
    let computers = vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
    println!("{:?}", skyward::Spec::on(Shelf { computers, taken: Mutex::default() }));
}
