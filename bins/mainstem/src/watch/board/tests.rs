//! The board over real lanes, with time as an argument.

use engine::chain::{Columns, Hash, Height, Timestamp};
use engine::lane::{LaneEnds, SessionId};
use engine::quorum::FinalityRule;
use engine::state::Genesis;
use engine::sync::Doorbell;
use net::control::RefusalCode;
use net::server::ChainRefusal;

use super::*;

const KEY: NodeKey = NodeKey([7; 32]);
const SESSION: SessionId = SessionId(1);

struct Bench {
    board: Board,
    ends: Vec<LaneEnds>,
    limits: Limits,
    at: Duration,
}

fn side(id: u32) -> SideChain {
    SideChain {
        id: ChainId(id),
        name: format!("Chain {id}"),
        first_height: Height(1),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    }
}

/// A board of chains 1 to `count`, nobody connected.
fn bench(count: u32, capacity: usize) -> Bench {
    let (cache, mut ends) = (Cache::default(), Vec::new());
    let sides: Vec<_> = (1..=count).map(side).collect();
    for side in &sides {
        let (lane, its) = Lane::new(side, Height(0), None, capacity, Doorbell::new().0);
        lane.claim(KEY, SESSION).unwrap();
        cache.insert(lane);
        ends.push(its);
    }
    let mut genesis = Genesis::parse("[main]\nid = 1\nname = \"m\"\n").unwrap();
    genesis.chains = sides;
    let settings = settings::Watch::default();
    let board = Board::new(cache, Registry::new(&genesis, []), &settings);
    Bench { board, ends, limits: Limits::of(&settings), at: Duration::ZERO }
}

impl Bench {
    fn now(&self) -> Now {
        Now { at: self.at, wall: self.at.as_millis() as u64, ..self.board.now() }
    }

    /// A turn after so many seconds, with a survey in which what `change` says was seen of a chain.
    fn turn(&mut self, seconds: u64, change: impl Fn(&mut Row)) -> Vec<Changed> {
        self.at += Duration::from_secs(seconds);
        let now = self.now();
        self.board.turn(&now, &self.limits, |table| {
            table.surveys += 1;
            table.rows.iter_mut().for_each(&change);
        })
    }

    /// What the chain is, after so many seconds, in each of which a survey finds its speaker there.
    fn spoken_for(&mut self, seconds: u64, tip: u64) -> Reason {
        for _ in 0..seconds.max(1) {
            let at = self.at + Duration::from_secs(u64::from(seconds > 0));
            self.turn(u64::from(seconds > 0), |row| speaks(row, at, tip));
        }
        self.reason(1)
    }

    fn reason(&self, chain: u32) -> Reason {
        self.board.status(ChainId(chain)).unwrap().reason
    }

    /// The next blocks of a chain come.
    fn push(&self, chain: u32, count: u64) {
        let lane = self.board.0.cache.lane(ChainId(chain)).unwrap();
        let position = lane.position();
        let mut blocks = Columns::default();
        for height in position.received.0 + 1..=position.received.0 + count {
            blocks.push(Hash([height as u8; 32]), Hash::ZERO, Timestamp::default());
        }
        let parent = position.hash.unwrap_or(Hash::ZERO);
        lane.push(SESSION, position.received.next(), parent, blocks.as_ref(), Duration::ZERO).unwrap();
    }

    /// All that has come becomes durable.
    fn store(&mut self, chain: u32) {
        let ends = &mut self.ends[chain as usize - 1];
        ends.outlet.take(ends.outlet.available(), |_| ());
        let newest = self.board.0.cache.lane(ChainId(chain)).unwrap().cursors().received;
        ends.drain.release(Height(newest), Duration::ZERO, |_, _| ());
    }

    fn refused(code: RefusalCode, count: u64) -> ChainRefusal {
        ChainRefusal {
            chain: ChainId(1),
            key: KEY,
            time: Timestamp::default(),
            address: ([127, 0, 0, 1], 1).into(),
            code,
            detail: format!("chain 1: {code}"),
            count,
            conflicts: vec![(KEY, count)],
        }
    }
}

fn speaks(row: &mut Row, at: Duration, tip: u64) {
    let peer = Arc::new(Peer { address: "127.0.0.1:1".into(), software: "test 1".into() });
    let since = row.seats.speaker.as_ref().map_or(at, |speaker| speaker.since);
    let told = tip > 0;
    row.seats.speaker = Some(Speaker { session: 1, key: KEY, peer, since, heard: at, told });
    row.tip = Some(tip).filter(|_| told).or(row.tip);
}

