use std::net::TcpListener;
use std::thread;

use alloy_primitives::B256;
use engine::chain::Timestamp;
use serde_json::json;

use super::fake::{FakeNode, Instead, Refusal};
use super::*;

const CHAIN: ChainId = ChainId(1_866_392);

fn source_with(node: &FakeNode, change: impl FnOnce(&mut EvmConfig)) -> EvmSource {
    let mut config = EvmConfig { poll: Duration::ZERO, ..EvmConfig::new(CHAIN, node.url()) };
    change(&mut config);
    EvmSource::new(config).unwrap()
}

fn source(node: &FakeNode) -> EvmSource {
    source_with(node, |_| {})
}

/// Asks until the source says something other than that it will say something later.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, SourceError>) -> Result<T, SourceError> {
    for _ in 0..1_000 {
        match ask() {
            Err(SourceError::Later(_)) => thread::sleep(Duration::from_millis(10)),
            result => return result,
        }
    }
    panic!("still later after 10 s");
}

/// Reads until there is nothing more, checking that what is read links.
fn read_all(source: &mut EvmSource, mut before: Option<Hash>) -> Result<Columns, SourceError> {
    let mut all = Columns::default();
    loop {
        let mut out = Columns::default();
        let parent = patiently(|| source.read(CHAIN, 70, &mut out))?;
        if out.is_empty() {
            return Ok(all);
        }
        assert!(out.len() <= 70);
        if let Some(before) = before {
            assert_eq!(parent, before);
        }
        before = out.hashes.last().copied();
        all.hashes.extend(out.hashes);
        all.tx_roots.extend(out.tx_roots);
        all.times.extend(out.times);
    }
}

fn assert_blocks(node: &FakeNode, first: u64, read: &Columns) {
    let state = node.state();
    let mut expected = Columns::default();
    for block in &state.blocks[first as usize..first as usize + read.len()] {
        let header = &block.header;
        let time = Timestamp::from_millis(header.timestamp * 1_000);
        expected.push(Hash(header.hash_slow().0), Hash(header.receipts_root.0), time);
    }
    assert_eq!(*read, expected);
}

fn later(result: Result<impl std::fmt::Debug, SourceError>) -> String {
    match result {
        Err(SourceError::Later(text)) => text,
        other => panic!("expected an error that passes, got {other:?}"),
    }
}

fn fatal(result: Result<impl std::fmt::Debug, SourceError>) -> String {
    match result {
        Err(SourceError::Fatal(text)) => text,
        other => panic!("expected an error that lasts, got {other:?}"),
    }
}

fn assert_fork(result: Result<impl std::fmt::Debug, SourceError>, at: u64, new: Hash, old: Hash) {
    match result {
        Err(SourceError::Fork { chain, height, ours, theirs }) => {
            assert_eq!((chain, height, ours, theirs), (CHAIN, Height(at), new, old));
        }
        other => panic!("expected a fork, got {other:?}"),
    }
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{text}\nexpected: {word}");
    }
}

#[test]
fn every_final_block_is_read_and_none_above() {
    let node = FakeNode::new(400);
    node.state().finalized = Some(333);
    let mut source = source(&node);
    source.resume(CHAIN, Height(1), None).unwrap();
    let read = read_all(&mut source, Some(node.hash(0))).unwrap();
    assert_eq!(read.len(), 333);
    assert_blocks(&node, 1, &read);
    assert_eq!(source.tip_watch().get(), Some(Height(333)));

    node.state().finalized = Some(340);
    let more = read_all(&mut source, Some(node.hash(333))).unwrap();
    assert_eq!(more.len(), 7);
    assert_blocks(&node, 334, &more);
}

#[test]
fn it_goes_on_wherever_the_main_chain_says() {
    let node = FakeNode::new(300);
    let mut source = source(&node);
    for next in [120, 7, 299, 301, 1, 300] {
        let parent = (next > 1).then(|| node.hash(next - 1));
        source.resume(CHAIN, Height(next), parent).unwrap();
        let read = read_all(&mut source, parent).unwrap();
        assert_eq!(read.len() as u64, 301 - next);
        assert_blocks(&node, next, &read);
        // In the middle of what was fetched ahead, too.
        source.resume(CHAIN, Height(next), parent).unwrap();
        let _ = source.read(CHAIN, 3, &mut Columns::default()).unwrap();
    }
    // A chain that is indexed from a later height on has no parent that the main chain knows.
    source.resume(CHAIN, Height(50), None).unwrap();
    assert_blocks(&node, 50, &read_all(&mut source, Some(node.hash(49))).unwrap());
}

