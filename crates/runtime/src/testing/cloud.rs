//! The scripted cloud: machines that are refused, late, slow, cut off, frozen or dead, and that end
//! themselves when their lease is not renewed. They outlive the pool that rented them.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::asking::Kit;
use super::event::{Event, Happening};
use super::failure::Law;
use super::knobs::Mutation;
use super::market::Meter;
use super::world::World;
use crate::lease::{self, Guard};
use crate::model::{
    End, HostKey, InstanceId, InstanceState, KeptMachine, Loss, Notice, PoolId, Rank, SshEndpoint,
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
    /// The one that [`Mutation::ForgetMachine`] overlooks.
    pub(super) overlooked: Option<MachineId>,
}

/// One machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) name: InstanceId,
    /// The world whose pool it was rented for.
    pub(super) owner: usize,
    /// The pool that it was rented for, and its cloud.
    pub(super) place: (PoolId, String),
    /// The program that was told of it.
    pub(super) told: Option<u32>,
    pub(super) dead: Option<&'static str>,
    /// Its cloud has said that it is gone.
    pub(super) lied: bool,
    /// From when on its cloud's list shows it.
    listed: Duration,
    /// How it is paid for.
    pub(super) meter: Meter,
    /// From when on the cloud knows it.
    known: Duration,
    /// From when on SSH lets us in; `None` before it has booted.
    ssh: Option<Duration>,
    pub(super) cut: Duration,
    pub(super) frozen: Duration,
    guard: Guard,
    /// How long it may live without its owner.
    length: Duration,
    /// What the lease's file says.
    file: Option<String>,
    /// How often somebody who lives has renewed it, how often of that its guard has seen, and when it last did.
    renewed: (u64, u64, Duration),
    /// Its clock has stood still for so long.
    stood: Duration,
    /// Since when and for how long it is kept for a person to look at, and by which program.
    kept: Option<(Duration, Duration, u32)>,
    /// Its cloud has said that it will be taken.
    pub(super) noticed: bool,
    /// When it ended itself, at a cloud that bills it until it is given back.
    pub(super) ended: Option<Duration>,
    /// From when on nothing of use runs on it.
    pub(super) sick: Option<Duration>,
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

    /// Whether its cloud's list shows it.
    pub(super) fn is_listed(&self, now: Duration) -> bool {
        self.is_there() && self.listed <= now
    }

    /// Whether it is paid for, as far as its cloud tells.
    pub(super) fn is_paid(&self) -> bool {
        self.is_there() && !self.lied
    }

    pub(super) fn is_there(&self) -> bool {
        self.dead.is_none() || self.ended.is_some() && self.meter.until.is_none()
    }

    pub(super) fn lets_in(&self, now: Duration) -> bool {
        self.answers(now) && self.ssh.is_some_and(|it| it <= now)
    }
}