#[test]
fn a_chain_goes_from_one_reason_to_the_next_and_its_history_tells() {
    let mut bench = bench(1, 64);
    assert_eq!(bench.reason(1), Reason::NeverConnected);
    assert_eq!(bench.spoken_for(1, 0), Reason::InStep);
    assert_eq!(bench.spoken_for(10, 0), Reason::NothingSent);
    assert_eq!(bench.spoken_for(1, 20), Reason::InStep);
    assert_eq!(bench.spoken_for(10, 20), Reason::NoData);
    bench.push(1, 20);
    bench.turn(0, |_| ());
    assert_eq!(bench.reason(1), Reason::InStep);
    assert_eq!(bench.spoken_for(10, 20), Reason::SealLate);
    bench.store(1);
    assert_eq!(bench.spoken_for(1, 20), Reason::InStep);
    let progress = bench.board.progress(ChainId(1)).unwrap();
    assert_eq!((progress.lag_blocks, progress.lag_seconds), (Some(0), Some(0.0)));
    assert!(progress.rate > 1.0 && progress.last_block == Some(22_000), "{progress:?}");

    // More than a main block takes, and it comes.
    for _ in 0..4 {
        bench.push(1, 50);
        bench.spoken_for(1, 2_000);
        bench.store(1);
    }
    assert_eq!(bench.reason(1), Reason::Behind);
    bench.push(1, 64);
    assert_eq!(bench.spoken_for(6, 9_000), Reason::NoRoom);
    let lane = bench.board.0.cache.lane(ChainId(1)).unwrap();
    lane.pause(true);
    assert_eq!(bench.spoken_for(60, 9_000), Reason::PausedByOperator);
    lane.pause(false);
    assert_eq!(
        bench.spoken_for(1, 9_000),
        Reason::NoRoom,
        "that it was paused is not held against the stages"
    );
    bench.store(1);

    // What it sends is refused, until something comes.
    let refusal = Bench::refused(RefusalCode::WrongParent, 1);
    bench.turn(1, |row| assert_eq!(row.hear(&refusal, Duration::from_secs(200)), [(KEY, 1)]));
    assert_eq!(bench.reason(1), Reason::WrongParent);
    let text = bench.board.status(ChainId(1)).unwrap().text;
    assert!(text.ends_with("was refused: wrong-parent"), "{text}");
    bench.push(1, 1);
    assert_eq!(bench.spoken_for(1, 9_000), Reason::Behind);

    bench.turn(1, |row| row.seats = Seats { left: 1, ..Seats::default() });
    assert_eq!(bench.reason(1), Reason::NobodySpeaks);
    for (why, reason) in [
        (Gone::Lost, Reason::ConnectionLost),
        (Gone::Left, Reason::NodeStopped),
        (Gone::Refused(RefusalCode::Revoked), Reason::Revoked),
    ] {
        bench.turn(1, |row| {
            row.seats = Seats::default();
            row.gone = Some(Absence { why, key: KEY, time: 1, detail: "timed out".into() });
        });
        assert_eq!(bench.reason(1), reason);
    }

    let history = bench.board.history(ChainId(1)).unwrap();
    let reasons: Vec<_> = history.iter().map(|change| change.reason).collect();
    assert_eq!(
        reasons[..4],
        [Reason::Revoked, Reason::NodeStopped, Reason::ConnectionLost, Reason::NobodySpeaks]
    );
    assert_eq!(*reasons.last().unwrap(), Reason::InStep);
    assert!(history.iter().all(|change| change.state == change.reason.state() && !change.text.is_empty()));
    assert_eq!(history.last().unwrap().text, Reason::InStep.meaning(), "old ones have lost their words");
    assert_eq!(bench.board.tallies().changes, history.len() as u64);
    let why = bench.board.why(ChainId(1)).unwrap();
    let steps: Vec<_> = why.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["source", "tributary", "connection", "lane", "seal", "store"]);
    assert_eq!((why.steps[1].ok, why.steps[3].ok), (Some(false), Some(true)), "{why:?}");
}

