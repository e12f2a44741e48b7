//! A server, an honest node that never stops, and room for hostile ones.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::chain::ChainId;
use mainstem_net::control::RefusalCode;
use mainstem_net::endpoint::{self, Limits};
use mainstem_net::reactor::{Handle, Reactor};
use mainstem_net::server::{Counters, ServerConfig};
use quinn::ConnectionError;

use crate::by_hand::Raw;
use crate::support::*;

/// The chain of the honest node, and the seed of its key.
pub(crate) const HONEST: u8 = 100;

/// Seeds of the keys that are registered for the chains 1 to 4.
pub(crate) const NODES: [u8; 2] = [1, 2];

/// Blocks that the honest node makes at a time: when all are durable, the next ones.
const ROUND: u64 = 50;

pub(crate) struct Scene {
    pub(crate) main: Main,
    pub(crate) reactor: Reactor,
    honest: Honest,
    panics: usize,
}

struct Honest {
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Scene {
    /// Chain 4 is never durable. There are chains 1 to 4 of the nodes 1 and 2, and the honest one.
    pub(crate) fn new(set: impl FnOnce(&mut ServerConfig)) -> Self {
        let panics = panics();
        let nodes = NODES.map(identity);
        let mut sides: Vec<_> = (1..=4).map(|id| side(id, &[&nodes[0], &nodes[1]])).collect();
        sides.push(side(HONEST.into(), &[&identity(HONEST)]));
        let main = Main::start_with(&sides, 64, Stored::default(), set);
        main.hold(ChainId(4));
        let honest = Honest::start(&main);
        let scene = Self { main, reactor: Reactor::spawn_thread("hostile").unwrap(), honest, panics };
        scene.goes_on();
        scene
    }

    /// Three rounds more of the honest node.
    pub(crate) fn goes_on(&self) {
        let rounds = self.rounds();
        wait_until("the honest chain goes on", || self.rounds() >= rounds + 3);
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.honest.rounds.load(Ordering::Relaxed)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.main.server.peer_list().counters()
    }

    /// Runs what a hostile peer does; it takes a minute at most.
    pub(crate) fn hostile<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let limit = self.reactor.handle();
        self.reactor
            .handle()
            .block_on(async move { limit.timeout(Duration::from_secs(60), work).await })
            .expect("its assertions hold")
            .expect("it does not hang")
    }

    /// Connects with the key `seed` and does `what` on that connection.
    pub(crate) fn peer<F>(&self, seed: u8, what: impl FnOnce(Raw) -> F + Send + 'static) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let ground = self.ground();
        self.hostile(async move { what(ground.connect(seed).await.unwrap()).await })
    }

    pub(crate) fn ground(&self) -> Ground {
        Ground { handle: self.reactor.handle(), server: self.main.addr() }
    }

    /// All is as it was before the hostile peers came. See the module.
    pub(crate) fn calm(mut self) {
        self.goes_on();
        wait_until("the server has taken everything back", || {
            let counters = self.counters();
            let speakers = (1..=4).any(|id| self.main.cache.lane(ChainId(id)).unwrap().speaker().is_some());
            counters.sessions == 1
                && counters.handshakes == 0
                && counters.frame_memory_bytes == 0
                && !speakers
                && self.main.server.peers().len() == 1
        });
        let counters = self.counters();
        assert_eq!(counters.sessions_opened, counters.sessions_closed + 1, "{counters:?}");
        assert_eq!(
            counters.handshakes_started,
            counters.handshakes_completed + counters.handshakes_failed,
            "{counters:?}"
        );
        self.goes_on();
        self.honest.stop.store(true, Ordering::Relaxed);
        let made = self.honest.thread.take().unwrap().join().unwrap();
        self.main.assert_holds(ChainId(HONEST.into()), made);
        assert_eq!(panics(), self.panics, "no task of a server panicked");
    }
}

impl Honest {
    fn start(main: &Main) -> Self {
        let (rounds, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let world = World::new(&[HONEST.into()], 0);
        let mut config = main.client(&identity(HONEST));
        config.poll_max = Duration::from_millis(10);
        let stored = Arc::clone(&main.stored);
        let (client, _) = start(config, &world);
        let thread = std::thread::spawn({
            let (rounds, stop) = (Arc::clone(&rounds), Arc::clone(&stop));
            move || {
                let mut made = 0;
                while !stop.load(Ordering::Relaxed) {
                    made += ROUND;
                    world.change(HONEST.into(), |side| side.made = made);
                    wait_until("the honest chain is durable", || {
                        stored.lock().unwrap()[&ChainId(HONEST.into())].len() as u64 >= made
                    });
                    rounds.fetch_add(1, Ordering::Relaxed);
                    // It is there all the time; it need not take all of it.
                    std::thread::sleep(Duration::from_millis(5));
                }
                drop(client);
                made
            }
        });
        Self { rounds, stop, thread: Some(thread) }
    }
}

/// Where hostile peers come from.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) handle: Handle,
    pub(crate) server: SocketAddr,
}

impl Ground {
    /// A connection with the key `seed`, small windows, and its control stream open.
    pub(crate) async fn connect(&self, seed: u8) -> Result<Raw, ConnectionError> {
        let limits = Limits { stream_window_bytes: 16 << 10, ..Limits::default() };
        let quic = endpoint::client_config(&identity(seed), server_identity().public(), &limits).unwrap();
        Raw::connect(self.handle.clone(), self.server, quic).await
    }
}

/// The code that the server closed a connection with, and its words.
pub(crate) fn closed(error: &ConnectionError) -> (RefusalCode, String) {
    let ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
    let code = RefusalCode::from_number(close.error_code.into_inner()).expect("one of the codes");
    (code, String::from_utf8(close.reason.to_vec()).unwrap())
}

/// How many threads of servers have panicked, in this process.
fn panics() -> usize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("ingest-")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
    });
    PANICS.load(Ordering::Relaxed)
}
