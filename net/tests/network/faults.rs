//! Paths that lose, delay, reorder, repeat and spoil: blocks arrive all the same, over one connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use engine::chain::{ChainId, Height};
use mainstem_net::client::Event;

use crate::relay::{Counts, Fate, PAYLOAD_OF_1280, Path, Relay, Way};
use crate::support::*;

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const CHAINS: [u32; 3] = [1, 2, 3];

/// Of each chain; 0.6 MB in all, some 500 datagrams.
const BLOCKS: u64 = 3_000;

/// Sends all blocks over a path that is the same both ways, and sees that its faults happened and the blocks arrived.
fn arrive(seed: u64, path: &Path) -> [Counts; 2] {
    let seed = early(seed, path);
    let node = identity(1);
    let sides = CHAINS.map(|id| side(id, &[&node]));
    let main = Main::start(&sides, 1_024);
    let relay = Relay::start(seed, LOOPBACK, main.addr(), path).unwrap();
    let world = World::new(&CHAINS, BLOCKS);
    let mut config = client_config(relay.addr(), &node);
    config.data_streams = 2;
    config.batch_bytes = 8 << 10;
    let (client, told) = start(config, &world);
    for chain in CHAINS {
        wait_durable(&main, chain, BLOCKS);
    }
    wait_until("the client knows it", || {
        client.status().chains.iter().all(|chain| chain.durable == Height(BLOCKS))
    });
    for chain in CHAINS {
        main.assert_holds(ChainId(chain), BLOCKS);
        assert_eq!(world.side(chain).resumed, [1], "asked once");
    }
    let status = client.status();
    assert_eq!(status.blocks, CHAINS.len() as u64 * BLOCKS, "nothing was sent twice");
    assert_eq!(status.connections, 1);
    assert!(!told.any(|event| matches!(event, Event::Refused { .. })));
    let counts = [relay.counts(Way::Up), relay.counts(Way::Down)];
    for way in counts {
        let happened = [way.lost, way.duplicated, way.corrupted, way.held];
        for (happened, probability) in happened.iter().zip(probabilities(path)) {
            assert_eq!(*happened > 0, probability > 0.0, "{path:?}: {counts:?}");
        }
    }
    counts
}

/// The first seed from `seed` on that brings each fault of the path among the first twenty datagrams either way: how
/// many there are of them depends on the machine.
fn early(seed: u64, path: &Path) -> u64 {
    let brings = |seed: &u64| {
        [Way::Up, Way::Down].into_iter().all(|way| {
            let mut seen = [false; 4];
            for number in 0..20 {
                let fate = Fate::of(*seed, way, number, path);
                let now = [fate.lost, fate.duplicated, fate.corrupted.is_some(), fate.held];
                // What is lost does not come twice.
                let counts = |place: usize| now[place] && (place == 0 || !fate.lost);
                (0..4).for_each(|place| seen[place] |= counts(place));
            }
            seen.iter().zip(probabilities(path)).all(|(seen, probability)| *seen || probability == 0.0)
        })
    };
    (seed..seed + 100_000).find(brings).unwrap()
}

fn probabilities(path: &Path) -> [f64; 4] {
    [path.loss, path.duplicate, path.corrupt, path.reorder]
}

#[test]
fn every_block_arrives_once_and_in_order_where_one_in_a_hundred_is_lost() {
    arrive(1, &Path { loss: 0.01, ..Path::default() });
}

#[test]
fn every_block_arrives_once_and_in_order_where_one_in_twenty_is_lost() {
    arrive(2, &Path { loss: 0.05, ..Path::default() });
}

#[test]
fn every_block_arrives_once_and_in_order_over_50_ms_of_delay() {
    arrive(3, &Path { delay: Duration::from_millis(50), ..Path::default() });
}

#[test]
fn every_block_arrives_once_and_in_order_over_200_ms_of_delay() {
    // One round trip is nearly what the first attempt to connect is given: if it fails, the next one has more time.
    arrive(4, &Path { delay: Duration::from_millis(200), ..Path::default() });
}

#[test]
fn every_block_arrives_once_and_in_order_where_datagrams_overtake_each_other() {
    let held = Duration::from_millis(8);
    arrive(5, &Path { reorder: 0.1, held, ..Path::default() });
}

#[test]
fn every_block_arrives_once_and_in_order_where_datagrams_come_twice() {
    arrive(6, &Path { duplicate: 0.2, ..Path::default() });
}

#[test]
fn every_block_arrives_once_and_in_order_over_a_path_mtu_of_1280() {
    let [up, _] = arrive(7, &Path { max_payload: PAYLOAD_OF_1280, ..Path::default() });
    assert!(up.too_long > 0, "longer datagrams were tried: {up:?}");
}

#[test]
fn every_block_arrives_once_and_in_order_where_bits_are_changed() {
    arrive(8, &Path { corrupt: 0.05, ..Path::default() });
}

#[test]
fn every_block_arrives_once_and_in_order_over_a_narrow_path() {
    let [up, _] =
        arrive(9, &Path { bytes_per_second: 1e6, queue: Duration::from_millis(20), ..Path::default() });
    assert!(up.overflowed > 0, "its queue was full: {up:?}");
}

#[test]
fn every_block_arrives_once_and_in_order_when_all_of_it_happens_together() {
    let path = Path {
        loss: 0.02,
        duplicate: 0.05,
        corrupt: 0.01,
        reorder: 0.05,
        held: Duration::from_millis(15),
        delay: Duration::from_millis(25),
        jitter: Duration::from_millis(10),
        max_payload: PAYLOAD_OF_1280,
        bytes_per_second: 2e6,
        queue: Duration::from_millis(50),
        cut: false,
    };
    let [up, _] = arrive(10, &path);
    assert!(up.too_long > 0, "longer datagrams were tried: {up:?}");
}