#[test]
fn a_block_that_was_to_be_expected_is_overdue_and_a_chain_that_never_hurried_is_quiet() {
    let (mut bench, mut bulk) = (bench(1, 64), bench(1, 64));
    bench.spoken_for(1, 0);
    for height in 1..=20 {
        bench.push(1, 1);
        bench.spoken_for(1, height);
        bench.store(1);
    }
    assert_eq!(bench.spoken_for(29, 20), Reason::InStep);
    assert_eq!(bench.spoken_for(2, 20), Reason::Overdue);
    bench.push(1, 1);
    assert_eq!(bench.spoken_for(1, 21), Reason::InStep);

    bulk.spoken_for(1, 40);
    bulk.push(1, 40);
    bulk.store(1);
    assert_eq!(bulk.spoken_for(70, 40), Reason::Quiet);
}

#[test]
fn while_a_node_is_asked_again_what_was_wrong_stays_wrong_until_something_comes() {
    let mut bench = bench(1, 64);
    bench.spoken_for(1, 20);
    assert_eq!(bench.spoken_for(10, 20), Reason::NoData);
    let now = bench.now();
    bench.turn(0, |row| row.try_out(&now, "asked again".into()));
    let deposed = Seats { refused: Some(RefusalCode::NotSpeaker), ..Seats::default() };
    bench.turn(9, |row| row.seats.clone_from(&deposed));
    assert_eq!(bench.reason(1), Reason::NoData);
    bench.turn(1, |_| ());
    assert_eq!(bench.reason(1), Reason::NotSpeaker, "it has not answered");
    assert_eq!(bench.board.why(ChainId(1)).unwrap().tried[0].reason, Reason::NoData);
    assert_eq!(bench.board.table().rows[0].remedy.times, 1);
    bench.push(1, 1);
    bench.spoken_for(1, 20);
    assert_eq!((bench.reason(1), bench.board.table().rows[0].remedy.times), (Reason::InStep, 0));
}

#[test]
fn chains_that_come_and_go_are_followed_and_the_others_keep_their_history() {
    let mut bench = bench(3, 64);
    bench.spoken_for(1, 0);
    let cache = &bench.board.0.cache;
    let old = cache.lane(ChainId(2)).unwrap();
    old.close();
    // Registered again: another lane.
    cache.insert(Lane::new(&side(2), Height(5), None, 64, Doorbell::new().0).0);
    cache.insert(Lane::new(&side(9), Height(0), None, 64, Doorbell::new().0).0);
    bench.board.table().sides = Some(Arc::new([]));
    bench.turn(0, |_| ());
    assert_eq!(bench.board.table().removed, [ChainId(2)], "nothing is held against it at the next survey");
    assert_eq!((bench.reason(2), bench.reason(3)), (Reason::NeverConnected, Reason::InStep));
    assert!(bench.board.history(ChainId(2)).unwrap().is_empty());
    assert_eq!(bench.board.history(ChainId(3)).unwrap().len(), 1);
    assert!(bench.board.status(ChainId(9)).is_none(), "it has a lane and is not registered");
}

#[test]
fn a_history_holds_the_last_64_changes() {
    let mut bench = bench(1, 64);
    for _ in 0..50 {
        bench.spoken_for(1, 0);
        bench.turn(1, |row| row.seats = Seats { left: 1, ..Seats::default() });
    }
    let history = bench.board.history(ChainId(1)).unwrap();
    let reasons = (history[0].reason, history[1].reason.state());
    assert_eq!((history.len(), reasons), (64, (Reason::NobodySpeaks, State::Live)));
    assert_eq!(bench.board.tallies().changes, 100);
}

