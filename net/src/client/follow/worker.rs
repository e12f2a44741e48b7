//! The follower: verifies blocks and gives them to the sink, on a thread of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::ChainProof;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::verify::Verifier;
use super::{Contradiction, FollowedBlock, MainSink, ROOM};
use crate::client::Event;
use crate::client::shared::Shared;

/// While blocks keep coming, the sink settles what it has this often.
const SETTLE_AFTER: Duration = Duration::from_millis(100);

/// The link's way to the follower. The follower ends when it is dropped.
#[derive(Debug)]
pub(in crate::client) struct Feed {
    orders: mpsc::UnboundedSender<Order>,
    pub(super) room: Arc<Semaphore>,
}

#[derive(Debug)]
enum Order {
    Begin(Box<Begin>),
    Block(Box<Incoming>),
}

/// A stream of main blocks is about to begin: on a new connection, or anew.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) main_chain: ChainId,
    pub(super) genesis_hash: Hash,
    /// The newest durable block that the main chain says it has.
    pub(super) head: Option<MainHeader>,
    /// The chains of the session, each with whether the main chain serves it.
    pub(super) chains: Vec<(ChainId, bool)>,
    /// Is told the height that is wanted next.
    pub(super) answer: oneshot::Sender<Result<Option<Height>, Failure>>,
    /// Is told what goes wrong later; then the blocks that still come are ignored.
    pub(super) failed: oneshot::Sender<Failure>,
}

/// A block as it came, with the room that it takes.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) header: MainHeader,
    pub(super) proofs: Vec<ChainProof>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// Why blocks are not followed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The sink cannot keep them now.
    Sink(String),
    /// The sink wants nothing of this main chain.
    Stranger(String),
    /// The main chain says what cannot be.
    Contradiction(Arc<Contradiction>),
}

impl Feed {
    /// `None` when the follower is gone.
    pub(super) fn begin(&self, begin: Begin) -> Option<()> {
        self.orders.send(Order::Begin(Box::new(begin))).ok()
    }

    /// `None` when the follower is gone.
    pub(super) fn give(&self, block: Incoming) -> Option<()> {
        self.orders.send(Order::Block(Box::new(block))).ok()
    }
}

/// Starts the follower of a client.
pub(in crate::client) fn start(
    shared: &Arc<Shared>,
    sink: Arc<dyn MainSink>,
) -> io::Result<(Feed, JoinHandle<()>)> {
    let (orders, received) = mpsc::unbounded_channel();
    let feed = Feed { orders, room: Arc::new(Semaphore::new(ROOM)) };
    let worker = Worker { shared: Arc::clone(shared), sink, verifier: None, stream: None, taken: None };
    let thread = std::thread::Builder::new().name("follower".into()).spawn(move || {
        let shared = Arc::clone(&worker.shared);
        // Whatever it left half-way is gone with it; the link sees that nobody listens any more.
        if catch_unwind(AssertUnwindSafe(|| worker.run(received))).is_err() {
            tracing::error!("the sink of main blocks panicked");
            shared.change_follow(|follow| follow.error = Some("the sink of main blocks panicked".into()));
        }
    })?;
    Ok((feed, thread))
}

struct Worker {
    shared: Arc<Shared>,
    sink: Arc<dyn MainSink>,
    /// What was followed last, also when its stream is over.
    verifier: Option<Verifier>,
    /// Who is told when the stream that runs cannot go on; none without one.
    stream: Option<oneshot::Sender<Failure>>,
    /// Taken and not settled yet: the newest one, and how many.
    taken: Option<(MainHeader, u64)>,
}

