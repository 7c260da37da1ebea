//! The time-outs and intervals that a program may set, in one place.

use std::time::Duration;

use crate::backoff::Backoff;

/// How long things may take. Plain data with defaults; tests use short ones.
///
/// ```
/// use skyward_runtime::timing::Timing;
/// use std::time::Duration;
/// let timing = Timing { lease: Duration::from_secs(3), ..Timing::default() };
/// assert_eq!(timing.detect, Duration::from_secs(12));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a machine may outlive the last renewal of its lease. Default 60 s. Shorter ends
    /// machines sooner after the client is killed, but a client that sleeps for longer loses them.
    pub lease: Duration,
    /// How long a machine of a cloud, or of a host over SSH, may outlive the last renewal of its lease, where its
    /// [spec](crate::pool::Spec::ttl) does not say; [`lease`](Self::lease) is for machines of this computer. Default
    /// 600 s: long enough to start a program again that was killed, and to attach to what it left.
    pub ttl: Duration,
    /// How long a peer may be silent before its link counts as broken. Default 12 s: QUIC's idle time
    /// of five sixths of it, plus one keep-alive of one sixth. Too short breaks links under load.
    pub detect: Duration,
    /// How long a broken link is dialled again before the node counts as lost. Default 30 s.
    pub grace: Duration,
    /// The waits between those dials. Default 50 ms doubling to 2 s.
    pub redial: Backoff,
    /// How long a provider may take to answer one request. Default 120 s; longer where many machines are given back
    /// at once, by a cloud that takes only so many requests a minute.
    pub provision: Duration,
    /// How long a provider may take to list its offers. Default 30 s; one that takes longer is left out, so
    /// too short loses the cheap ones that answer slowly, and too long makes every start wait.
    pub offers: Duration,
    /// How often renting is tried before it has failed, how many machines of a rank in a row may fail before they are
    /// ready, and how many may be lost or taken by their cloud within ten minutes of being ready: then the rank is given
    /// up. Default 3. More rents for longer what does not last.
    pub provision_attempts: u32,
    /// The waits between those tries. Default 5 s, constant.
    pub provision_retry: Backoff,
    /// How long a machine may take from rented to running. Default 300 s, or more where its provider says that its
    /// machines may take longer ([`Capabilities::boot`](crate::model::Capabilities)); what is set counts everywhere.
    pub boot: Duration,
    /// The waits between looks at a machine that boots. Default 20 ms doubling to 2 s.
    pub boot_poll: Backoff,
    /// How long an SSH server may take to let us in, all tries together. Default 90 s.
    pub ssh: Duration,
    /// The waits between those tries. Default 50 ms doubling to 2 s.
    pub ssh_retry: Backoff,
    /// How long one SSH dial may take. Default 15 s.
    pub ssh_dial: Duration,
    /// The SSH keep-alive interval; three without an answer end the session. Default 15 s.
    pub ssh_keepalive: Duration,
    /// How long all bootstrap steps together may take. Default 300 s.
    pub bootstrap: Duration,
    /// How long the upload of the program and the included files may take. Default 600 s.
    pub upload: Duration,
    /// How long a started worker may take to be linked and a member. Default 30 s.
    pub join: Duration,
    /// How long one dial of a link may take, hello included. Default 5 s.
    pub dial: Duration,
    /// How long QUIC is tried with [`Carrier::Auto`](crate::model::Carrier::Auto) before SSH, as part of
    /// a dial or a redial. Default 3 s. Shorter may give up a slow network's UDP, which is faster where
    /// it works; longer delays every node whose firewall drops UDP.
    pub quic: Duration,
    /// How long one control call to a worker may take. Default 5 s.
    pub control: Duration,
    /// How long a call may run when it does not say so itself. Default 300 s, counted from the moment
    /// a node has it; `.timeout(d)` counts the queue as well.
    pub call: Duration,
    /// How long the streams that one call takes may arrive apart on its node. Default 30 s. They are opened
    /// together, so only a client that broke off in between is waited for in vain; too short fails calls on
    /// a link that is busy.
    pub inputs: Duration,
    /// How long a draining node may finish its tasks when its pool ends, or when it is not well. Default 5 s.
    pub drain: Duration,
    /// How long a node that its pool gives up, because nobody needs it or a resize says so, may finish what it has.
    /// Default 600 s. Shorter has calls run again that were nearly done; longer pays for a node that was given up.
    pub retire: Duration,
    /// The waits before a machine is given back again whose cloud did not do so. Default 5 s doubling to 600 s, for as
    /// long as the pool lives: it is paid for until its end is certain.
    pub release_retry: Backoff,
    /// How long a task's process, and what that has started, may take to end once it is told to, before
    /// it is killed. Default 2 s; its slot is free after that. Only with
    /// [`Executor::Process`](crate::model::Executor).
    pub kill: Duration,
    /// How long giving everything back may take. Default 360 s: what a provider did not do within
    /// [`provision`](Self::provision) is asked for twice more. Longer where many machines are given back.
    pub shutdown: Duration,
    /// How long machines are given back again that are still there after that, and cannot end their own bill. Default
    /// 1800 s. Shorter leaves machines that are paid for until somebody ends them by hand.
    pub insist: Duration,
    /// How long the machine of a node that did not become ready is kept for a person to look at. Default
    /// 0: it is given back at once. What is kept costs money until then.
    pub keep: Duration,
    /// How long the catalog of offers is waited for while other programs write it, and how long one
    /// query of its reader may take. Default 10 s: writing a large cloud's offers takes about one.
    pub catalog: Duration,
}

