//! Paths that are cut, and ends that move: the client finds its way back, to exactly the block that is wanted.

use std::time::Duration;

use engine::chain::{ChainId, Height};
use mainstem_net::client::{Client, ClientConfig, Event};

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
fn patient(config: &mut mainstem_net::server::ServerConfig) {
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
        line.relay.rebind();
        line.make(height);
        wait_durable(&line.main, 1, height);
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
