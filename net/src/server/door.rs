//! Who may knock: how fast an address may begin handshakes, and how many connections it may have.
//!
//! An address is an IPv4 address, or the /64 of an IPv6 address: whoever has one address of it has all of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{ServerConfig, Shared};

/// How much of its rate an address has while a reactor is strained.
const STRAINED_PART: f64 = 1.0 / 16.0;

/// Buckets that all addresses share, by a hash that nobody outside can foresee. Two that meet in one share its rate.
const BUCKETS: usize = 4_096;

/// The limits of addresses.
#[derive(Debug)]
pub(super) struct Door {
    /// Those who have shown that they receive where they say they are, and those who have not: who only pretends to be
    /// somewhere uses up nothing of those who are there.
    shown: Mutex<Buckets>,
    claimed: Mutex<Buckets>,
    /// For both, while a reactor has no time to spare.
    strained: Mutex<Buckets>,
    hasher: RandomState,
    max_connections: usize,
    connections: Mutex<HashMap<IpAddr, usize>>,
}

impl Door {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            shown: Mutex::new(Buckets::new(config, 1.0)),
            claimed: Mutex::new(Buckets::new(config, 1.0)),
            strained: Mutex::new(Buckets::new(config, STRAINED_PART)),
            hasher: RandomState::new(),
            max_connections: config.max_connections_per_address,
            connections: Mutex::default(),
        }
    }

    /// Whether `address` may begin one more handshake now. `shown`: it has answered a Retry. `strained`: those who are
    /// in already need all of a core, which handshakes must not take from them.
    pub(super) fn may_begin(&self, address: IpAddr, shown: bool, strained: bool, now: Duration) -> bool {
        let bucket = self.hasher.hash_one(group(address)) as usize % BUCKETS;
        let take = |buckets: &Mutex<Buckets>| {
            buckets.lock().unwrap_or_else(PoisonError::into_inner).take(bucket, now)
        };
        (!strained || take(&self.strained)) && take(if shown { &self.shown } else { &self.claimed })
    }
}

/// Token buckets, filled in the moment they are asked.
#[derive(Debug)]
struct Buckets {
    /// Handshakes that may still begin, and when that was so.
    all: Box<[(f64, Duration)]>,
    rate: f64,
    burst: f64,
}

impl Buckets {
    /// With `part` of the rate and of the burst that are set.
    fn new(config: &ServerConfig, part: f64) -> Self {
        let rate = f64::from(config.handshakes_per_address) * part;
        let burst = (f64::from(config.handshake_burst) * part).max(1.0);
        Self { all: vec![(burst, Duration::ZERO); BUCKETS].into(), rate, burst }
    }

    fn take(&mut self, bucket: usize, now: Duration) -> bool {
        let (left, since) = &mut self.all[bucket];
        let filled = now.saturating_sub(*since).as_secs_f64() * self.rate;
        *left = (*left + filled).min(self.burst);
        *since = now.max(*since);
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

/// A place among the connections of one address; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Place {
    /// `None` when the address has as many as it may have.
    pub(super) fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let address = group(address);
        let mut connections = shared.door.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(address).or_insert(0);
        if *count >= shared.door.max_connections {
            return None;
        }
        *count += 1;
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.shared.door.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.address);
            }
        }
    }
}

/// What counts as one address.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn door(rate: u32, burst: u32) -> Door {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into(), Identity::from_seed([1; 32]));
        (config.handshakes_per_address, config.handshake_burst) = (rate, burst);
        Door::new(&config)
    }

    fn begin(door: &Door, address: &str, shown: bool, at: Duration) -> usize {
        (0..1_000).filter(|_| door.may_begin(address.parse().unwrap(), shown, false, at)).count()
    }

    #[test]
    fn an_address_begins_a_burst_and_then_at_its_rate() {
        let door = door(10, 30);
        assert_eq!(begin(&door, "192.0.2.1", true, Duration::ZERO), 30);
        assert_eq!(begin(&door, "192.0.2.1", true, Duration::from_millis(500)), 5);
        assert_eq!(begin(&door, "192.0.2.1", true, Duration::from_millis(400)), 0, "time does not go back");
        assert_eq!(begin(&door, "192.0.2.1", true, Duration::from_millis(550)), 0);
        assert_eq!(begin(&door, "192.0.2.1", true, Duration::from_millis(600)), 1, "parts of one are kept");
        assert_eq!(begin(&door, "192.0.2.1", true, Duration::from_secs(3_600)), 30, "no more than a burst");
    }

    #[test]
    fn who_pretends_to_be_at_an_address_takes_nothing_from_who_is_there() {
        let door = door(10, 30);
        assert_eq!(begin(&door, "192.0.2.1", false, Duration::ZERO), 30);
        assert_eq!(begin(&door, "192.0.2.1", true, Duration::ZERO), 30);
    }

    #[test]
    fn while_others_need_the_core_an_address_begins_fewer() {
        let door = door(160, 320);
        let begin = |at| (0..1_000).filter(|_| door.may_begin([192, 0, 2, 1].into(), true, true, at)).count();
        assert_eq!((begin(Duration::ZERO), begin(Duration::from_secs(1))), (20, 10));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| group(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
