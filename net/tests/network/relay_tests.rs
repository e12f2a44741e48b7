//! The relay does to datagrams what it says, and nothing else.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::faults::LOOPBACK;
use crate::relay::{Counts, Fate, Path, Relay, Way};

#[test]
fn the_same_seed_gives_every_datagram_the_same_fate() {
    let path = Path { loss: 0.05, duplicate: 0.1, corrupt: 0.2, reorder: 0.3, ..Path::default() };
    let fates = |seed, way| (0..20_000).map(|n| Fate::of(seed, way, n, &path)).collect::<Vec<_>>();
    let up = fates(7, Way::Up);
    assert_eq!(up, fates(7, Way::Up));
    for other in [fates(7, Way::Down), fates(8, Way::Up)] {
        let same = up.iter().zip(&other).filter(|(a, b)| (a.lost, a.held) == (b.lost, b.held)).count();
        assert!(same < 15_000, "{same} of 20000 fates are the same in another direction or for another seed");
    }
    let share = |of: fn(&Fate) -> bool| up.iter().filter(|fate| of(fate)).count() as f64 / 20_000.0;
    let shares = [
        (share(|fate| fate.lost), path.loss),
        (share(|fate| fate.duplicated), path.duplicate),
        (share(|fate| fate.corrupted.is_some()), path.corrupt),
        (share(|fate| fate.held), path.reorder),
    ];
    for (have, want) in shares {
        assert!((have - want).abs() < 0.02, "{have} instead of {want}");
    }
}

#[test]
fn one_fault_of_a_path_does_not_move_the_others() {
    let one = Path { loss: 0.05, ..Path::default() };
    let both = Path { corrupt: 0.5, duplicate: 0.5, ..one.clone() };
    for number in 0..1_000 {
        let lost = |path| Fate::of(1, Way::Up, number, path).lost;
        assert_eq!(lost(&one), lost(&both), "datagram {number}");
    }
}

/// Two sockets with a relay between them.
struct Ends {
    relay: Relay,
    client: UdpSocket,
    server: UdpSocket,
}

impl Ends {
    fn new(path: &Path) -> Self {
        let server = bound();
        let relay = Relay::start(1, LOOPBACK, server.local_addr().unwrap(), path).unwrap();
        Self { relay, client: bound(), server }
    }

    /// Sends `count` datagrams that begin with their number; the numbers that came, in order, until one comes whose
    /// number is `last`.
    fn send(&self, count: u32, length: usize, last: u32) -> Vec<u32> {
        for number in 0..count {
            let mut datagram = vec![0; length];
            datagram[..4].copy_from_slice(&number.to_le_bytes());
            self.client.send_to(&datagram, self.relay.addr()).unwrap();
        }
        let mut came = Vec::new();
        while !came.contains(&last) {
            came.push(self.receive().0);
        }
        came
    }

    fn receive(&self) -> (u32, SocketAddr) {
        let mut buffer = [0; 2_000];
        let (_, from) = self.server.recv_from(&mut buffer).unwrap();
        (u32::from_le_bytes(*buffer.first_chunk().unwrap()), from)
    }
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

#[test]
fn a_path_without_faults_passes_everything_in_order_both_ways() {
    let jitter = Duration::from_millis(5);
    for path in [Path::default(), Path { jitter, ..Path::default() }] {
        let ends = Ends::new(&path);
        assert_eq!(ends.send(200, 100, 199), (0..200).collect::<Vec<_>>());
        assert_eq!(ends.relay.counts(Way::Up), Counts { came: 200, went: 200, ..Counts::default() });

        ends.client.send_to(&[0; 4], ends.relay.addr()).unwrap();
        let (_, seen_as) = ends.receive();
        assert_ne!(seen_as, ends.client.local_addr().unwrap());
        ends.server.send_to(b"back", seen_as).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(ends.client.recv_from(&mut buffer).unwrap(), (4, ends.relay.addr()));
    }
}

#[test]
fn datagrams_that_are_held_back_are_overtaken() {
    let held = Duration::from_millis(20);
    let ends = Ends::new(&Path { reorder: 0.1, held, ..Path::default() });
    let last_held = (0..100).filter(|n| Fate::of(1, Way::Up, *n, &reordering()).held).max().unwrap();
    let came = ends.send(100, 100, last_held as u32);
    assert!(!came.is_sorted(), "{came:?}");
    assert_eq!(HashSet::<&u32>::from_iter(&came).len(), came.len(), "none came twice");
}

fn reordering() -> Path {
    Path { reorder: 0.1, ..Path::default() }
}

#[test]
fn what_is_longer_than_the_path_carries_vanishes() {
    let ends = Ends::new(&Path { max_payload: 1_000, ..Path::default() });
    ends.client.send_to(&[1; 1_001], ends.relay.addr()).unwrap();
    assert_eq!(ends.send(1, 1_000, 0), [0]);
    let counts = ends.relay.counts(Way::Up);
    assert_eq!(counts, Counts { came: 2, too_long: 1, went: 1, ..Counts::default() });
}

#[test]
fn a_cut_path_passes_nothing_until_it_heals_and_a_rebound_one_has_new_ports() {
    let delay = Duration::from_millis(20);
    let ends = Ends::new(&Path { delay, ..Path::default() });
    ends.client.send_to(&7_u32.to_le_bytes(), ends.relay.addr()).unwrap();
    let (_, seen_as) = ends.receive();
    ends.relay.cut(true);
    ends.client.send_to(&8_u32.to_le_bytes(), ends.relay.addr()).unwrap();
    crate::support::wait_until("it is cut", || ends.relay.counts(Way::Up).cut == 1);
    ends.relay.cut(false);
    ends.relay.rebind();
    ends.client.send_to(&9_u32.to_le_bytes(), ends.relay.addr()).unwrap();
    let (number, now_seen_as) = ends.receive();
    assert_eq!(number, 9);
    assert_ne!(now_seen_as, seen_as);
}

#[test]
fn a_narrow_path_takes_its_time_and_drops_what_finds_no_room() {
    // 100 datagrams of 100 bytes take 0.1 s at this rate; a quarter of them may wait.
    let queue = Duration::from_millis(25);
    let ends = Ends::new(&Path { bytes_per_second: 100_000.0, queue, ..Path::default() });
    let began = std::time::Instant::now();
    let came = ends.send(100, 100, 10);
    assert!(began.elapsed() >= Duration::from_millis(9), "ten datagrams before it, a millisecond each");
    assert!(came.is_sorted());
    crate::support::wait_until("all have gone their way", || {
        let counts = ends.relay.counts(Way::Up);
        counts.came == 100 && counts.went + counts.overflowed == 100
    });
}
