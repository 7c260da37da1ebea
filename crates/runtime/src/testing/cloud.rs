//! The scripted cloud: machines that are refused, late, slow, cut off, frozen or dead, and that end
//! themselves when their lease is not renewed. They outlive the pool that rented them.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::event::{Event, Happening};
use super::failure::Law;
use super::knobs::Mutation;
use super::market::Meter;
use super::world::World;
use crate::lease::{self, Guard};
use crate::model::{
    End, HostKey, InstanceId, InstanceState, KeptMachine, Loss, Notice, Rank, SshEndpoint, Tariff,
};

/// A machine, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MachineId(pub(super) usize);

/// Why a machine ends that its cloud gives up on.
const NEVER_BOOTED: &str = "never booted";

/// Why one ends that its cloud takes back.
const PREEMPTED: &str = "preempted";

/// Why one ends whose lease was not renewed.
const LAPSED: &str = "lease lapsed";

/// All machines, and what was prepared for them.
#[derive(Debug, Default)]
pub(super) struct Cloud {
    pub(super) machines: Vec<Machine>,
    pub(super) names: BTreeMap<InstanceId, MachineId>,
    /// Until when its writes are busy: they take turns.
    pub(super) busy: Duration,
    /// The one that [`Mutation::ForgetMachine`] overlooks.
    pub(super) overlooked: Option<MachineId>,
}

/// One machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) name: InstanceId,
    /// The world whose pool it was rented for.
    pub(super) owner: usize,
    /// The pool was told of it.
    pub(super) told: bool,
    pub(super) dead: Option<&'static str>,
    /// How it is paid for.
    pub(super) meter: Meter,
    /// From when on the cloud knows it.
    known: Duration,
    /// From when on SSH lets us in; `None` before it has booted.
    ssh: Option<Duration>,
    pub(super) cut: Duration,
    pub(super) frozen: Duration,
    pub(super) draining: bool,
    guard: Guard,
    /// What the lease's file says; 0: there is none.
    lease: u64,
    renewed: Duration,
    /// Since when and for how long it is kept for a person to look at.
    kept: Option<(Duration, Duration)>,
}

impl Machine {
    /// Whether its cloud gave up on it before it had booted.
    pub(super) fn never_booted(&self) -> bool {
        self.dead == Some(NEVER_BOOTED)
    }

    /// Whether a packet to it is answered.
    pub(super) fn answers(&self, now: Duration) -> bool {
        self.dead.is_none() && self.ssh.is_some() && self.silent_until() <= now
    }

    pub(super) fn silent_until(&self) -> Duration {
        self.cut.max(self.frozen)
    }

    pub(super) fn lets_in(&self, now: Duration) -> bool {
        self.answers(now) && self.ssh.is_some_and(|it| it <= now)
    }
}

impl World {
    /// A machine comes into being; what it will suffer is drawn now.
    pub(super) fn make_machine(&mut self, told: bool, tariff: Tariff) -> InstanceId {
        let id = MachineId(self.cloud.machines.len());
        let name = InstanceId::new(format!("m{}", id.0));
        let known = match self.dice.chance(self.weather.late) {
            true => self.now + self.dice.up_to(self.timing.boot / 4),
            false => self.now,
        };
        let guard = Guard::new(self.timing.lease, self.now);
        self.cloud.machines.push(Machine {
            name: name.clone(),
            owner: self.number,
            told,
            dead: None,
            meter: Meter { tariff, since: self.now, until: None },
            known,
            ssh: None,
            cut: Duration::ZERO,
            frozen: Duration::ZERO,
            draining: false,
            guard,
            lease: 0,
            renewed: self.now,
            kept: None,
        });
        self.cloud.names.insert(name.clone(), id);
        self.summary.machines += 1;
        if self.dice.chance(self.weather.never) {
            // Its cloud gives up on it some time.
            self.plan(self.timing.boot * 2, Event::Machine(id, Happening::Dies(NEVER_BOOTED)));
            return name;
        }
        let most = if self.dice.chance(self.weather.slow) { self.timing.boot } else { self.timing.boot / 8 };
        let boot = self.dice.up_to(most);
        self.plan(boot, Event::Machine(id, Happening::Boots));
        self.draw_fate(id);
        name
    }

