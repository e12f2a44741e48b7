//! Questions of a main chain to the nodes of its side chains.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use engine::chain::{ChainId, Height, NodeKey};
use engine::lane::Position;
use engine::source::{Answer, Answers, NoAnswer, Question};
use mainstem_net::control::{ClientMessage, Entry, EntryState, Message, ServerMessage, Welcome, receive};
use mainstem_net::endpoint::{self, Bind, Limits};
use mainstem_net::question::{MAX_QUESTIONS, encode_question};
use mainstem_net::reactor::{Handle, Reactor};
use mainstem_net::server::{Questions, Unanswered};
use quinn::{Connection, SendStream};

use crate::support::*;

/// Answers by the first byte of the id.
#[derive(Default)]
struct Oracle {
    asked: AtomicUsize,
    /// While it is closed, [`WAITS`] is not answered.
    open: Mutex<bool>,
    opened: Condvar,
}

const UNKNOWN: u8 = 1;
const NOT_YET: u8 = 2;
const FAILED: u8 = 3;
const PANICS: u8 = 4;
const WAITS: u8 = 5;
const TOO_LONG: u8 = 6;
const OTHER: u8 = 7;

impl Answers for Oracle {
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match question.id()[0] {
            UNKNOWN => Err(NoAnswer::Unknown),
            NOT_YET => Err(NoAnswer::NotYet("3 more blocks".into())),
            FAILED => Err(NoAnswer::Failed("the node is down".into())),
            PANICS => panic!("as the test wants it"),
            WAITS => {
                let open = self.open.lock().unwrap();
                drop(self.opened.wait_while(open, |open| !*open).unwrap());
                Ok(Answer::Record(b"\"late\"".to_vec()))
            }
            TOO_LONG => Ok(Answer::Record(vec![b' '; Answer::MAX_RECORD_BYTES + 1])),
            _ => Ok(Answer::Record(format!("{{\"id\":{}}}", question.id()[0]).into_bytes())),
        }
    }
}

impl Oracle {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// The way to ask, for the thread of a test.
struct Asker {
    reactor: Reactor,
    questions: Questions,
}

impl Asker {
    fn of(main: &Main) -> Self {
        Self { reactor: Reactor::spawn_thread("asker").unwrap(), questions: main.server.questions() }
    }

