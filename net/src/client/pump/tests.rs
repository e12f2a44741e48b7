use std::future::Future as _;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use engine::chain::{ChainId, Timestamp};
use engine::lane::Position;
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::client::ClientConfig;
use crate::client::shared::Bell;
use crate::control::{ClientMessage, Tip};
use crate::frame::FrameBuffer;
use crate::identity::Identity;

const CHAIN: ChainId = ChainId(7);

/// What a source has, and what it was asked.
#[derive(Default)]
struct Node {
    blocks: u64,
    fails: bool,
    asked: u64,
    /// Frames that were under way when it was asked how far it is.
    frames: Option<mpsc::Receiver<FrameBuffer>>,
    seen: u64,
}

struct Fake(Arc<Mutex<Node>>);

impl Source for Fake {
    fn chains(&self) -> Vec<ChainId> {
        vec![CHAIN]
    }

    fn resume(&mut self, _: ChainId, _: Height, _: Option<Hash>) -> Result<(), SourceError> {
        Ok(())
    }

    fn read(&mut self, _: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let mut node = self.0.lock().unwrap();
        if node.fails {
            return Err(SourceError::Later("the node is away".into()));
        }
        for _ in 0..std::mem::take(&mut node.blocks).min(max as u64) {
            out.push(Hash([1; 32]), Hash([2; 32]), Timestamp::from_millis(3));
        }
        Ok(Hash::ZERO)
    }

    fn tip(&mut self, _: ChainId) -> Result<Option<Height>, SourceError> {
        let mut node = self.0.lock().unwrap();
        node.asked += 1;
        node.seen = node.frames.as_ref().map_or(0, |frames| frames.len() as u64);
        Ok(Some(Height(99)))
    }
}

fn entry(received: u64) -> Entry {
    let position =
        Position { durable: Height(0), received: Height(received), hash: None, limit: Height(1_000) };
    Entry { chain: CHAIN, state: EntryState::Speaker(position) }
}

/// A pump that has just been made the speaker.
fn speaker(node: Node) -> (Pump, Arc<Mutex<Node>>) {
    let node = Arc::new(Mutex::new(node));
    let identity = Identity::generate().unwrap();
    let mut config = ClientConfig::new("main:1", identity.public(), identity);
    // Nothing goes by itself.
    config.flush_after = Duration::from_secs(3_600);
    let shared = Shared::new(config, vec![CHAIN], Bell::Task(Notify::new())).unwrap();
    let mut pump = Pump::new(Arc::new(shared), Box::new(Fake(Arc::clone(&node))));
    let (sender, frames) = mpsc::channel(2);
    node.lock().unwrap().frames = Some(frames);
    pump.shared.outbox.begin(1);
    pump.shared.chains[0].set_credit(Height(0), Height(1_000));
    pump.begin(Welcomed { connection: 1, chains: vec![entry(0)], streams: vec![sender] });
    (pump, node)
}

/// One turn in which all that waits for its time is due.
fn turn(pump: &mut Pump) {
    let now = Instant::now();
    let flow = &mut pump.flows[0];
    flow.poll_at = now;
    if let Phase::Seek { at } | Phase::Resume { at } = &mut flow.phase {
        *at = now;
    }
    pump.fill(0, &mut Turn { busy: false, next: now });
}

fn said(pump: &Pump) -> Vec<ClientMessage> {
    match pin!(pump.shared.outbox.take()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(messages) => messages,
        Poll::Pending => Vec::new(),
    }
}

#[test]
fn a_source_that_has_just_had_no_more_is_not_asked_how_far_it_is() {
    let (mut pump, node) = speaker(Node { blocks: 3, ..Node::default() });
    // Sought, three blocks, none.
    for _ in 0..3 {
        turn(&mut pump);
    }
    assert!(pump.flows[0].exhausted.is_some());
    // As of this moment, however long that took.
    pump.flows[0].exhausted = Some(Instant::now() + Duration::from_secs(3_600));
    pump.tell_tips();
    assert_eq!(node.lock().unwrap().asked, 0);
    assert_eq!(said(&pump), [ClientMessage::Tips(vec![Tip { chain: CHAIN, height: Height(3) }])]);

    node.lock().unwrap().blocks = 2;
    turn(&mut pump);
    pump.rounds = Rounds::new(Instant::now());
    pump.tell_tips();
    assert_eq!(node.lock().unwrap().asked, 1, "it gave some, and may have more");
}

#[test]
fn what_was_read_goes_before_a_source_is_asked_how_far_it_is() {
    let (mut pump, node) = speaker(Node { blocks: 3, ..Node::default() });
    turn(&mut pump);
    turn(&mut pump);
    assert!(pump.lanes[0].since().is_some(), "a frame has been begun");
    pump.tell_tips();
    let node = node.lock().unwrap();
    assert_eq!((node.asked, node.seen), (1, 1));
}

#[test]
fn what_was_refused_before_a_chain_was_left_changes_nothing() {
    let (mut pump, node) = speaker(Node { fails: true, ..Node::default() });
    // Sought, failed, sought, failed again.
    for _ in 0..4 {
        turn(&mut pump);
    }
    assert_eq!(said(&pump), [ClientMessage::Leave(CHAIN)]);
    let refused = || News::Refused { code: RefusalCode::NotSpeaker, text: "late".into(), answered: false };
    let state = |pump: &Pump| pump.shared.status().chains[0].state;
    node.lock().unwrap().fails = false;
    pump.shared.post(0, refused());
    pump.hear();
    assert_eq!(state(&pump), ChainState::Standby);
    // It asks for its place again, and what is late may come even then.
    turn(&mut pump);
    assert_eq!(said(&pump), [ClientMessage::Resume(Resume { chain: CHAIN, frames: 0 })]);
    pump.shared.post(0, refused());
    pump.hear();
    assert!(matches!(pump.flows[0].phase, Phase::Waiting));
    // What comes after the answer counts, also when both come at once.
    pump.shared.post(0, News::Position(entry(0)));
    pump.shared.post(0, refused());
    pump.hear();
    assert_eq!(state(&pump), ChainState::Refused(RefusalCode::NotSpeaker));
    assert!(matches!(pump.flows[0].phase, Phase::Resume { .. }));
}

#[test]
fn a_main_chain_that_does_not_read_makes_nothing_pile_up() {
    let (pump, _) = speaker(Node::default());
    let outbox = &pump.shared.outbox;
    for frames in 0..1_000 {
        outbox.leave(1, CHAIN);
        outbox.resume(1, Resume { chain: CHAIN, frames });
        outbox.follow(1, Height(frames));
    }
    assert_eq!(
        said(&pump),
        [ClientMessage::Resume(Resume { chain: CHAIN, frames: 999 }), ClientMessage::Follow(Height(999))]
    );
}
