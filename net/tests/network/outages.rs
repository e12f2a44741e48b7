//! Paths that are cut, and ends that move: the client finds its way back, to exactly the block that is wanted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::cache::Cache;
use engine::chain::{ChainId, Columns, Hash, Height, Timestamp};
use engine::clock::Clock;
use engine::lane::{Lane, LaneEnds};
use engine::source::{Source, SourceError};
use engine::store::memory::MemoryReader;
use engine::sync::Doorbell;
use mainstem_net::client::{Client, ClientConfig, Event, Lookup};
use mainstem_net::server::{NodeKeys, Parts, Server, ServerConfig};

use crate::faults::LOOPBACK;
use crate::relay::{Path, Relay, Way};
use crate::support::*;

/// Longer than any test: a connection that is over is over for another reason.
const NEVER: Duration = Duration::from_secs(600);

fn with_idle_timeout(mut config: ClientConfig, idle_timeout: Duration) -> ClientConfig {
    config.transport.idle_timeout = idle_timeout;
    config.transport.keep_alive = Some(idle_timeout / 4);
    config
}

/// Both ends of a relay, with one chain, and the first hundred blocks of it durable.
struct Line {
    main: Main,
    relay: Relay,
    world: World,
    client: Client,
    told: Told,
}

impl Line {
    fn new(idle_timeout: Duration, path: &Path) -> Self {
        let node = identity(1);
        let main = Main::start_with(&[side(1, &[&node])], 1_024, Stored::default(), patient);
        let relay = Relay::start(1, LOOPBACK, main.addr(), path).unwrap();
        let world = World::new(&[1], 100);
        let config = with_idle_timeout(client_config(relay.addr(), &node), idle_timeout);
        let (client, told) = start(config, &world);
        wait_durable(&main, 1, 100);
        wait_until("the client knows it", || client.status().chains[0].durable == Height(100));
        Self { main, relay, world, client, told }
    }

    fn make(&self, height: u64) {
        self.world.change(1, |side| side.made = height);
    }

    /// Everything up to there is durable, nothing was refused on the way, and it took so many connections.
    fn assert_arrives(&self, height: u64, connections: u64) {
        wait_durable(&self.main, 1, height);
        self.main.assert_holds(ChainId(1), height);
        assert!(!self.told.any(|event| matches!(event, Event::Refused { .. })));
        // What had arrived before the cut may be all: then the new connection comes later.
        let made = || self.client.status().connections;
        wait_until("it is connected", || made() >= connections);
        assert_eq!(made(), connections);
        wait_until("its node was asked once for each", || {
            self.world.side(1).resumed.len() as u64 == connections
        });
    }
}

/// The server would wait for longer than any test; the client's own limit is what counts.
fn patient(config: &mut ServerConfig) {
    config.transport.idle_timeout = NEVER;
}

#[test]
fn a_connection_outlives_a_partition_shorter_than_its_idle_timeout() {
    let line = Line::new(NEVER, &Path::default());
    line.relay.cut(true);
    line.make(700);
    wait_until("the client has tried again and again", || line.relay.counts(Way::Up).cut >= 8);
    assert_eq!(line.main.durable(ChainId(1)), 100);
    line.relay.cut(false);
    line.assert_arrives(700, 1);
}

#[test]
fn after_a_partition_longer_than_the_idle_timeout_a_new_connection_goes_on_at_the_next_height() {
    let line = Line::new(Duration::from_millis(600), &Path::default());
    line.relay.cut(true);
    line.make(700);
    let attempts = || line.told.count(|event| matches!(event, Event::Disconnected { .. }));
    wait_until("the client has tried to connect", || attempts() >= 3);
    assert_eq!(line.main.durable(ChainId(1)), 100);
    line.relay.cut(false);
    line.assert_arrives(700, 2);
    assert_eq!(line.world.side(1).resumed, [1, 101]);
}

#[test]
fn after_a_cut_in_the_middle_of_many_frames_it_goes_on_right_after_the_last_whole_one() {
    // Narrow, so that the cut comes in the middle: 20,000 blocks would take it more than a second.
    let path = Path { bytes_per_second: 1e6, queue: Duration::from_millis(50), ..Path::default() };
    let line = Line::new(Duration::from_millis(800), &path);
    line.make(20_000);
    wait_durable(&line.main, 1, 2_000);
    line.relay.cut(true);
    line.told.wait_for("the loss", |event| matches!(event, Event::Disconnected { .. }).then_some(()));
    let received = line.main.cache.lane(ChainId(1)).unwrap().cursors().received;
    assert!((2_000..20_000).contains(&received), "{received}");
    for way in [Way::Up, Way::Down] {
        line.relay.change(way, |path| *path = Path::default());
    }
    line.assert_arrives(20_000, 2);
    assert_eq!(line.world.side(1).resumed, [1, received + 1]);
}