    fn ask(&self, chain: u32, id: u8) -> Result<Answer, Unanswered> {
        ask_on(&self.reactor.handle(), &self.questions, chain, id).wait().unwrap()
    }
}

fn ask_on(
    handle: &Handle,
    questions: &Questions,
    chain: u32,
    id: u8,
) -> mainstem_net::reactor::Join<Result<Answer, Unanswered>> {
    let (questions, question) = (questions.clone(), record(chain, id));
    handle.spawn(async move { questions.ask(&question).await })
}

fn record(chain: u32, id: u8) -> Question {
    Question::Record { chain: ChainId(chain), id: vec![id; 32] }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what may be an error")]
fn found(id: u8) -> Result<Answer, Unanswered> {
    Ok(Answer::Record(format!("{{\"id\":{id}}}").into_bytes()))
}

#[test]
fn the_node_of_a_chain_answers_and_what_it_cannot_answer_it_says() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node]), side(2, &[&node]), side(3, &[&node])], 64);
    let asker = Asker::of(&main);
    assert_eq!(asker.ask(1, 9), Err(Unanswered::NotConnected), "before there is a node");
    let world = World::new(&[1, 2], 5);
    let oracle = Arc::new(Oracle::default());
    let mut config = main.client(&node);
    config.answers = Some(Arc::clone(&oracle) as Arc<dyn Answers>);
    let (client, _) = start(config, &world);
    wait_durable(&main, 2, 5);
    for (chain, id) in [(1, 9), (2, 10), (1, 255)] {
        assert_eq!(asker.ask(chain, id), found(id));
    }
    assert_eq!(asker.ask(3, 9), Err(Unanswered::NotConnected), "a chain that the node did not name");
    assert_eq!(asker.ask(77, 9), Err(Unanswered::NotConnected), "a chain that nobody knows");
    let says = |id| match asker.ask(1, id) {
        Err(Unanswered::Node(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(says(UNKNOWN), NoAnswer::Unknown);
    assert_eq!(says(NOT_YET), NoAnswer::NotYet("3 more blocks".into()));
    assert_eq!(says(FAILED), NoAnswer::Failed("the node is down".into()));
    assert_eq!(says(PANICS), NoAnswer::Failed("answering panicked".into()));
    assert!(matches!(says(TOO_LONG), NoAnswer::Failed(text) if text.contains("1048577")));
    assert_eq!(asker.ask(1, 11), found(11), "a panic stops nothing");
    drop(client);
    wait_until("the node is gone", || asker.ask(1, 9) == Err(Unanswered::NotConnected));
    main.shutdown();
}

#[test]
fn ids_that_cannot_travel_are_refused_before_anybody_is_asked() {
    let main = Main::start(&[side(1, &[&identity(1)])], 64);
    let asker = Asker::of(&main);
    for length in [0, 65] {
        let question = Question::Transaction { chain: ChainId(1), id: vec![1; length] };
        let questions = asker.questions.clone();
        let asked = asker.reactor.handle().block_on(async move { questions.ask(&question).await }).unwrap();
        assert!(matches!(asked, Err(Unanswered::Bad(_))), "{asked:?}");
    }
    main.shutdown();
}

#[test]
fn a_node_that_answers_no_questions_is_passed_over_for_one_that_does() {
    let (mute, able) = (identity(1), identity(2));
    let main = Main::start(&[side(1, &[&mute, &able])], 64);
    let asker = Asker::of(&main);
    let world = World::new(&[1], 5);
    let (_speaker, _) = start(main.client(&mute), &world);
    wait_durable(&main, 1, 5);
    assert_eq!(asker.ask(1, 9), Err(Unanswered::Node(NoAnswer::Unsupported)), "as of an older program");
    let mut config = main.client(&able);
    config.answers = Some(Arc::new(Oracle::default()));
    let (_standby, _) = start(config, &world);
    wait_until("the one that stands by is asked", || asker.ask(1, 9) == found(9));
    assert_eq!(main.cache.lane(ChainId(1)).unwrap().speaker(), Some(mute.public()), "it still speaks");
    main.shutdown();
}

#[test]
fn questions_that_are_never_answered_hold_up_neither_blocks_nor_the_connection() {
    let node = identity(1);
    let main = Main::start_with(&[side(1, &[&node])], 64, Stored::default(), |config| {
        config.answer_timeout = Duration::from_millis(300);
        config.max_questions = 40;
    });
    let asker = Asker::of(&main);
    let world = World::new(&[1], 5);
    let oracle = Arc::new(Oracle::default());
    let mut config = main.client(&node);
    config.answers = Some(Arc::clone(&oracle) as Arc<dyn Answers>);
    let (client, _) = start(config, &world);
    wait_durable(&main, 1, 5);
    // More than one session may have, and more than there may be in all.
    let asked: Vec<_> =
        (0..60).map(|_| ask_on(&asker.reactor.handle(), &asker.questions, 1, WAITS)).collect();
    world.change(1, |side| side.made = 500);
    wait_durable(&main, 1, 500);
    let (mut late, mut busy) = (0, 0);
    for asked in asked {
        match asked.wait().unwrap() {
            Err(Unanswered::Busy(40)) => busy += 1,
            // Four wait in the source, as many as may in its queue, and the others are told so.
            Err(Unanswered::TooSlow(_) | Unanswered::Node(NoAnswer::Failed(_))) => late += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(late + busy, 60);
    assert!(busy >= 20 && late > 0, "{late} late, {busy} turned away");
    oracle.open();
    wait_until("it answers again", || asker.ask(1, 9) == found(9));
    assert_eq!(client.status().connections, 1);
    world.change(1, |side| side.made = 600);
    wait_durable(&main, 1, 600);
    main.shutdown();
}

#[test]
fn a_source_that_never_answers_does_not_keep_a_client_from_stopping() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node])], 64);
    let asker = Asker::of(&main);
    let oracle = Arc::new(Oracle::default());
    let mut config = main.client(&node);
    config.answers = Some(Arc::clone(&oracle) as Arc<dyn Answers>);
    let (client, _) = start(config, &World::new(&[1], 5));
    wait_durable(&main, 1, 5);
    let asked = ask_on(&asker.reactor.handle(), &asker.questions, 1, WAITS);
    wait_until("the source is in the call", || oracle.asked.load(Ordering::Relaxed) == 1);
    let (stopped, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(client);
        let _ = stopped.send(());
    });
    assert!(done.recv_timeout(Duration::from_secs(30)).is_ok(), "the client waits for the call");
    assert!(asked.wait().unwrap().is_err());
    oracle.open();
    main.shutdown();
}

#[test]
fn a_session_of_another_chain_is_not_asked_though_its_key_may_name_this_one() {
    let (one, both) = (identity(1), identity(2));
    let main = Main::start(&[side(1, &[&one, &both]), side(2, &[&both])], 64);
    let asker = Asker::of(&main);
    let mut config = main.client(&both);
    config.answers = Some(Arc::new(Oracle::default()));
    let (_client, _) = start(config, &World::new(&[2], 5));
    wait_durable(&main, 2, 5);
    assert_eq!(asker.ask(2, 9), found(9));
    assert_eq!(asker.ask(1, 9), Err(Unanswered::NotConnected));
    main.shutdown();
}

