//! Why a chain is behind: the same words from `mainstem why`, `mainstem chains`, the API, the metrics and the log.

use engine::chain::{ChainId, Columns, Hash, Height, Timestamp};
use engine::source::{Source, SourceError};
use net::client::{Client, ClientConfig};
use net::identity::Identity;
use rest::status::{Reason, State};
use rest::{Event, Topic};
use serde_json::Value;

use crate::support::node::{Chain, Data, Node};
use crate::support::{http, key, mainstem, run, wait_for};
use crate::two_programs::sim;

const LIVE: u32 = 1;
const STOPPED: u32 = 2;
const FORKED: u32 = 3;
const FLOODED: u32 = 4;
const PAUSED: u32 = 5;
const BACKLOG: u32 = 6;
const NOBODYS: u32 = 7;
/// With the key of [`LIVE`], whose tributary does not name it.
const PASSED_BY: u32 = 8;

/// Blocks of one chain, up to a tip; above `forked_at` they do not follow what was sent.
struct Blocks {
    chain: ChainId,
    next: u64,
    tip: u64,
    forked_at: u64,
}

impl Blocks {
    fn hash(&self, height: u64) -> Hash {
        let mut bytes = [self.chain.0 as u8; 32];
        bytes[..8].copy_from_slice(&height.to_le_bytes());
        if height == 0 { Hash::ZERO } else { Hash(bytes) }
    }
}

impl Source for Blocks {
    fn chains(&self) -> Vec<ChainId> {
        vec![self.chain]
    }
    fn resume(&mut self, _: ChainId, next: Height, _: Option<Hash>) -> Result<(), SourceError> {
        self.next = next.0;
        Ok(())
    }
    fn read(&mut self, _: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let first = self.next;
        let parent = if first > self.forked_at { Hash([0xee; 32]) } else { self.hash(first - 1) };
        let end = if first > self.forked_at { self.tip } else { self.tip.min(self.forked_at) };
        while self.next <= end && (self.next - first) < max as u64 {
            out.push(self.hash(self.next), Hash::ZERO, Timestamp::from_millis(self.next));
            self.next += 1;
        }
        Ok(parent)
    }
    fn tip(&mut self, _: ChainId) -> Result<Option<Height>, SourceError> {
        Ok(Some(Height(self.tip)))
    }
}

fn client(node: &Node, identity: Identity, source: Blocks) -> Client {
    let config = ClientConfig::new(node.ingest.clone(), node.key.parse().unwrap(), identity);
    Client::start(config, Box::new(source)).unwrap()
}

fn status(node: &Node, chain: u32) -> Value {
    http::get(&node.api, &format!("/v1/chains/{chain}"))["status"].clone()
}

/// Waits until the chain is in a state, and then asks everybody, who must all say the same. Returns the reason.
fn agree(node: &Node, chain: u32, state: &str) -> String {
    let args = ["why", &chain.to_string(), "--node", &node.api];
    // It may change between two questions: of a chain at rest it does not.
    let (reason, text) = wait_for(&format!("chain {chain} to be {state} everywhere"), || {
        let before = status(node, chain);
        if before["state"] != state {
            return None;
        }
        let (code, text, error) = run(mainstem().args(args));
        assert_eq!(error, "");
        let (_, json, _) = run(mainstem().args(args).arg("--json"));
        let json: Value = serde_json::from_str(&json).unwrap();
        let (_, list, _) = run(mainstem().args(["chains", "--json", "--node", &node.api, "--state", state]));
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        let (_, metrics) = http::text(&node.api, "/metrics");
        let labels = format!(
            "chain=\"{}\",state=\"{state}\",reason={}",
            ChainId(chain),
            // In quotes, as a label's value is.
            before["reason"]
        );
        let counted = metrics.lines().any(|line| line.contains(&labels));
        let after = status(node, chain);
        let same = |name: &str| before[name] == after[name] && json["status"][name] == after[name];
        let history = http::get(&node.api, &format!("/v1/chains/{chain}/history"));
        let newest = &history["changes"][0]["reason"];
        let told = newest.is_null() || *newest == before["reason"];
        if !same("state") || !same("reason") || !same("since") || !counted || !told {
            return None;
        }
        let listed = list.iter().find(|one| one["chain_id"] == chain)?;
        assert_eq!(listed["status"]["reason"], after["reason"]);
        assert_eq!(code, i32::from(state != "live"), "{text}");
        Some((after["reason"].as_str().unwrap().to_owned(), text))
    });
    assert!(text.contains(&format!(") is {state} for ")), "{text}");
    assert!(text.contains(&format!("reason  {reason} (MS-30")), "{text}");
    for step in ["source", "tributary", "connection", "lane", "seal", "store", "next    "] {
        assert!(text.contains(&format!("\n  {step}")), "{step} in {text}");
    }
    println!("{text}");
    reason
}