#[test]
fn confirmations_stand_in_for_a_missing_finalized_tag() {
    let node = FakeNode::new(100);
    node.state().finalized = None;
    let mut tagged = source(&node);
    tagged.resume(CHAIN, Height(1), None).unwrap();
    let text = later(tagged.read(CHAIN, 10, &mut Columns::default()));
    assert_says(&text, &[&node.url(), "finalized", "-32602", "--confirmations"]);

    let mut counting = source_with(&node, |config| config.finality = Finality::Confirmations(12));
    counting.resume(CHAIN, Height(1), None).unwrap();
    assert_eq!(read_all(&mut counting, None).unwrap().len(), 88);
    let mut long = source_with(&node, |config| config.finality = Finality::Confirmations(101));
    long.resume(CHAIN, Height(1), None).unwrap();
    assert!(read_all(&mut long, None).unwrap().is_empty());
}

#[test]
fn a_node_that_refuses_large_batches_is_served_by_small_ones() {
    for (most, refusal) in [
        (30, Refusal::Object),
        (30, Refusal::ArrayOfOne),
        (30, Refusal::Status413),
        (30, Refusal::TooManyBytes),
        (1, Refusal::Object),
    ] {
        let node = FakeNode::new(250);
        node.state().batch = Some((most, refusal));
        let mut source = source(&node);
        source.resume(CHAIN, Height(1), None).unwrap();
        let read = read_all(&mut source, Some(node.hash(0))).unwrap();
        assert_eq!(read.len(), 250);
        assert_blocks(&node, 1, &read);
        let state = node.state();
        let refused = state.requests.iter().filter(|(_, calls)| *calls > most).count();
        assert!(refused <= 20, "{refused} refused requests");
    }
}

#[test]
fn a_header_that_does_not_hash_to_its_block_is_refused() {
    let node = FakeNode::new(100);
    node.state().edits.insert(60, |block| block["stateRoot"] = json!(Hash([1; 32])));
    let mut source = source(&node);
    source.resume(CHAIN, Height(1), None).unwrap();
    let text = fatal(read_all(&mut source, None));
    let stated = node.hash(60).to_string();
    assert_says(&text, &[&node.url(), "eth_getBlockByNumber", "block 60", &stated, "hashes to 0x", "forged"]);

    node.state().edits.insert(60, |block| block["gasUsed"] = json!(5));
    let text = fatal(read_all(&mut source, None));
    assert_says(&text, &["block 60", "malformed", "16 hex digits"]);
    node.state().edits.insert(60, |block| drop(block.as_object_mut().unwrap().remove("receiptsRoot")));
    assert_says(&fatal(read_all(&mut source, None)), &["block 60", "receiptsRoot"]);
    node.state().edits.insert(60, |block| {
        block["futureRoot"] = json!(Hash([1; 32]));
        block["hash"] = json!(Hash([2; 32]));
    });
    assert_says(
        &fatal(read_all(&mut source, None)),
        &["block 60", "futureRoot", "newer than this tributary"],
    );
}

#[test]
fn blocks_that_do_not_link_are_never_read() {
    let node = FakeNode::new(100);
    // Its header is right by itself.
    node.state().blocks[61].header.parent_hash = B256::repeat_byte(9);
    let mut source = source(&node);
    source.resume(CHAIN, Height(1), None).unwrap();
    // Waited for, however often it is asked: until it has been so for too long.
    source.unlinked.limit = Duration::MAX;
    let mut out = Columns::default();
    for _ in 0..10 {
        let text = later(source.read(CHAIN, 100, &mut out));
        assert!(out.is_empty());
        assert_says(&text, &["block 61", &Hash([9; 32]).to_string(), &node.hash(60).to_string()]);
    }
    source.unlinked.limit = Duration::ZERO;
    assert_says(&fatal(source.read(CHAIN, 100, &mut out)), &["block 61", "damaged or forged"]);
    assert!(out.is_empty());
}

#[test]
fn a_reorganisation_below_what_was_sent_is_found_with_height_and_both_hashes() {
    // While waiting for blocks; with more blocks to come; with fewer; and so deep that several batches are gone.
    for (fork, last, last_final) in [(95, 100, 98), (95, 130, 120), (95, 97, 96), (2, 100, 98), (1, 200, 150)]
    {
        let node = FakeNode::new(100);
        node.state().finalized = Some(98);
        let mut source = source(&node);
        source.resume(CHAIN, Height(1), None).unwrap();
        assert_eq!(read_all(&mut source, None).unwrap().len(), 98);
        let old = node.hash(fork);
        {
            let mut state = node.state();
            state.reorganise(fork, last, 1);
            state.finalized = Some(last_final);
        }
        let result = patiently(|| source.read(CHAIN, 10, &mut Columns::default()));
        assert_fork(result, fork, node.hash(fork), old);
    }
}