#[test]
fn many_questions_at_once_are_all_answered() {
    let node = identity(1);
    let main = Main::start_with(&[side(1, &[&node])], 64, Stored::default(), |config| {
        config.answer_timeout = Duration::from_secs(30);
    });
    let asker = Asker::of(&main);
    let mut config = main.client(&node);
    config.answers = Some(Arc::new(Oracle::default()));
    let (_client, _) = start(config, &World::new(&[1], 5));
    wait_durable(&main, 1, 5);
    let ids = || (10..=250).flat_map(|id| [id; 3]);
    let asked: Vec<_> = ids().map(|id| ask_on(&asker.reactor.handle(), &asker.questions, 1, id)).collect();
    for (asked, id) in asked.into_iter().zip(ids()) {
        assert_eq!(asked.wait().unwrap(), found(id));
    }
    main.shutdown();
}

/// A connection of a client of chain 1, to a main chain that is made by hand.
async fn welcome(endpoint: &quinn::Endpoint) -> (Connection, SendStream) {
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    let (mut send, mut control) = connection.accept_bi().await.unwrap();
    let hello = receive(&mut control, &mut Vec::new()).await.unwrap().unwrap();
    assert!(matches!(hello, ClientMessage::Hello(_)));
    let position = Position { durable: Height(0), received: Height(0), hash: None, limit: Height::MAX };
    let chains = vec![Entry { chain: ChainId(1), state: EntryState::Standby(position) }];
    let mut out = Vec::new();
    let welcome = Welcome { main_chain: MAIN, genesis_hash: GENESIS, head: None, chains };
    ServerMessage::Welcome(welcome).encode(&mut out);
    send.write_all(&out).await.unwrap();
    (connection, send)
}

async fn asked_by_hand(connection: &Connection, question: &[u8]) -> Result<Vec<u8>, String> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(question).await.map_err(|error| error.to_string())?;
    let _ = send.finish();
    receive.read_to_end(1 << 20).await.map_err(|error| error.to_string())
}

#[test]
fn a_client_refuses_questions_that_are_none_and_goes_on() {
    let reactor = Reactor::spawn_thread("curious").unwrap();
    let quic = endpoint::server_config(&server_identity(), Arc::new(|_: &NodeKey| true), &Limits::default());
    let bind = Bind::new(([127, 0, 0, 1], 0).into());
    let endpoint = endpoint::open(&reactor.handle(), &bind, &server_identity(), Some(quic.unwrap())).unwrap();
    let oracle = Arc::new(Oracle::default());
    let mut config = client_config(endpoint.local_addr().unwrap(), &identity(1));
    config.answers = Some(Arc::clone(&oracle) as Arc<dyn Answers>);
    let (client, _) = start(config, &World::new(&[1], 1));
    let serve = async move {
        let (connection, _control) = welcome(&endpoint).await;
        let good = encode_question(&record(1, OTHER)).unwrap();
        let mut wrong_kind = good.clone();
        wrong_kind[0] = 0xa0;
        let mut wrong_length = good.clone();
        wrong_length[5] += 1;
        let long = vec![0xa1; 10_000];
        for bad in [&[][..], &good[..6], &good[..good.len() - 1], &wrong_kind, &wrong_length, &long] {
            let refused = asked_by_hand(&connection, bad).await;
            assert!(refused.is_err(), "{bad:?}: {refused:?}");
        }
        // A chain that this node does not serve.
        assert_eq!(asked_by_hand(&connection, &encode_question(&record(2, 9)).unwrap()).await, Ok(vec![3]));
        // Many that never end are in nobody's way. Not as many as it accepts: QUIC tells late of up to an eighth of the
        // streams that have come free.
        let mut idle = Vec::new();
        for _ in 0..MAX_QUESTIONS - MAX_QUESTIONS / 8 - 1 {
            let (mut send, receive) = connection.open_bi().await.unwrap();
            send.write_all(&good[..3]).await.unwrap();
            idle.push((send, receive));
        }
        let answer = asked_by_hand(&connection, &good).await.unwrap();
        assert_eq!(answer, [&[0][..], b"{\"id\":7}"].concat());
        // Reset half-way, given up before the answer: the streams come back.
        for (mut send, mut receive) in idle {
            send.reset(7_u32.into()).unwrap();
            receive.stop(7_u32.into()).unwrap();
        }
        for _ in 0..3 * MAX_QUESTIONS {
            assert!(asked_by_hand(&connection, &good).await.is_ok());
        }
        assert!(connection.close_reason().is_none());
    };
    let limit = reactor.handle();
    reactor
        .handle()
        .block_on(async move { limit.timeout(Duration::from_secs(30), serve).await })
        .expect("the server's assertions hold")
        .expect("it does not hang");
    assert_eq!(oracle.asked.load(Ordering::Relaxed), 1 + 3 * MAX_QUESTIONS as usize, "the good ones only");
    drop(client);
}