impl World {
    /// A machine comes into being; what it will suffer is drawn now.
    pub(super) fn make_machine(&mut self, told: Option<u32>, kit: &Kit) -> InstanceId {
        let (tariff, length) = (self.real_tariff(&kit.candidate), kit.request.lease);
        let id = MachineId(self.cloud.machines.len());
        let name = InstanceId::new(format!("m{}", id.0));
        let known = match self.dice.chance(self.weather.late) {
            true => self.now + self.dice.up_to(self.timing.boot / 4),
            false => self.now,
        };
        let guard = Guard::new(length, self.now);
        let listed = match self.dice.chance(self.weather.untagged) {
            // Its tags are lost, or the list lags behind.
            true if self.dice.chance(500) => Duration::MAX,
            true => self.now + self.dice.up_to(self.timing.boot),
            false => self.now,
        };
        let since =
            if self.dice.chance(500) { self.now } else { self.now + self.dice.up_to(self.timing.boot) };
        let sick = self.dice.chance(self.weather.sick).then_some(since);
        self.cloud.machines.push(Machine {
            name: name.clone(),
            owner: self.number,
            place: (kit.request.pool.clone(), kit.request.offer.provider.clone()),
            told,
            dead: None,
            lied: false,
            listed,
            meter: Meter { tariff, since: self.now, until: None },
            known,
            ssh: None,
            cut: Duration::ZERO,
            frozen: Duration::ZERO,
            guard,
            length,
            file: None,
            renewed: (0, 0, self.now),
            stood: Duration::ZERO,
            kept: None,
            noticed: false,
            ended: None,
            sick,
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
        let Some(machine) = self.machine_mut(id) else { return };
        if machine.dead.is_some() {
            return;
        }
        match happening {
            Happening::Boots => {
                machine.ssh = Some(now + wait);
                machine.guard = Guard::new(machine.length, now);
                machine.renewed.2 = now;
                let pause = machine.guard.pause();
                self.plan(pause, Event::Machine(id, Happening::Looks));
            }
            Happening::Dies(why) => self.kill(id, why),
            Happening::Noticed(within) => {
                machine.noticed = true;
                // Now and then it is not taken after all.
                if !self.dice.chance(300) {
                    self.plan(within, Event::Machine(id, Happening::Dies(PREEMPTED)));
                }
                self.notice(id, within);
            }
            Happening::Looks => self.look(id),
            Happening::Cut(length) => {
                machine.cut = machine.cut.max(now + length);
                self.silence(id, length);
            }
            Happening::Freezes(length) => {
                let until = machine.frozen.max(now + length);
                machine.stood += until.saturating_sub(machine.frozen.max(now));
                machine.frozen = until;
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

    /// Its cloud says that it is gone, and does nothing.
    pub(super) fn lie(&mut self, id: MachineId) {
        let Some(machine) = self.machine_mut(id) else { return };
        machine.lied = true;
        let name = machine.name.clone();
        self.summary.lies += 1;
        self.stop_meter(&name);
    }

    /// The machine's own look at its lease.
    fn look(&mut self, id: MachineId) {
        let (now, mutation) = (self.now, self.mutation);
        let haunted = mutation == Some(Mutation::RenewByDead) && !self.is_alive(self.newest_owner);
        let Some(machine) = self.machine_mut(id) else { return };
        if haunted {
            machine.file = Some(format!("{now:?}"));
        }
        if machine.frozen > now {
            let after = machine.frozen - now;
            return self.plan(after, Event::Machine(id, Happening::Looks));
        }
        let content = match machine.kept {
            Some((_, length, _)) => Some(lease::keep(length)),
            None => machine.file.clone(),
        };
        let clock = match mutation {
            Some(Mutation::SleepUncounted) => now.saturating_sub(machine.stood),
            _ => now,
        };
        let holds = machine.guard.look(content.as_ref().map(String::as_bytes), clock);
        let pause = machine.guard.pause();
        let (renewals, seen, since) = machine.renewed;
        if renewals != seen {
            machine.renewed = (renewals, renewals, now);
        }
        let since = if renewals == seen { since } else { now };
        let length = machine.length;
        // No renewal changes its end, and an owner that lost its lock in its sleep may still send some.
        let is_kept = machine.kept.is_some();
        let is_over = match machine.kept {
            Some((since, kept, _)) => now > since.max(machine.frozen) + kept.max(length) + pause * 2,
            None => now >= since + length,
        };
        let for_ever = mutation == Some(Mutation::KeepForEver) && machine.kept.is_some();
        if holds || for_ever || mutation == Some(Mutation::RenewLapsed) {
            if !holds {
                machine.guard = Guard::new(length, now);
            }
            if is_over {
                let what = format!("machine m{} lives on at {now:?}; it was renewed at {since:?}", id.0);
                self.breach(Law::LeaseEnds, what);
            }
            return self.plan(pause, Event::Machine(id, Happening::Looks));
        }
        let silent = machine.silent_until();
        self.summary.lapsed += 1;
        if let Some(since) = self.renewable_since(id).filter(|_| !is_kept)
            // Two of three renewals fit into this.
            && now.saturating_sub(since.max(silent)) > length * 2 / 3
        {
            let what = format!("the lease of m{} lapsed, though its node could renew it", id.0);
            self.breach(Law::LeaseHolds, what);
        }
        self.kill(id, LAPSED);
        let now = self.now;
        let bills = self.machine(id).is_some_and(|it| !it.lied && self.bills.contains(&it.place.1));
        if let Some(machine) = self.machine_mut(id).filter(|_| bills) {
            (machine.ended, machine.meter.until) = (Some(now), None);
            self.summary.billed += 1;
        }
    }

    /// Whether a machine has ended because nobody renewed its lease.
    pub(super) fn has_lapsed(&self, id: MachineId) -> bool {
        self.machine(id).is_some_and(|it| it.dead == Some(LAPSED))
    }

    /// A machine that failed is told to live on, if it can be reached.
    pub(super) fn keep(&mut self, rank: Rank, instance: &InstanceId) -> Result<KeptMachine, String> {
        let (now, length, number) = (self.now, self.timing.keep, self.me.number);
        let id = self.cloud.names.get(instance).copied();
        let machine = id.and_then(|it| self.machine_mut(it)).filter(|it| it.lets_in(now));
        let machine = machine.ok_or_else(|| "it cannot be reached".to_owned())?;
        machine.kept = Some((now, length, number));
        let until = UNIX_EPOCH + now + length;
        Ok(KeptMachine { rank, instance: instance.clone(), ssh: "ssh there".to_owned(), length, until })
    }

    /// A machine that is kept is given back only when its time is over, or its owner wants that.
    pub(super) fn check_kept(&mut self, program: u32, id: MachineId) {
        let kept = self.machine(id).filter(|it| it.dead.is_none()).and_then(|it| it.kept);
        let stopped = self.program(program).and_then(|it| it.pool.as_ref()).is_none_or(|it| it.stopped);
        if let Some((since, length, keeper)) = kept
            && !stopped
            && keeper == program
            && self.now < since + length
        {
            let what = format!("m{} is given back while it is kept, from {since:?} for {length:?}", id.0);
            self.breach(Law::Kept, what);
        }
    }

    /// A renewal arrives at the machine: what the lease's file says from now on. `counts`: who sent it lives.
    pub(super) fn renewed(&mut self, id: MachineId, content: String, counts: bool) {
        let now = self.now;
        if let Some(machine) = self.machine_mut(id).filter(|it| it.answers(now)) {
            machine.file = Some(content);
            machine.renewed.0 += u64::from(counts);
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
            _ if machine.lied => {
                Ok(InstanceState::Gone { reason: "given back".to_owned(), loss: Loss::Stopped })
            }
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
                ssh: endpoint(name),
                address: std::net::Ipv4Addr::LOCALHOST.into(),
                private: None,
                end: End::Command { shell: "shutdown".to_owned() },
                notice: Notice::None,
            }),
        }
    }
}

/// Where a machine's SSH server is.
pub(super) fn endpoint(name: &InstanceId) -> SshEndpoint {
    SshEndpoint {
        host: name.to_string(),
        port: 22,
        user: "root".to_owned(),
        host_key: HostKey::PinOnFirstUse,
        login: Box::default(),
    }
}

/// The longest notice that a cloud gives.
const NOTICE: Duration = Duration::from_secs(120);

/// How often each kind of trouble may come to one machine.
const FAULTS: u32 = 6;
