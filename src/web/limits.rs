//! How much anybody may ask for: connections, streams and requests, in all and per remote address.
//!
//! An IPv6 host can have a whole /64 of addresses, so that is what counts as one; and a line often has a whole /48 of these, which has no more places
//! than two such. Behind a reverse proxy the address is the one that the proxy
//! saw. So all phones of one network may be one address, and many of them must find room in what one address gets: hence a connection counts
//! for its address no longer once the engine has recognised a phone on it. What is kept per address is bounded, and nothing here has a timer:
//! what is over is found out when somebody asks.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::time::Monotonic;

/// Addresses that are remembered at once.
const REMEMBERED: usize = 4096;

/// Who asks, as far as limits go: an IPv4 address, or the first half of an IPv6 address. Unknown ones count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Remote(Option<IpAddr>);

impl Remote {
    /// Whoever connects through a Unix socket, or whose address a proxy does not tell.
    pub const UNKNOWN: Self = Self(None);

    /// At this address.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            four => four,
        }))
    }

    /// The /48 around an IPv6 address, which one line may have as a whole.
    fn line(self) -> Option<Line> {
        let Some(IpAddr::V6(six)) = self.0 else { return None };
        let [a, b, c, ..] = six.segments();
        Some(Line([a, b, c]))
    }

    /// From the value of `X-Forwarded-For`: its last entry is the proxy's own word, all before it may be the client's.
    #[must_use]
    pub fn forwarded(value: &str) -> Self {
        let last = value.rsplit(',').next().unwrap_or_default().trim();
        let bare = last.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(last, |(inside, _)| inside);
        let address = bare.parse().ok().or_else(|| bare.parse().ok().map(|with_port: std::net::SocketAddr| with_port.ip()));
        address.map_or(Self::UNKNOWN, Self::at)
    }
}

/// The first 48 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Line([u16; 3]);

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// A count of places, in all and per address.
#[derive(Debug)]
pub struct Places {
    most: usize,
    most_each: usize,
    taken: Mutex<Taken>,
}

/// The places that are taken.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<Remote, usize>,
    by_line: HashMap<Line, usize>,
}

impl Taken {
    fn of(&self, remote: Remote) -> usize {
        self.by_address.get(&remote).copied().unwrap_or(0)
    }

    fn of_line(&self, remote: Remote) -> usize {
        remote.line().and_then(|line| self.by_line.get(&line)).copied().unwrap_or(0)
    }

    fn add(&mut self, remote: Remote) {
        *self.by_address.entry(remote).or_default() += 1;
        if let Some(line) = remote.line() {
            *self.by_line.entry(line).or_default() += 1;
        }
    }

    fn take_away(&mut self, remote: Remote) {
        less(&mut self.by_address, remote);
        if let Some(line) = remote.line() {
            less(&mut self.by_line, line);
        }
    }
}

impl Places {
    /// So many places in all, and for each address.
    #[must_use]
    pub fn new(most: usize, most_each: usize) -> Arc<Self> {
        Arc::new(Self { most, most_each, taken: Mutex::default() })
    }

    /// A place, if there is one; it is given back when dropped.
    #[must_use]
    pub fn take(self: &Arc<Self>, remote: Remote) -> Option<Place> {
        let mut taken = self.taken();
        if taken.all >= self.most || taken.of(remote) >= self.most_each || taken.of_line(remote) >= 2 * self.most_each {
            return None;
        }
        taken.all += 1;
        taken.add(remote);
        Some(Place { places: Arc::clone(self), remote })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Counting can't panic half-way, so a poisoned lock is as good as any.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Places::take`].
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    remote: Remote,
}

impl Place {
    /// Counts in all alone, and not for its address, until what this gives is dropped.
    #[must_use]
    pub fn excuse(self: Arc<Self>) -> Excused {
        self.places.taken().take_away(self.remote);
        Excused(self)
    }
}

/// See [`Place::excuse`].
#[derive(Debug)]
pub struct Excused(Arc<Place>);

impl Drop for Excused {
    fn drop(&mut self) {
        self.0.places.taken().add(self.0.remote);
    }
}

fn less<K: Eq + Hash>(taken: &mut HashMap<K, usize>, whose: K) {
    match taken.get_mut(&whose) {
        Some(own) if *own > 1 => *own -= 1,
        _ => drop(taken.remove(&whose)),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        taken.take_away(self.remote);
    }
}

/// Token buckets: each address may ask `burst` times at once, and again each `period`.
#[derive(Debug)]
pub struct Buckets {
    burst: u32,
    period: Duration,
    /// When each address will have its whole burst again.
    full_at: Mutex<HashMap<Remote, Monotonic>>,
}

impl Buckets {
    /// Buckets of `burst` tokens that get a new one each `period`.
    #[must_use]
    pub fn new(burst: u32, period: Duration) -> Self {
        Self { burst, period, full_at: Mutex::default() }
    }

    /// Whether this address may ask once more.
    #[must_use]
    pub fn admits(&self, remote: Remote, now: Monotonic) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = full_at.get(&remote).copied().unwrap_or(now).max(now) + self.period;
        if full - now > self.period * self.burst {
            return false;
        }
        if full_at.len() >= REMEMBERED && !full_at.contains_key(&remote) {
            make_room(&mut full_at, now);
        }
        full_at.insert(remote, full);
        true
    }
}