    fn draw_fate(&mut self, id: MachineId) {
        let span = self.timing.boot * 2;
        let blink = self.timing.detect + self.timing.grace;
        if self.dice.chance(self.weather.dies) {
            let after = self.dice.up_to(span);
            if self.dice.chance(500) {
                self.plan(after, Event::Machine(id, Happening::Dies(PREEMPTED)));
            } else {
                let within = self.dice.between(self.timing.drain, NOTICE);
                self.plan(after, Event::Machine(id, Happening::Noticed(within)));
            }
        }
        for _ in 0..FAULTS {
            let (at, length) = (self.dice.up_to(span), self.dice.up_to(blink * 3 / 2));
            let (short, at2) = (self.dice.up_to(self.timing.detect), self.dice.up_to(span));
            if self.dice.chance(self.weather.cut) {
                self.plan(at, Event::Machine(id, Happening::Cut(length)));
            }
            if self.dice.chance(self.weather.frozen) {
                self.plan(at2, Event::Machine(id, Happening::Freezes(length)));
            }
            if self.dice.chance(self.weather.cut) {
                self.plan(at2, Event::Machine(id, Happening::Cut(short)));
            }
            if self.dice.chance(self.weather.reset) {
                self.plan(at, Event::Machine(id, Happening::Reset));
            }
        }
    }

    /// The machines of this world's own pool.
    pub(super) fn own_machines(&self) -> impl Iterator<Item = &Machine> {
        self.cloud.machines.iter().filter(|it| it.owner == self.number)
    }

    pub(super) fn machine(&self, id: MachineId) -> Option<&Machine> {
        self.cloud.machines.get(id.0)
    }

    pub(super) fn machine_mut(&mut self, id: MachineId) -> Option<&mut Machine> {
        self.cloud.machines.get_mut(id.0)
    }

    pub(super) fn happens(&mut self, id: MachineId, happening: Happening) {
        let (now, ssh) = (self.now, self.weather.ssh);
        let wait = if self.dice.chance(ssh) { self.dice.up_to(self.timing.ssh) } else { Duration::ZERO };
        let lease = self.timing.lease;
        let Some(machine) = self.machine_mut(id) else { return };
        if machine.dead.is_some() {
            return;
        }
        match happening {
            Happening::Boots => {
                machine.ssh = Some(now + wait);
                machine.guard = Guard::new(lease, now);
                machine.renewed = now;
                let pause = machine.guard.pause();
                self.plan(pause, Event::Machine(id, Happening::Looks));
            }
            Happening::Dies(why) => self.kill(id, why),
            Happening::Noticed(within) => {
                self.plan(within, Event::Machine(id, Happening::Dies(PREEMPTED)));
                self.notice(id, within);
            }
            Happening::Looks => self.look(id),
            Happening::Cut(length) => {
                machine.cut = machine.cut.max(now + length);
                self.silence(id, length);
            }
            Happening::Freezes(length) => {
                machine.frozen = machine.frozen.max(now + length);
                self.silence(id, length);
            }
            Happening::Reset => {
                for link in self.links_of(id) {
                    self.break_link(link, "reset");
                }
            }
        }
    }

    /// The machine is gone; its peers notice at once or when it has been silent for too long.
    pub(super) fn kill(&mut self, id: MachineId, why: &'static str) {
        let Some(machine) = self.machine_mut(id) else { return };
        if machine.dead.is_some() {
            return;
        }
        machine.dead = Some(why);
        let name = machine.name.clone();
        self.stop_meter(&name);
        let after = if self.dice.chance(500) { Duration::ZERO } else { self.timing.detect };
        for link in self.links_of(id) {
            self.plan(after, Event::LinkBroken(link, why));
        }
        self.end_sessions(id);
    }

    /// The machine's own look at its lease.
    fn look(&mut self, id: MachineId) {
        let (now, lease, mutation) = (self.now, self.timing.lease, self.mutation);
        let Some(machine) = self.machine_mut(id) else { return };
        if machine.frozen > now {
            let after = machine.frozen - now;
            return self.plan(after, Event::Machine(id, Happening::Looks));
        }
        let content = match machine.kept {
            Some((_, length)) => lease::keep(length).into_bytes(),
            None => machine.lease.to_le_bytes().to_vec(),
        };
        let is_there = machine.lease > 0 || machine.kept.is_some();
        let holds = machine.guard.look(is_there.then_some(content.as_slice()), now);
        let pause = machine.guard.pause();
        // A renewal from before it froze is new to it when it goes on.
        let unrenewed = now.saturating_sub(machine.renewed.max(machine.frozen));
        let lease = machine.kept.map_or(lease, |(_, length)| length.max(lease));
        let for_ever = mutation == Some(Mutation::KeepForEver) && machine.kept.is_some();
        if holds || for_ever || mutation == Some(Mutation::RenewLapsed) {
            if !holds {
                machine.guard = Guard::new(lease, now);
            }
            if unrenewed > lease + pause * 2 {
                let what = format!("machine m{} lives {unrenewed:?} after its last renewal", id.0);
                self.breach(Law::LeaseEnds, what);
            }
            return self.plan(pause, Event::Machine(id, Happening::Looks));
        }
        let silent = machine.silent_until();
        self.summary.lapsed += 1;
        if let Some(since) = self.renewable_since(id)
            // Two of three renewals fit into this.
            && now.saturating_sub(since.max(silent)) > lease * 2 / 3
        {
            let what = format!("the lease of m{} lapsed, though its node could renew it", id.0);
            self.breach(Law::LeaseHolds, what);
        }
        self.kill(id, LAPSED);
    }

