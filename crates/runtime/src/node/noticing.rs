//! Whether it is heard when a cloud takes a node's machine: how that is told, its provider's `describe` says, and it can
//! be followed once the worker is linked. Pure; the shell asks and follows.
//!
//! ```text
//! adopted: described │ linked, in either order → followed
//!          not described → asked again, later and later
//! ```

use std::time::Duration;

use crate::backoff::Backoff;
use crate::model::{InstanceState, Notice};

/// What is known of how a node's end is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noticing {
    notice: Option<Notice>,
    /// The worker was started by another owner of the pool: nothing waits for its machine to be described.
    adopted: bool,
    /// How often it was asked in vain.
    looks: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To follow it over the link that there is.
    Follow,
    /// To ask the provider about the machine again after this.
    Ask(Duration),
}

impl Noticing {
    pub(super) const fn new(adopted: bool) -> Self {
        Self { notice: None, adopted, looks: 0 }
    }

    /// How its end is told, as far as is known.
    pub(super) fn notice(&self) -> Notice {
        self.notice.clone().unwrap_or_default()
    }

    /// The provider has been asked about the machine. `linked`: its worker is.
    pub(super) fn described(
        &mut self,
        described: &Result<InstanceState, String>,
        linked: bool,
        again: &Backoff,
    ) -> Option<Next> {
        match described {
            Ok(InstanceState::Running { notice, .. }) => {
                let is_news = self.notice.as_ref() != Some(notice);
                self.notice = Some(notice.clone());
                (is_news && linked).then_some(Next::Follow)
            }
            // Who boots is asked about all the time.
            Ok(InstanceState::Pending) | Err(_) if self.adopted && self.notice.is_none() => {
                let after = again.delay(self.looks);
                self.looks = self.looks.saturating_add(1);
                Some(Next::Ask(after))
            }
            // What is taken, or gone, says so itself.
            Ok(InstanceState::Pending | InstanceState::Leaving { .. } | InstanceState::Gone { .. })
            | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::model::{End, HostKey, SshEndpoint};
    use crate::timing::Timing;

    fn running(notice: Notice) -> Result<InstanceState, String> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ssh = SshEndpoint {
            host: "h".into(),
            port: 22,
            user: "u".into(),
            host_key: HostKey::PinOnFirstUse,
            login: Box::default(),
        };
        Ok(InstanceState::Running { ssh, address, private: None, end: End::Outside, notice })
    }

    fn said() -> Notice {
        Notice::Command { shell: "true".to_owned(), every: Duration::from_secs(5) }
    }

    #[test]
    fn an_adopted_node_is_followed_when_it_is_linked_and_described_whatever_comes_first() {
        let again = Timing::default().boot_poll;
        let mut linked_first = Noticing::new(true);
        assert_eq!(linked_first.notice(), Notice::None);
        assert_eq!(linked_first.described(&running(said()), true, &again), Some(Next::Follow));
        // Once is enough.
        assert_eq!(linked_first.described(&running(said()), true, &again), None);
        let other = Notice::Described { every: Duration::from_secs(9) };
        assert_eq!(linked_first.described(&running(other.clone()), true, &again), Some(Next::Follow));
        assert_eq!(linked_first.notice(), other);
        // Whoever is linked later finds it.
        let mut described_first = Noticing::new(true);
        assert_eq!(described_first.described(&running(said()), false, &again), None);
        assert_eq!(described_first.notice(), said());
    }

    #[test]
    fn a_provider_that_does_not_answer_is_asked_about_an_adopted_node_until_it_does() {
        let again = Timing::default().boot_poll;
        let mut noticing = Noticing::new(true);
        for look in 0..9 {
            let silent = if look % 2 == 0 { Err("late".to_owned()) } else { Ok(InstanceState::Pending) };
            let after = again.delay(look);
            assert_eq!(noticing.described(&silent, look > 4, &again), Some(Next::Ask(after)));
        }
        assert_eq!(noticing.described(&running(Notice::None), true, &again), Some(Next::Follow));
        assert_eq!(noticing.described(&Err("late".to_owned()), true, &again), None);
        // A machine of this owner's is asked about until it runs, by who waits for that.
        assert_eq!(Noticing::new(false).described(&Err("late".to_owned()), false, &again), None);
    }
}