#[test]
fn filters_pages_counts_and_the_worst_agree() {
    let mut bench = bench(50, 64);
    let mut news = bench.board.subscribe();
    bench.turn(1, |row| {
        if row.side.id.0 <= 30 {
            speaks(row, Duration::from_secs(1), u64::from(row.side.id.0) * 100);
        }
    });
    assert_eq!(news.try_recv().unwrap().change.reason, Reason::InStep);
    let count = |state| bench.board.counts().into_iter().find(|(other, _)| *other == state).unwrap().1;
    assert_eq!((count(State::Live), count(State::CatchingUp), count(State::Disconnected)), (2, 28, 20));
    assert_eq!(bench.board.counts().iter().map(|(_, count)| count).sum::<usize>(), 50);

    let ids = |filter: &Filter, after: Option<u32>, limit| {
        let (page, more) = bench.board.select(filter, after.map(ChainId), limit);
        (page.iter().map(|shown| shown.side.id.0).collect::<Vec<_>>(), more)
    };
    let behind = Filter { reasons: vec![Reason::Behind], ..Filter::default() };
    assert_eq!(ids(&behind, None, 3), (vec![3, 4, 5], true));
    assert_eq!(ids(&behind, Some(28), 3), (vec![29, 30], false));
    let states = vec![State::Live, State::Disconnected];
    assert_eq!(ids(&Filter { states, ..Filter::default() }, None, 4), (vec![1, 2, 31, 32], true));
    let text = |text: &str| Filter { text: Some(text.into()), ..Filter::default() };
    assert_eq!(ids(&text("chain 4"), None, 99).0.len(), 11);
    assert_eq!(ids(&text("nowhere"), None, 99), (vec![], false));

    let worst = bench.board.worst(2);
    let worst: Vec<_> = worst.iter().map(|chain| (chain.chain.0, chain.lag_blocks)).collect();
    assert_eq!(
        worst,
        [(31, 0), (32, 0)],
        "those that nobody sends are in trouble; those far behind catch up"
    );
    let after = bench.board.worst(22);
    assert_eq!((after[20].chain.0, after[21].lag_blocks), (30, 2_900));
    let all = bench.board.worst(usize::MAX);
    let of = |reason| all.iter().filter(|worst| worst.reason == reason).count();
    assert_eq!((of(Reason::Behind), of(Reason::NeverConnected)), (28, 20));
    assert_eq!((bench.board.worst(0).len(), bench.board.worst(99).len()), (0, 50));
}