#[test]
fn a_reorganisation_above_what_was_sent_is_of_no_concern() {
    let node = FakeNode::new(100);
    node.state().finalized = Some(90);
    let mut source = source(&node);
    source.resume(CHAIN, Height(1), None).unwrap();
    let mut all = read_all(&mut source, None).unwrap();
    {
        let mut state = node.state();
        state.reorganise(91, 110, 1);
        state.finalized = Some(105);
    }
    let more = read_all(&mut source, Some(node.hash(90))).unwrap();
    all.hashes.extend(more.hashes);
    all.tx_roots.extend(more.tx_roots);
    all.times.extend(more.times);
    assert_eq!(all.len(), 105);
    assert_blocks(&node, 1, &all);
}

#[test]
fn another_block_than_the_main_chains_is_a_fork_and_none_yet_is_not() {
    let node = FakeNode::new(100);
    let mut source = source(&node);
    let theirs = Hash([7; 32]);
    assert_fork(source.resume(CHAIN, Height(51), Some(theirs)), 50, node.hash(50), theirs);
    let text = later(source.resume(CHAIN, Height(120), Some(theirs)));
    assert_says(&text, &["block 119", "still syncing"]);
    node.state().grow(150, 0);
    let right = node.hash(119);
    patiently(|| source.resume(CHAIN, Height(120), Some(right))).unwrap();
}

#[test]
fn a_node_that_falls_behind_with_the_same_blocks_is_waited_for() {
    let node = FakeNode::new(100);
    let mut source = source(&node);
    source.resume(CHAIN, Height(1), None).unwrap();
    assert_eq!(read_all(&mut source, None).unwrap().len(), 100);
    // Another node behind the same address: its tag is lower, then its chain is shorter, too.
    node.state().finalized = Some(70);
    assert!(read_all(&mut source, None).unwrap().is_empty());
    node.state().blocks.truncate(81);
    assert_says(&later(source.read(CHAIN, 10, &mut Columns::default())), &["block 100", "set back"]);
    {
        let mut state = node.state();
        state.grow(110, 0);
        state.finalized = Some(110);
    }
    assert_eq!(read_all(&mut source, Some(node.hash(100))).unwrap().len(), 10);
}

#[test]
fn faults_that_pass_are_told_and_outlived() {
    let node = FakeNode::new(150);
    for (instead, words) in [
        (Instead::Status(500), "HTTP status 500 (<html>no</html>)"),
        (Instead::Status(429), "limits the rate"),
        (Instead::Body("<html>".to_owned()), "not an answer of JSON-RPC"),
        (
            Instead::Body(r#"{"id":0,"error":{"code":-32000,"message":"busy"}}"#.to_owned()),
            "error -32000: busy",
        ),
        (Instead::Silence(Duration::ZERO), "no connection"),
    ] {
        let mut source = source(&node);
        source.resume(CHAIN, Height(1), None).unwrap();
        assert_eq!(read_all(&mut source, None).unwrap().len(), 150);
        node.state().instead.push_back(instead);
        let text = later(source.read(CHAIN, 10, &mut Columns::default()));
        assert_says(&text, &[&node.url(), "eth_getBlockByNumber", words]);
        patiently(|| source.read(CHAIN, 10, &mut Columns::default())).unwrap();
    }
}

#[test]
fn faults_in_the_middle_of_catching_up_lose_nothing() {
    let node = FakeNode::new(600);
    let mut source = source(&node);
    source.resume(CHAIN, Height(1), None).unwrap();
    let mut out = Columns::default();
    source.read(CHAIN, 100, &mut out).unwrap();
    let faults = [Instead::Status(502), Instead::Body("[]".to_owned()), Instead::Silence(Duration::ZERO)];
    node.state().instead.extend(faults);
    let rest = read_all(&mut source, out.hashes.last().copied()).unwrap();
    assert_eq!(out.len() + rest.len(), 600);
    assert_blocks(&node, 1 + out.len() as u64, &rest);
}

#[test]
fn a_silent_node_is_given_up_after_the_time_out() {
    let node = FakeNode::new(10);
    let mut source = source_with(&node, |config| config.timeout = Duration::from_millis(200));
    node.state().instead.push_back(Instead::Silence(Duration::from_secs(60)));
    let text = later(source.resume(CHAIN, Height(1), None));
    assert_says(&text, &[&node.url(), "eth_chainId", "no answer within 200ms", "--timeout"]);
}

#[test]
fn nobody_at_the_url_is_told_with_the_url() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut source = EvmSource::new(EvmConfig::new(CHAIN, format!("http://{address}"))).unwrap();
    let text = later(source.resume(CHAIN, Height(1), None));
    assert_says(
        &text,
        &[&format!("http://{address}"), "eth_chainId", "no connection", "check that the node runs"],
    );
}