#[test]
fn a_path_that_is_dead_in_one_direction_only_is_given_up() {
    for dead in [Way::Up, Way::Down] {
        let line = Line::new(Duration::from_millis(600), &Path::default());
        line.relay.change(dead, |path| path.cut = true);
        line.make(300);
        line.told.wait_for("the loss", |event| matches!(event, Event::Disconnected { .. }).then_some(()));
        line.relay.change(dead, |path| path.cut = false);
        line.assert_arrives(300, 2);
    }
}

#[test]
fn a_client_whose_nat_gives_it_another_port_keeps_its_connection() {
    let line = Line::new(NEVER, &Path::default());
    for height in (200..=600).step_by(100) {
        let address = || line.main.server.peers()[0].address;
        let before = address();
        line.relay.rebind();
        line.make(height);
        wait_durable(&line.main, 1, height);
        wait_until("the server says its new address", || address() != before);
    }
    line.assert_arrives(600, 1);
}

#[test]
fn a_server_that_goes_on_at_another_address_is_found_there_and_nothing_is_lost_or_repeated() {
    let Line { mut main, relay, world, client, told } = Line::new(NEVER, &Path::default());
    // Without a word, as when its machine is gone; the name is then made to point to another one with the same disk.
    relay.cut(true);
    main.end_persisting();
    let (stored, old) = (main.stored.clone(), main.addr());
    drop(main);
    world.change(1, |side| side.made = 700);
    let main = Main::start_with(&[side(1, &[&identity(1)])], 1_024, stored, patient);
    assert_ne!(main.addr(), old);
    relay.set_upstream(main.addr());
    relay.cut(false);
    // Its idle timeout is too long to help: the new server tells it that the old connection is gone.
    let line = Line { main, relay, world, client, told };
    line.assert_arrives(700, 2);
    assert_eq!(line.world.side(1).resumed, [1, 101]);
}

#[test]
fn a_name_that_leads_elsewhere_is_followed_when_the_old_address_falls_silent() {
    let Line { main, relay, world, client, .. } = Line::new(NEVER, &Path::default());
    drop(client);
    let elsewhere = Relay::start(2, LOOPBACK, main.addr(), &Path::default()).unwrap();
    let leads_to = Arc::new(Mutex::new(relay.addr()));
    let mut config = with_idle_timeout(client_config(relay.addr(), &identity(1)), NEVER);
    config.server = "main.example.org:9481".into();
    config.address_check_after = Duration::from_millis(200);
    config.transport.keep_alive = Some(Duration::from_millis(300));
    let current = Arc::clone(&leads_to);
    config.lookup = Lookup::new(move |_| Ok(vec![*current.lock().unwrap()]));
    world.change(1, |side| side.made = 200);
    let (client, told) = start(config, &world);
    wait_durable(&main, 1, 200);

    relay.cut(true);
    *leads_to.lock().unwrap() = elsewhere.addr();
    world.change(1, |side| side.made = 700);
    wait_durable(&main, 1, 700);
    main.assert_holds(ChainId(1), 700);
    assert_eq!(client.status().connections, 2);
    assert_eq!(world.side(1).resumed, [1, 101, 201]);
    assert!(!told.any(|event| matches!(event, Event::Refused { .. })));
}

#[test]
fn a_server_that_starts_again_at_its_address_is_found_again_over_a_path_that_loses() {
    let path = Path { loss: 0.05, ..Path::default() };
    let Line { mut main, relay, world, client, told } = Line::new(NEVER, &path);
    relay.cut(true);
    main.end_persisting();
    let (stored, addr) = (main.stored.clone(), main.addr());
    drop(main);
    world.change(1, |side| side.made = 700);
    let main = Main::start_with(&[side(1, &[&identity(1)])], 1_024, stored, |config| {
        patient(config);
        config.addr = addr;
    });
    relay.cut(false);
    let line = Line { main, relay, world, client, told };
    line.assert_arrives(700, 2);
    assert_eq!(line.world.side(1).resumed, [1, 101]);
}

#[test]
fn a_node_that_stands_by_takes_over_when_the_path_of_the_speaker_is_cut() {
    let (first, second) = (identity(1), identity(2));
    let main = Main::start_with(&[side(1, &[&first, &second])], 1_024, Stored::default(), patient);
    let relay = Relay::start(1, LOOPBACK, main.addr(), &Path::default()).unwrap();
    let world = World::new(&[1], 100);
    let config = with_idle_timeout(client_config(relay.addr(), &first), Duration::from_millis(600));
    let (client_1, told_1) = start(config, &world);
    wait_durable(&main, 1, 100);
    let world_2 = world.clone();
    let (client_2, told_2) = start(main.client(&second), &world_2);
    told_2.wait_for("standing by", |event| matches!(event, Event::Standby { .. }).then_some(()));

    relay.cut(true);
    world.change(1, |side| side.made = 300);
    wait_durable(&main, 1, 300);
    assert_eq!(main.cache.lane(ChainId(1)).unwrap().speaker(), Some(second.public()));

    // The first one is back, and stands by; it takes over when the second ends.
    relay.cut(false);
    told_1.wait_for("standing by", |event| matches!(event, Event::Standby { .. }).then_some(()));
    client_2.stop(None);
    world.change(1, |side| side.made = 500);
    wait_durable(&main, 1, 500);
    main.assert_holds(ChainId(1), 500);
    drop(client_1);
}