impl Timing {
    /// How often a lease is renewed: three times in its life, so that two may be lost.
    pub fn renew(&self) -> Duration {
        self.lease / 3
    }

    /// How long a provider may take to give this many machines back, with this much time for each.
    pub fn giving_back(&self, machines: usize, pace: Duration) -> Duration {
        self.provision.saturating_add(pace.saturating_mul(u32::try_from(machines).unwrap_or(u32::MAX)))
    }

    /// How long the end of a pool may take that has this many machines, with this much time for each: to end them, and
    /// to look once more for what is left.
    pub fn ending(&self, machines: usize, pace: Duration) -> Duration {
        let each = pace.saturating_mul(u32::try_from(machines).unwrap_or(u32::MAX));
        self.shutdown.saturating_add(each.saturating_mul(2))
    }

    /// How long a machine may take to boot whose provider says that it may take so long.
    pub fn boot_of(&self, slowest: Duration) -> Duration {
        if self.boot == BOOT { self.boot.max(slowest) } else { self.boot }
    }

    /// QUIC's idle time-out.
    pub fn idle(&self) -> Duration {
        self.detect * 5 / 6
    }

    /// QUIC's keep-alive interval.
    pub fn keep_alive(&self) -> Duration {
        self.detect / 6
    }

    /// Short times for tests on one machine: a peer is given up after 1 s, a lease lapses after 3 s.
    pub fn short() -> Self {
        Self {
            lease: Duration::from_secs(3),
            ttl: Duration::from_secs(3),
            detect: Duration::from_secs(1),
            grace: Duration::from_secs(2),
            provision: Duration::from_secs(10),
            offers: Duration::from_secs(10),
            provision_retry: Backoff {
                first: Duration::from_millis(50),
                factor: 1,
                most: Duration::from_millis(50),
            },
            boot: Duration::from_secs(20),
            ssh: Duration::from_secs(10),
            ssh_dial: Duration::from_secs(5),
            bootstrap: Duration::from_secs(120),
            join: Duration::from_secs(20),
            quic: Duration::from_secs(1),
            drain: Duration::from_millis(500),
            release_retry: Backoff {
                first: Duration::from_millis(50),
                factor: 2,
                most: Duration::from_secs(1),
            },
            kill: Duration::from_millis(300),
            shutdown: Duration::from_secs(30),
            insist: Duration::from_secs(60),
            ..Self::default()
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        let quick = Backoff { first: Duration::from_millis(50), factor: 2, most: Duration::from_secs(2) };
        Self {
            lease: Duration::from_secs(60),
            ttl: Duration::from_secs(600),
            detect: Duration::from_secs(12),
            grace: Duration::from_secs(30),
            redial: quick,
            provision: Duration::from_secs(120),
            offers: Duration::from_secs(30),
            provision_attempts: 3,
            provision_retry: Backoff {
                first: Duration::from_secs(5),
                factor: 1,
                most: Duration::from_secs(5),
            },
            boot: BOOT,
            boot_poll: Backoff { first: Duration::from_millis(20), factor: 2, most: Duration::from_secs(2) },
            ssh: Duration::from_secs(90),
            ssh_retry: quick,
            ssh_dial: Duration::from_secs(15),
            ssh_keepalive: Duration::from_secs(15),
            bootstrap: Duration::from_secs(300),
            upload: Duration::from_secs(600),
            join: Duration::from_secs(30),
            dial: Duration::from_secs(5),
            quic: Duration::from_secs(3),
            control: Duration::from_secs(5),
            call: Duration::from_secs(300),
            inputs: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            retire: Duration::from_secs(600),
            release_retry: Backoff {
                first: Duration::from_secs(5),
                factor: 2,
                most: Duration::from_secs(600),
            },
            kill: Duration::from_secs(2),
            shutdown: Duration::from_secs(360),
            insist: Duration::from_secs(1800),
            keep: Duration::ZERO,
            catalog: Duration::from_secs(10),
        }
    }
}

/// How long a machine may take to boot where nobody says anything of it.
const BOOT: Duration = Duration::from_secs(300);

#[test]
fn a_provider_that_is_slow_has_longer_unless_it_is_said_how_long() {
    let (plain, minutes) = (Timing::default(), |it: u64| Duration::from_secs(60 * it));
    assert_eq!([plain.boot_of(minutes(0)), plain.boot_of(minutes(30))], [minutes(5), minutes(30)]);
    for set in [1, 40] {
        assert_eq!(Timing { boot: minutes(set), ..Timing::default() }.boot_of(minutes(30)), minutes(set));
    }
    let pace = Duration::from_secs(3);
    assert!(
        plain.shutdown >= plain.provision * 3 && Timing::short().shutdown >= Timing::short().provision * 3
    );
    assert_eq!(plain.giving_back(1000, pace), plain.provision + pace * 1000);
    assert_eq!(plain.ending(1000, pace), plain.shutdown + pace * 2000);
}