/// Forgets whoever has the whole burst again, or else whoever is nearest to it.
fn make_room(full_at: &mut HashMap<Remote, Monotonic>, now: Monotonic) {
    full_at.retain(|_, full| *full > now);
    if full_at.len() >= REMEMBERED
        && let Some((&nearest, _)) = full_at.iter().min_by_key(|(_, full)| **full)
    {
        full_at.remove(&nearest);
    }
}

/// Says the first of many like events at once, and how many were kept back when a minute is over and another one comes.
#[derive(Debug, Default)]
pub struct Quiet(Mutex<(Option<Monotonic>, u64)>);

impl Quiet {
    /// Something happened: how many were kept back since it was last said, where it is to be said now.
    #[must_use]
    pub fn says(&self, now: Monotonic) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.is_some_and(|last| now - last < Duration::from_secs(60)) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn remote(text: &str) -> Remote {
        Remote::at(text.parse().unwrap())
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_a_mapped_address_as_itself() {
        assert_eq!(remote("2001:db8:1:2::1"), remote("2001:db8:1:2:ffff::9"));
        assert_ne!(remote("2001:db8:1:2::1"), remote("2001:db8:1:3::1"));
        assert_eq!(remote("::ffff:192.0.2.7"), remote("192.0.2.7"));
        assert_ne!(remote("192.0.2.7"), remote("192.0.2.8"));
    }

    #[test]
    fn of_what_a_proxy_forwards_only_its_own_word_counts() {
        assert_eq!(Remote::forwarded("198.51.100.1, 192.0.2.7"), remote("192.0.2.7"));
        assert_eq!(Remote::forwarded("192.0.2.7:4711"), remote("192.0.2.7"));
        assert_eq!(Remote::forwarded("[2001:db8::7]:4711"), remote("2001:db8::7"));
        assert_eq!(Remote::forwarded("192.0.2.7, made up"), Remote::UNKNOWN);
        assert_eq!(Remote::forwarded(""), Remote::UNKNOWN);
    }

    #[test]
    fn a_burst_is_admitted_and_then_one_each_period() {
        let buckets = Buckets::new(3, Duration::from_secs(1));
        let (one, other) = (remote("192.0.2.7"), remote("192.0.2.8"));
        assert_eq!([1, 2, 3, 4].map(|_| buckets.admits(one, at(10))), [true, true, true, false]);
        assert!(buckets.admits(other, at(10)));
        assert!(buckets.admits(one, at(11)) && !buckets.admits(one, at(11)));
        assert_eq!([1, 2, 3, 4].map(|_| buckets.admits(one, at(60))), [true, true, true, false]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_busiest_is_not_forgotten() {
        let buckets = Buckets::new(3, Duration::from_secs(1));
        let busy = remote("192.0.2.7");
        assert_eq!([1, 2, 3].map(|_| buckets.admits(busy, at(10))), [true; 3]);
        for number in 0..6_000_u32 {
            assert!(buckets.admits(Remote::at(IpAddr::from(number.to_be_bytes())), at(10)));
        }
        assert!(!buckets.admits(busy, at(10)));
        assert!(buckets.full_at.lock().unwrap().len() <= REMEMBERED);
    }

    #[test]
    fn places_are_counted_in_all_and_per_address_and_given_back() {
        let places = Places::new(3, 2);
        let (one, other) = (remote("192.0.2.7"), remote("192.0.2.8"));
        let (first, _second) = (places.take(one).unwrap(), places.take(one).unwrap());
        assert!(places.take(one).is_none());
        let _third = places.take(other).unwrap();
        assert!(places.take(other).is_none());
        drop(first);
        drop(places.take(one).unwrap());
        assert_eq!(places.taken().by_address.len(), 2);
    }

    #[test]
    fn however_many_networks_a_line_has_it_gets_the_places_of_two() {
        let places = Places::new(64, 2);
        let held: Vec<_> = (0..9).filter_map(|network| places.take(remote(&format!("2001:db8:1:{network}::1")))).collect();
        assert_eq!(held.len(), 4);
        let other = Arc::new(places.take(remote("2001:db8:2::1")).unwrap());
        // Whoever is recognised counts for neither.
        let excused = Arc::clone(&other).excuse();
        assert_eq!(places.taken().by_line.len(), 1);
        drop((held, excused, other));
        let taken = places.taken();
        assert_eq!((taken.all, taken.by_address.len(), taken.by_line.len()), (0, 0, 0));
    }

    #[test]
    fn a_place_that_is_excused_counts_in_all_and_later_for_its_address_again() {
        let (places, one) = (Places::new(3, 1), remote("192.0.2.7"));
        let first = Arc::new(places.take(one).unwrap());
        assert!(places.take(one).is_none());
        let excused = Arc::clone(&first).excuse();
        let second = Arc::new(places.take(one).unwrap());
        let also = Arc::clone(&second).excuse();
        let third = places.take(one).unwrap();
        assert!(places.take(remote("192.0.2.8")).is_none(), "three in all");
        drop((third, excused));
        assert!(places.take(one).is_none(), "it is one of its address again");
        drop((first, second));
        drop(also);
        let taken = places.taken();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn many_like_events_are_said_once_a_minute() {
        let quiet = Quiet::default();
        assert_eq!(quiet.says(at(1)), Some(0));
        assert_eq!(quiet.says(at(2)), None);
        assert_eq!(quiet.says(at(60)), None);
        assert_eq!(quiet.says(at(62)), Some(2));
    }
}