/// A node that knows how far its chain is, also while it stands by.
struct Tipped(Box<dyn Source>, World);

impl Source for Tipped {
    fn chains(&self) -> Vec<ChainId> {
        self.0.chains()
    }

    fn resume(&mut self, chain: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        self.0.resume(chain, next, parent)
    }

    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        self.0.read(chain, max, out)
    }

    fn tip(&mut self, chain: ChainId) -> Result<Option<Height>, SourceError> {
        Ok(Some(Height(self.1.side(chain.0).made)))
    }
}

#[test]
fn a_node_that_stands_by_takes_over_from_one_that_is_cut_off_long_before_its_connection_is_over() {
    let nodes = [identity(1), identity(2)];
    let sides = [side(1, &[&nodes[0], &nodes[1]])];
    let main = Main::start_with(&sides, 4_096, Stored::default(), |config| {
        patient(config);
        config.takeover_after = Duration::from_millis(300);
    });
    let world = World::new(&[1], 100);
    let relays = [1, 2].map(|seed| Relay::start(seed, LOOPBACK, main.addr(), &Path::default()).unwrap());
    let standing_by = |event: &Event| matches!(event, Event::Standby { .. });
    let mut clients = Vec::new();
    for (node, relay) in nodes.iter().zip(&relays) {
        let told = Told::default();
        let mut config = with_idle_timeout(client_config(relay.addr(), node), NEVER);
        told.listen(&mut config);
        let client = Client::start(config, Box::new(Tipped(world.node(), world.clone()))).unwrap();
        if clients.is_empty() {
            wait_durable(&main, 1, 100);
        } else {
            wait_until("the second stands by", || told.any(standing_by));
        }
        clients.push((client, told));
    }
    // One after the other is cut off, three times: the other one goes on, and the one that is back stands by.
    for round in 0..3 {
        let cut = round % 2;
        relays[cut].cut(true);
        let before = clients[cut].1.count(standing_by);
        let height = 100 + 200 * (round as u64 + 1);
        world.change(1, |side| side.made = height);
        wait_durable(&main, 1, height);
        main.assert_holds(ChainId(1), height);
        relays[cut].cut(false);
        wait_until("the one that is back stands by", || clients[cut].1.count(standing_by) > before);
    }
    for (client, _) in &clients {
        assert_eq!(client.status().connections, 1, "nobody had to connect again");
    }
}

/// A wall clock that is somewhere else whenever somebody looks, backwards too, over a hundred years.
#[derive(Debug)]
struct Jumping(Instant, AtomicU64);

impl Clock for Jumping {
    fn wall(&self) -> Timestamp {
        let looks = self.1.fetch_add(1, Ordering::Relaxed);
        Timestamp::from_millis(looks.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 3_000_000_000_000)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

#[test]
fn a_wall_clock_that_jumps_changes_nothing() {
    let node = identity(1);
    let sides = [side(1, &[&node])];
    let (cache, mut ends) = (Cache::default(), Vec::new());
    let (doorbell, _waiter) = Doorbell::new();
    for side in &sides {
        let (lane, end) = Lane::new(side, Height(0), None, 4_096, doorbell.clone());
        cache.insert(lane);
        ends.push(end);
    }
    let clock = Arc::new(Jumping(Instant::now(), AtomicU64::new(0)));
    let parts = Parts {
        cache: cache.clone(),
        clock: clock.clone(),
        main_chain: MAIN,
        genesis_hash: GENESIS,
        keys: NodeKeys::new(&sides),
        head: None,
        blocks: Arc::new(MemoryReader::default()),
    };
    let mut config = ServerConfig::new(LOOPBACK, server_identity());
    patient(&mut config);
    let server = Server::start(config, parts).unwrap();
    let path = Path { loss: 0.05, delay: Duration::from_millis(5), ..Path::default() };
    let relay = Relay::start(1, LOOPBACK, server.local_addr(), &path).unwrap();
    let world = World::new(&[1], 0);
    let mut config = client_config(relay.addr(), &node);
    config.transport.idle_timeout = NEVER;
    let (client, told) = start(config, &world);
    let received = || cache.lane(ChainId(1)).unwrap().cursors().received;
    for height in (500..=4_000).step_by(500) {
        world.change(1, |side| side.made = height);
        wait_until("it is received", || received() == height);
        assert_eq!(server.peers().len(), 1, "whoever looks at peers looks at the clock");
    }
    assert!(clock.1.load(Ordering::Relaxed) > 0, "the clock was looked at");
    assert_eq!(client.status().connections, 1);
    assert!(!told.any(|event| matches!(event, Event::Refused { .. })));
    let [LaneEnds { outlet, .. }] = &mut ends[..] else { panic!("one chain") };
    let mut height = 0;
    outlet.take(4_000, |slot| {
        height += 1;
        assert_eq!(slot.hash, hash(ChainId(1), height, 0));
    });
}