    /// The client's computer wakes up after it has slept for longer than its leases: what it had rented has ended
    /// itself meanwhile, but for what is kept and what has not booted.
    pub(super) fn client_wakes(&mut self) {
        let number = self.number;
        let lapsed =
            |it: &Machine| it.owner == number && it.dead.is_none() && it.ssh.is_some() && it.kept.is_none();
        let machines = self.cloud.machines.iter().enumerate().filter(|(_, it)| lapsed(it));
        let machines: Vec<MachineId> = machines.map(|(id, _)| MachineId(id)).collect();
        self.summary.slept += u64::from(!machines.is_empty());
        for id in machines {
            self.sleeps_through(id);
            self.kill(id, LAPSED);
        }
    }

    /// A machine that failed is told to live on, if it can be reached.
    pub(super) fn keep(&mut self, rank: Rank, instance: &InstanceId) -> Result<KeptMachine, String> {
        let (now, length) = (self.now, self.timing.keep);
        let id = self.cloud.names.get(instance).copied();
        let machine = id.and_then(|it| self.machine_mut(it)).filter(|it| it.lets_in(now));
        let machine = machine.ok_or_else(|| "it cannot be reached".to_owned())?;
        (machine.renewed, machine.kept) = (now, Some((now, length)));
        let until = UNIX_EPOCH + now + length;
        Ok(KeptMachine { rank, instance: instance.clone(), ssh: "ssh there".to_owned(), length, until })
    }

    /// A machine that is kept is given back only when its time is over, or its owner wants that.
    pub(super) fn check_kept(&mut self, id: MachineId) {
        let kept = self.machine(id).filter(|it| it.dead.is_none()).and_then(|it| it.kept);
        let stopped = self.pool.as_ref().is_none_or(|it| it.stopped);
        if let Some((since, length)) = kept
            && !stopped
            && self.now < since + length
        {
            let what = format!("m{} is given back while it is kept, from {since:?} for {length:?}", id.0);
            self.breach(Law::Kept, what);
        }
    }

    /// A renewal arrives at the machine.
    pub(super) fn renewed(&mut self, id: MachineId) {
        let now = self.now;
        if let Some(machine) = self.machine_mut(id).filter(|it| it.answers(now)) {
            machine.lease += 1;
            machine.renewed = now;
        }
    }

    /// What the cloud says of a machine.
    pub(super) fn describe(&mut self, name: &InstanceId) -> Result<InstanceState, String> {
        if self.dice.chance(self.weather.untold) {
            return Err("the cloud is busy".to_owned());
        }
        let machine = self.cloud.names.get(name).and_then(|it| self.machine(*it));
        let Some(machine) = machine else {
            return Ok(InstanceState::Gone { reason: "never heard of".to_owned(), loss: Loss::Stopped });
        };
        match (machine.dead, machine.ssh) {
            (Some(reason), _) => {
                let loss = match reason {
                    PREEMPTED => Loss::Preempted,
                    LAPSED => Loss::Stopped,
                    _ => Loss::Crashed,
                };
                Ok(InstanceState::Gone { reason: reason.to_owned(), loss })
            }
            _ if machine.known > self.now => Err("not listed yet".to_owned()),
            (None, None) => Ok(InstanceState::Pending),
            (None, Some(_)) => Ok(InstanceState::Running {
                ssh: SshEndpoint {
                    host: name.to_string(),
                    port: 22,
                    user: "root".to_owned(),
                    host_key: HostKey::PinOnFirstUse,
                    login: Box::default(),
                },
                address: std::net::Ipv4Addr::LOCALHOST.into(),
                end: End::Command { shell: "shutdown".to_owned() },
                notice: Notice::None,
            }),
        }
    }
}

/// The longest notice that a cloud gives.
const NOTICE: Duration = Duration::from_secs(120);

/// How often each kind of trouble may come to one machine.
const FAULTS: u32 = 6;