/// Not a test of speed: it prints what a turn takes, for whoever wants to know.
#[test]
fn a_turn_over_ten_thousand_chains_looks_at_those_that_moved() {
    const CHAINS: u32 = 10_000;
    let mut bench = bench(CHAINS, 64);
    let time = |bench: &mut Bench, what: &str, survey: bool| {
        let begun = Instant::now();
        let now = bench.now();
        let changes = bench.board.turn(&now, &bench.limits, |table| table.surveys += u64::from(survey));
        println!("{what}: {:?}", begun.elapsed());
        changes.len()
    };
    bench.turn(1, |row| speaks(row, Duration::from_secs(1), 1_000));
    assert_eq!(time(&mut bench, "nothing moves", false), 0);
    (1..=CHAINS).for_each(|chain| bench.push(chain, 1));
    assert_eq!(time(&mut bench, "all move", false), 0);
    assert_eq!(time(&mut bench, "all are judged", true), 0);
    let begun = Instant::now();
    assert_eq!(bench.board.worst(50).len(), 50);
    println!("the worst 50: {:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(bench.board.select(&Filter::default(), None, 1_000).0.len(), 1_000);
    println!("a page of 1,000: {:?}", begun.elapsed());
}

#[test]
fn a_stranger_that_names_a_chain_is_a_hint_only_while_no_node_of_its_own_was_heard_of() {
    let mut bench = bench(1, 64);
    let stranger = Bench::refused(RefusalCode::UnknownKey, 3);
    bench.turn(1, |row| row.hear_stranger(&stranger, Duration::from_secs(1)));
    assert_eq!(bench.reason(1), Reason::UnknownKey);
    let text = bench.board.status(ChainId(1)).unwrap().text;
    assert!(text.contains("(3 times)") && text.contains("or one of another chain"), "{text}");
    assert_eq!(bench.spoken_for(1, 0), Reason::InStep);
    bench.turn(1, |row| {
        row.seats = Seats::default();
        row.gone = Some(Absence { why: Gone::Left, key: KEY, time: 1, detail: "".into() });
    });
    assert_eq!(bench.reason(1), Reason::NodeStopped, "it had its own");
    let why = bench.board.why(ChainId(1)).unwrap();
    assert!(why.steps[1].text.contains("named it 3 times"), "{why:?}");
}

#[test]
fn by_the_rules_of_aelf_a_new_chain_waits_and_is_well_until_more_than_256_blocks_wait() {
    let mut bench = bench(1, 1_024);
    let at = |bench: &mut Bench| {
        bench.at += Duration::from_secs(20);
        let now = Now { rules: SealRules::Aelf, ..bench.now() };
        bench.board.turn(&now, &bench.limits, |table| {
            table.surveys += 1;
            let tip = table.rows[0].received;
            speaks(&mut table.rows[0], now.at, tip);
        });
        bench.reason(1)
    };
    bench.push(1, 256);
    at(&mut bench);
    assert_eq!(at(&mut bench), Reason::HeldByRules);
    bench.push(1, 1);
    at(&mut bench);
    assert_eq!(at(&mut bench), Reason::SealLate);
}

#[test]
fn the_stage_that_stands_is_named_where_its_work_is_waited_for() {
    let mut bench = bench(1, 64);
    bench.push(1, 5);
    bench.spoken_for(20, 5);
    let now = Now { blamed: Some(("sync", Duration::ZERO)), ..bench.now() };
    bench.board.turn(&now, &bench.limits, |table| table.surveys += 1);
    assert_eq!(bench.reason(1), Reason::StoreLate);
    let row_says = words_of(&bench);
    assert!(row_says.0.ends_with("; stage sync has stood for 20 s"), "{row_says:?}");
    assert!(row_says.1.ends_with("; stage sync has stood for 20 s"), "{row_says:?}");
}

/// The status in words, and the last step of the chain of cause, at the bench's time.
fn words_of(bench: &Bench) -> (String, String) {
    let table = bench.board.table();
    let row = table.row(ChainId(1)).unwrap();
    let mut steps = why::why(row, bench.at).steps;
    (row.text(bench.at), steps.pop().unwrap().text)
}

#[test]
fn a_chain_that_was_quarantined_before_a_restart_still_is_and_says_why() {
    let mut bench = bench(1, 64);
    bench.board.0.cache.lane(ChainId(1)).unwrap().pause(true);
    bench.board.set_quarantined(&[(ChainId(1), "it lied".to_owned()), (ChainId(9), String::new())].into());
    bench.turn(1, |_| ());
    let status = bench.board.status(ChainId(1)).unwrap();
    assert_eq!(status.reason, Reason::ConflictRepeated);
    assert!(status.text.ends_with(": it lied"), "{}", status.text);
}

#[test]
fn a_chain_that_its_node_does_not_name_is_told_so_and_not_that_a_connection_was_lost() {
    let mut bench = bench(2, 64);
    let text = |bench: &Bench| bench.board.status(ChainId(1)).unwrap().text;
    let session = |since| Some(PassedBy { key: KEY, since });
    bench.turn(1, |row| row.seats = Seats { passed_by: session(500), ..Seats::default() });
    assert_eq!(bench.reason(1), Reason::NotNamed);
    assert_eq!(text(&bench), "its node 07070707 is connected and does not name this chain; received up to 0");
    let why = bench.board.why(ChainId(1)).unwrap();
    assert!(why.steps[1].text.contains("is here and has not named it"), "{why:?}");
    assert!(why.steps[2].text.contains("does not name this chain"), "{why:?}");
    let next = bench.board.status(ChainId(1)).unwrap().next;
    assert!(next.starts_with("have tributary at its node send this chain too"), "{next}");

    // It stops: that says of chain 1 what it did before.
    let end = |chains: &'static [ChainId], since| {
        let absence = Absence { why: Gone::Lost, key: KEY, time: since + 100, detail: "timed out".into() };
        End { absence, since, chains }
    };
    let ends = |ends| HashMap::from([(KEY, ends)]);
    let of_other = ends(vec![end(&[ChainId(2)], 500)]);
    let stopped = |row: &mut Row| {
        row.seats = Seats::default();
        (row.gone, row.passed_by) = last(&row.side, &of_other);
    };
    bench.turn(1, stopped);
    assert_eq!((bench.reason(1), bench.reason(2)), (Reason::NotNamed, Reason::ConnectionLost));
    assert_eq!(text(&bench), "its node 07070707 was connected and did not name this chain; received up to 0");

    // Another session had it, and was lost while this one was there, and before.
    for (since, reason) in [(400, Reason::ConnectionLost), (100, Reason::NotNamed)] {
        let of_both = ends(vec![end(&[ChainId(1)], since), end(&[ChainId(2)], 450)]);
        bench.turn(1, |row| (row.gone, row.passed_by) = last(&row.side, &of_both));
        assert_eq!(bench.reason(1), reason, "{since}");
    }
    // One that ended before it named anything concerns all chains of its key.
    let of_all = ends(vec![end(&[], 900)]);
    bench.turn(1, |row| (row.gone, row.passed_by) = last(&row.side, &of_all));
    assert_eq!(bench.reason(1), Reason::ConnectionLost);
}