#[test]
fn why_a_chain_is_behind_is_said_in_the_same_words_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = |chain: u32| dir.path().join(format!("{chain}.key"));
    let identities = [FORKED, BACKLOG].map(|chain| Identity::from_seed([chain as u8; 32]));
    let shared = key(&file(LIVE));
    let chains: Vec<_> = (LIVE..=PASSED_BY)
        .map(|id| {
            let public = match id {
                FORKED => identities[0].public().to_string(),
                BACKLOG => identities[1].public().to_string(),
                LIVE | PASSED_BY => shared.clone(),
                _ => key(&file(id)),
            };
            Chain { id, first_height: 1, keys: vec![public] }
        })
        .collect();
    let data = Data::new(&chains);
    // Lanes so short, and main blocks so rare, that some 30 blocks a second of a chain become durable.
    let mut settings =
        vec!["--cache.lane-blocks", "16", "--seal.interval-ms", "500", "--seal.catch-up", "false"];
    settings.extend(["--watch.stalled-ms", "1500", "--watch.silent-ms", "3000", "--watch.full-ms", "500"]);
    settings.extend([
        "--watch.behind-blocks",
        "100",
        "--watch.late-ms",
        "60000",
        "--watch.remedy-ms",
        "600000",
    ]);
    let node = Node::start(&data.path(), None, &settings);
    let sims = [(LIVE, "5"), (STOPPED, "5"), (FLOODED, "300"), (PAUSED, "5")];
    let sims = sims.map(|(chain, rate)| sim(&node, &file(chain), &chain.to_string(), &["--rate", rate]));
    let [forked, backlog] = identities;
    let blocks = |chain, tip, forked_at| Blocks { chain: ChainId(chain), next: 1, tip, forked_at };
    let _forked = client(&node, forked, blocks(FORKED, 20, 8));
    let _backlog = client(&node, backlog, blocks(BACKLOG, 6_000, u64::MAX));

    // First, while there is a backlog.
    assert_eq!(agree(&node, BACKLOG, "catching-up"), "behind");
    assert_eq!(agree(&node, LIVE, "live"), "in-step");
    assert_eq!(agree(&node, NOBODYS, "disconnected"), "never-connected");
    assert_eq!(agree(&node, PASSED_BY, "disconnected"), "not-named");
    assert_eq!(agree(&node, FORKED, "refused"), "wrong-parent");
    assert_eq!(agree(&node, FLOODED, "lane-full"), "no-room");
    wait_for("blocks of the chain that is to be paused", || {
        (http::durable(&node.api, PAUSED) > 5).then_some(())
    });
    let mut events = rest::Client::new(&node.api).events(&[Topic::Chains], None).unwrap();
    let (code, _, error) =
        run(mainstem().args(["chains", "pause", &PAUSED.to_string(), "--data"]).arg(data.path()));
    assert_eq!(code, 0, "{error}");
    assert_eq!(agree(&node, PAUSED, "paused"), "paused-by-operator");
    // Whoever listens has heard of it, too; the stream ends at last.
    let paused = events.any(|event| match event.unwrap() {
        Event::Chain(chain) if chain.chain_id.0 == PAUSED => {
            let status = chain.progress.unwrap().status;
            (status.state, status.reason) == (State::Paused, Reason::PausedByOperator)
        }
        _ => false,
    });
    assert!(paused, "no event tells of the chain that was paused");
    wait_for("blocks of the chain that is to stop", || (http::durable(&node.api, STOPPED) > 5).then_some(()));
    sims[1].signal("STOP");
    let reason = agree(&node, STOPPED, "stalled");
    assert!(["no-answer", "no-data", "overdue"].contains(&reason.as_str()), "{reason}");
    sims[1].signal("CONT");
    agree(&node, STOPPED, "live");

    let (code, table, error) = run(mainstem().args(["chains", "--node", &node.api]));
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(
        table.contains("paused-by-operator") && table.lines().last().unwrap().starts_with("8 chains: "),
        "{table}"
    );
    println!("{table}");
    for (path, status) in [
        ("/v1/chains?state=nonsense", 400),
        ("/v1/chains?reason=in-step,nonsense", 400),
        ("/v1/chains/99/why", 404),
        ("/v1/chains/99/history", 404),
        ("/v1/chains?state=live,paused&q=chain&limit=1", 200),
    ] {
        assert_eq!(http::try_get(&node.api, path).unwrap().0, status, "{path}");
    }
    let (code, _, error) = run(mainstem().args(["why", "99", "--node", &node.api]));
    assert_eq!(code, 1);
    assert!(error.contains("is not registered here"), "{error}");
    sims[0].signal("TERM");
    assert_eq!(agree(&node, LIVE, "disconnected"), "node-stopped");
    assert_eq!(status(&node, PASSED_BY)["reason"], "not-named", "it was never lost, for it never came");
    let output = node.process.output();
    for said in
        ["is refused (wrong-parent): ", "is lane-full (no-room): ", "is paused (paused-by-operator): "]
    {
        assert!(output.contains(said), "{said} in {output}");
    }
}

#[test]
fn a_node_that_is_silent_is_hung_up_on_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.key");
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: vec![key(&file)] }]);
    let mut settings = vec!["--watch.stalled-ms", "1000", "--watch.silent-ms", "1500"];
    settings.extend(["--watch.remedy-ms", "1000"]);
    let node = Node::start(&data.path(), None, &settings);
    let tributary = sim(&node, &file, "7", &["--rate", "20"]);
    agree(&node, 7, "live");
    tributary.signal("STOP");
    wait_for("the watch to hang up", || (status(&node, 7)["reason"] == "connection-lost").then_some(()));
    let why = http::get(&node.api, "/v1/chains/7/why");
    let tried = why["tried"][0]["text"].as_str().unwrap();
    assert!(tried.starts_with("ended session "), "{why}");
    tributary.signal("CONT");
    wait_for("the chain to be live again", || (status(&node, 7)["state"] == "live").then_some(()));
    let (code, text, _) = run(mainstem().args(["why", "7", "--node", &node.api]));
    assert!(code == 0 || text.contains(" is "), "{text}");
    assert!(text.contains("What the node did about it:"), "{text}");
}