#[test]
fn an_answer_without_end_is_cut_at_the_bound() {
    let node = FakeNode::new(300);
    let large = |block: &mut serde_json::Value| block["note"] = json!("x".repeat(30_000));
    for height in 0..=300 {
        node.state().edits.insert(height, large);
    }
    // 100 blocks are 3 MB; 1 MiB holds 33.
    let mut source = source_with(&node, |config| config.max_response_bytes = 1 << 20);
    source.resume(CHAIN, Height(1), None).unwrap();
    assert_eq!(read_all(&mut source, None).unwrap().len(), 300);

    node.state().edits.insert(300, |block| block["note"] = json!("x".repeat(2 << 20)));
    let text = fatal(read_all(&mut source, None));
    assert_says(&text, &["block 300", "more than 1048576 bytes", "--max-response"]);
}

#[test]
fn the_chain_id_is_compared_when_it_is_expected() {
    let node = FakeNode::new(10);
    let mut right = source_with(&node, |config| config.expect_chain_id = Some(31_337));
    right.resume(CHAIN, Height(1), None).unwrap();
    let mut wrong = source_with(&node, |config| config.expect_chain_id = Some(1));
    let text = fatal(wrong.resume(CHAIN, Height(1), None));
    assert_says(&text, &[&node.url(), "eth_chainId", "31337", "expected 1"]);
}

#[test]
fn receipts_are_checked_when_asked_with_and_without_receipts_by_block() {
    for by_block in [true, false] {
        let node = FakeNode::new(120);
        node.state().block_receipts = by_block;
        let mut source = source_with(&node, |config| config.verify_receipts = true);
        source.resume(CHAIN, Height(1), None).unwrap();
        let read = read_all(&mut source, None).unwrap();
        assert_eq!(read.len(), 120);
        assert_blocks(&node, 1, &read);
        let asked = |method: &str| node.state().requests.iter().filter(|(name, _)| name == method).count();
        assert_eq!(asked("eth_getTransactionReceipt") > 0, !by_block);
        assert!(asked("eth_getBlockReceipts") <= if by_block { 20 } else { 1 });

        // A node whose receipts are not those of its header.
        node.state().blocks[42].receipts.pop();
        source.resume(CHAIN, Height(1), None).unwrap();
        assert_says(&fatal(read_all(&mut source, None)), &["Receipt", "block 42", "cannot be proven"]);
    }
}

#[test]
fn receipts_are_not_asked_for_by_default() {
    let node = FakeNode::new(50);
    let mut source = source(&node);
    source.resume(CHAIN, Height(1), None).unwrap();
    read_all(&mut source, None).unwrap();
    assert!(node.state().requests.iter().all(|(method, _)| !method.contains("Receipt")));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let config = EvmConfig::new(CHAIN, "http://127.0.0.1:8545");
    for (config, words) in [
        (EvmConfig { batch: 0, ..config.clone() }, "1 to 1000"),
        (EvmConfig { batch: 1_001, ..config.clone() }, "1 to 1000"),
        (EvmConfig { max_response_bytes: 1_000, ..config.clone() }, "1 MiB"),
        (EvmConfig { url: "ws://127.0.0.1".to_owned(), ..config.clone() }, "http"),
        (EvmConfig { headers: vec!["no colon".to_owned()], ..config }, "Name: value"),
    ] {
        let error = EvmSource::new(config).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_tip_is_one_call_at_most_and_changes_nothing_of_what_is_read() {
    let node = FakeNode::new(20);
    let mut source = source(&node);
    let tip = |source: &mut EvmSource| Source::tip(source, CHAIN);
    // Before the main chain has said anything, as where another node speaks.
    assert_eq!(patiently(|| tip(&mut source)).unwrap(), Some(Height(20)));
    source.resume(CHAIN, Height(1), None).unwrap();
    let read = read_all(&mut source, None).unwrap();
    assert_eq!(read.len(), 20);

    let calls = node.state().requests.len();
    node.state().grow(25, 0);
    node.state().finalized = Some(25);
    source.asked = None;
    assert_eq!(tip(&mut source).unwrap(), Some(Height(25)));
    assert_eq!(tip(&mut source).unwrap(), Some(Height(25)), "of the same moment");
    assert_eq!(node.state().requests.len(), calls + 1);
    let more = read_all(&mut source, read.hashes.last().copied()).unwrap();
    assert_blocks(&node, 21, &more);

    node.state().instead.push_back(Instead::Status(503));
    source.asked = None;
    later(tip(&mut source));
    assert!(read_all(&mut source, more.hashes.last().copied()).unwrap().is_empty());
}

#[test]
fn another_chains_node_tells_no_tip() {
    let node = FakeNode::new(20);
    let mut source = source_with(&node, |config| config.expect_chain_id = Some(1));
    assert_says(&fatal(Source::tip(&mut source, CHAIN)), &["eth_chainId", "expected 1"]);
}