impl Worker {
    fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(mut order) = orders.blocking_recv() {
            let since = Instant::now();
            loop {
                match order {
                    Order::Begin(begin) => self.begin(*begin),
                    Order::Block(block) => self.block(*block),
                }
                if since.elapsed() >= SETTLE_AFTER {
                    break;
                }
                let Ok(next) = orders.try_recv() else { break };
                order = next;
            }
            self.settle();
        }
    }

    fn begin(&mut self, begin: Begin) {
        // What it has to say of the stream before, nobody waits for any more.
        self.settle();
        self.stream = None;
        let answer = self.open(&begin);
        let wanted = answer.is_ok();
        if begin.answer.send(answer).is_ok() && wanted {
            self.stream = Some(begin.failed);
        }
    }

    fn open(&mut self, begin: &Begin) -> Result<Option<Height>, Failure> {
        let main = (begin.main_chain, begin.genesis_hash);
        self.sink.meet(main.0, main.1).map_err(Failure::Stranger)?;
        let next = self.sink.next();
        let known = |&(chain, served)| (chain, served, self.sink.indexed(chain));
        let chains = begin.chains.iter().map(known);
        let mut verifier = Verifier::new(main, next, self.sink.newest(), chains);
        if let Some(earlier) = &self.verifier {
            verifier.go_on(earlier);
        }
        let checked = verifier.check_head(begin.head.as_ref());
        self.verifier = Some(verifier);
        checked.map_err(|found| self.contradicted(found))?;
        Ok(next)
    }

    fn block(&mut self, block: Incoming) {
        if self.stream.is_none() {
            return;
        }
        if let Err(failure) = self.take(block) {
            self.fail(failure);
        }
    }

    fn take(&mut self, block: Incoming) -> Result<(), Failure> {
        let Some(verifier) = &mut self.verifier else { return Ok(()) };
        // The room is given back when the sink has taken it.
        let Incoming { header, proofs, _room } = block;
        let missing = match verifier.check(&header, &proofs) {
            Ok(missing) => missing,
            Err(found) => return Err(self.contradicted(found)),
        };
        if let Some((first, last)) = missing {
            self.shared.change_follow(|follow| follow.pruned = Some((first, last)));
            self.shared.tell(Event::Pruned { first, last });
        }
        self.sink.take(FollowedBlock { header, chains: proofs }).map_err(Failure::Sink)?;
        self.taken = Some((header, self.taken.map_or(0, |(_, count)| count) + 1));
        Ok(())
    }

    fn settle(&mut self) {
        let Some((header, count)) = self.taken.take() else { return };
        match self.sink.settle() {
            Ok(()) => self.shared.change_follow(|follow| {
                follow.newest = Some(header);
                follow.blocks += count;
                follow.error = None;
            }),
            Err(error) => self.fail(Failure::Sink(error)),
        }
    }

    fn fail(&mut self, failure: Failure) {
        if let Failure::Sink(_) = failure {
            // The sink says where it is.
            self.verifier = None;
            // What it had taken before and not settled may be lost with it.
            self.taken = None;
        }
        if let Some(stream) = self.stream.take() {
            // The connection may be gone, and with it the question.
            let _ = stream.send(failure);
        }
    }

    fn contradicted(&self, found: Box<Contradiction>) -> Failure {
        let found: Arc<Contradiction> = Arc::new(*found);
        self.sink.contradicted(&found);
        self.shared.change_follow(|follow| follow.contradiction = Some(Arc::clone(&found)));
        self.shared.tell(Event::Contradicted(Arc::clone(&found)));
        Failure::Contradiction(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Notify;

    use super::*;
    use crate::client::ClientConfig;
    use crate::client::shared::Bell;
    use crate::identity::Identity;

    /// Takes one block, and then none.
    #[derive(Debug, Default)]
    struct Lossy(Mutex<u64>);

    impl MainSink for Lossy {
        fn next(&self) -> Option<Height> {
            None
        }

        fn take(&self, _: FollowedBlock) -> Result<(), String> {
            let mut taken = self.0.lock().unwrap();
            *taken += 1;
            if *taken == 1 { Ok(()) } else { Err("no room".into()) }
        }
    }

    #[test]
    fn what_a_sink_had_taken_before_it_failed_is_not_shown_as_kept() {
        let sink: Arc<dyn MainSink> = Arc::new(Lossy::default());
        let identity = Identity::generate().unwrap();
        let mut config = ClientConfig::new("main:1", identity.public(), identity);
        config.follow = Some(Arc::clone(&sink));
        let shared = Arc::new(Shared::new(config, vec![ChainId(1)], Bell::Task(Notify::new())).unwrap());
        let mut worker = Worker { shared, sink, verifier: None, stream: None, taken: None };
        let (answer, _asked) = oneshot::channel();
        let (failed, mut failure) = oneshot::channel();
        let (main_chain, genesis_hash) = (ChainId(100), Hash([7; 32]));
        worker.begin(Begin { main_chain, genesis_hash, head: None, chains: Vec::new(), answer, failed });
        let header = |height, parent| MainHeader {
            version: 1,
            chain_id: main_chain,
            height: Height(height),
            time: engine::chain::Timestamp::from_millis(height),
            parent,
            side_root: Hash::ZERO,
            chain_count: 0,
            leaf_count: 0,
            ops_root: Hash::ZERO,
            state_root: Hash::ZERO,
            history_root: Hash::ZERO,
            aelf_root: Hash::ZERO,
        };
        let first = header(7, Hash::ZERO);
        let room = Arc::new(Semaphore::new(2));
        for header in [first, header(8, first.hash())] {
            let room = Arc::clone(&room).try_acquire_owned().unwrap();
            worker.block(Incoming { header, proofs: Vec::new(), _room: room });
        }
        assert!(matches!(failure.try_recv(), Ok(Failure::Sink(_))));
        worker.settle();
        let follow = worker.shared.status().follow.unwrap();
        assert_eq!((follow.newest, follow.blocks), (None, 0));
    }
}
