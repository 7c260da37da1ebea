//! A wire whose quality can be chosen, where the kernel has no `netem`: two network devices that `socat` holds
//! open, and a thread for each direction between them, which loses, delays and spaces out frames.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lab::Lab;

/// How a wire treats what goes over it, in each direction. A wire of the default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// How long a frame is on its way.
    pub delay: Duration,
    /// How many frames of a hundred are lost.
    pub loss_percent: u32,
    /// How many bits pass in a second; 0 is as many as there are.
    pub bits_per_second: u64,
    /// Whether UDP is lost, and nothing else.
    pub no_udp: bool,
}

/// A wire between a host and its bed.
#[derive(Debug)]
pub(super) struct Wire {
    weather: Arc<Mutex<Weather>>,
}

impl Wire {
    /// A wire between two new devices of the bed, which are named.
    pub(super) fn between(lab: &Lab, near: &str, far: &str) -> Self {
        let weather = Arc::new(Mutex::new(Weather::default()));
        let (a, b) = (Arc::new(device(lab, near)), Arc::new(device(lab, far)));
        for (from, to) in [(&a, &b), (&b, &a)] {
            let (from, to, weather) = (Arc::clone(from), Arc::clone(to), Arc::clone(&weather));
            // It ends when the device that it reads is gone, with the bed.
            std::thread::spawn(move || carry(&from, &to, &weather));
        }
        Self { weather }
    }

    pub(super) fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }
}

/// A network device of the bed, as a socket that takes and gives a frame at a time.
fn device(lab: &Lab, name: &str) -> UnixDatagram {
    let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
    let device = format!("TUN,tun-type=tap,tun-name={name},iff-no-pi");
    let mut socat = lab.command("socat");
    socat.args(["-b", "65536", &device, "FD:0"]).stdin(Stdio::from(OwnedFd::from(theirs)));
    lab.keep(socat.stdout(Stdio::null()).spawn().expect("socat"));
    lab.wait_for_device(name);
    ours
}

fn carry(from: &UnixDatagram, to: &UnixDatagram, weather: &Mutex<Weather>) {
    let mut due: BTreeMap<(Instant, u64), Vec<u8>> = BTreeMap::new();
    let mut dice = Dice(RandomState::new().hash_one(0));
    let (mut free, mut count) = (Instant::now(), 0);
    let mut frame = vec![0; LARGEST];
    loop {
        while let Some(first) = due.first_entry()
            && first.key().0 <= Instant::now()
        {
            if to.send(&first.remove()).is_err() {
                return;
            }
        }
        let wait = due.keys().next().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let wait = wait.map(|it| it.max(SHORTEST));
        if from.set_read_timeout(wait).is_err() {
            return;
        }
        let frame = match from.recv(&mut frame) {
            Ok(0) => return,
            Ok(length) => frame.get(..length).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let weather = *weather.lock().unwrap_or_else(PoisonError::into_inner);
        if dice.percent() < weather.loss_percent || (weather.no_udp && is_udp(frame)) {
            continue;
        }
        let now = Instant::now();
        let mut at = now;
        if let Some(nanos) = (frame.len() as u64 * 8_000_000_000).checked_div(weather.bits_per_second) {
            let begin = free.max(now);
            if begin - now > QUEUE {
                continue;
            }
            free = begin + Duration::from_nanos(nanos);
            at = free;
        }
        count += 1;
        due.insert((at + weather.delay, count), frame.to_vec());
    }
}

/// Whether a frame carries UDP over IPv4, as all frames do that are not of TCP or of housekeeping.
fn is_udp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17)
}

/// Numbers by chance (xorshift).
struct Dice(u64);

impl Dice {
    const fn percent(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % 100) as u32
    }
}

/// The largest frame, in bytes.
const LARGEST: usize = 65_536;

/// How long a frame may wait for its turn where the rate is bounded: a router's queue. What would wait longer is
/// lost.
const QUEUE: Duration = Duration::from_millis(200);

/// No wait of a socket is shorter; 0 would be for ever.
const SHORTEST: Duration = Duration::from_micros(200);
