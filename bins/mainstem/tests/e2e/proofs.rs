//! Proofs of every kind from a real node: over its routes, by the commands, and for those who follow it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use engine::proof::Document;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{Chain, Data, Node};
use crate::support::{http, key, mainstem, run, wait_for};
use crate::two_programs::sim;

const HEIGHT: u64 = 600;

/// A node with two simulated chains in its log, both up to [`HEIGHT`] at least.
struct Indexed {
    node: Node,
    data: Data,
    dir: TempDir,
    key: PathBuf,
}

impl Indexed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key_file = dir.path().join("node.key");
        let public = key(&key_file);
        let chain = |id, first_height| Chain { id, first_height, keys: vec![public.clone()] };
        let data = Data::new(&[chain(1_866_392, 1), chain(7, 1)]);
        let indexed = Self { node: Node::start(&data.path(), None, &[]), data, dir, key: key_file };
        for _ in 0..3 {
            indexed.index();
        }
        indexed
    }

    /// Sends more blocks of both chains, in main blocks of their own, and waits until they are durable.
    fn index(&self) {
        let durable = http::try_durable(&self.node.api).unwrap();
        // A source without a rate goes beyond where it may stop.
        let height = durable.iter().map(|(_, height)| *height).max().unwrap() + HEIGHT / 3;
        let height = height.to_string();
        let mut tributary = sim(&self.node, &self.key, "tDVV,7", &["--rate", "0", "--stop-at", &height]);
        assert!(tributary.wait().success(), "{}", tributary.output());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `mainstem proof` from the node and from its directory, in both forms: all of them must be one document.
    fn proof(&self, args: &[&str]) -> Document {
        let ask = |more: &[&str]| {
            let output = mainstem().arg("proof").args(args).args(more).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            Document::parse(&output.stdout).unwrap()
        };
        let data = self.data.path();
        let (node, data) = (["--node", &self.node.api], ["--data", data.to_str().unwrap()]);
        let document = ask(&node);
        let binary = [&node[..], &["--format", "binary"]].concat();
        for more in [&data[..], &binary] {
            assert_eq!(ask(more), document, "{args:?} {more:?}");
        }
        document
    }

    /// What `mainstem verify` says of a document, in both forms, trusting the header of main block `trusted`.
    fn verify(&self, document: &Document, trusted: u64) -> String {
        let (json, binary) = (self.path("p.json"), self.path("p.bin"));
        fs::write(&json, serde_json::to_vec_pretty(document).unwrap()).unwrap();
        fs::write(&binary, document.to_bytes()).unwrap();
        let header = http::get(&self.node.api, &format!("/v1/blocks/{trusted}"));
        let trusted = header["hash"].as_str().unwrap();
        let mut command = mainstem();
        let (code, out, error) =
            run(command.args(["verify", "--trusted-header", trusted]).arg(json).arg(binary));
        assert_eq!((code, error.as_str()), (0, ""), "{out}");
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{out}");
        lines[0].to_owned()
    }

    fn hash(&self, height: u64) -> String {
        let block = http::get(&self.node.api, &format!("/v1/blocks/{height}"));
        block["hash"].as_str().unwrap().to_owned()
    }

    /// What `POST /v1/verify` says.
    fn verdict(&self, document: &Document) -> Value {
        let url = format!("{}/v1/verify", self.node.api);
        let mut response = ureq::post(url)
            .header("content-type", "application/octet-stream")
            .send(&document.to_bytes()[..])
            .unwrap();
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
    }
}

fn head(api: &str) -> u64 {
    http::get(api, "/v1/blocks/latest")["header"]["height"].as_u64().unwrap()
}

#[test]
fn every_kind_of_proof_comes_from_node_and_directory_alike_and_verifies_offline() {
    let indexed = Indexed::new();
    let newest = head(&indexed.node.api);
    assert!(newest >= 3, "{newest}");
    let (end, first) = (indexed.hash(newest), indexed.hash(1));
    let main = indexed.proof(&["--chain", "tDVV", "--height", "7"]);
    let Document::Block(block) = &main else { panic!("{main:?}") };
    let main_height = block.header.height.0;
    let under = indexed.hash(main_height);
    assert_eq!(
        indexed.verify(&main, main_height),
        format!("{under} chain tDVV height 7 is indexed in main block {main_height}")
    );

    let newest_text = newest.to_string();
    let head = ["--head", &newest_text];
    let blocks = "tDVV:7,7:1-40,tDVV:600,7:599";
    let many = indexed.proof(&[&["--blocks", blocks][..], &head].concat());
    let said = indexed.verify(&many, newest);
    assert!(said.starts_with(&format!("{end} 43 blocks of 2 chains are indexed in ")), "{said}");
    let list = indexed.path("list.txt");
    fs::write(&list, blocks.replace(',', "\n")).unwrap();
    assert_eq!(indexed.proof(&[&["--blocks", list.to_str().unwrap()][..], &head].concat()), many);

    let consistency = indexed.proof(&["--from", "1", "--to", &newest_text]);
    assert_eq!(
        indexed.verify(&consistency, newest),
        format!("{end} main block {newest} continues the history of main block 1, header {first}")
    );

    let all = indexed.proof(&["--all-of", "tDVV", "--in", &main_height.to_string()]);
    let said = indexed.verify(&all, main_height);
    assert!(
        said.starts_with(&format!("{under} chain tDVV has height")) && said.ends_with("and no other"),
        "{said}"
    );
    let none = indexed.proof(&["--all-of", "8", "--in", "1", "--head", &newest_text]);
    let said = indexed.verify(&none, newest);
    let expected =
        format!("{first} chain 3grT has no block in main block 1, in the history of main block {newest}");
    assert_eq!(said, expected);

    for document in [main, many, consistency, all, none] {
        let verdict = indexed.verdict(&document);
        assert_eq!(
            (&verdict["verified"], &verdict["kind"]),
            (&true.into(), &document.kind().into()),
            "{verdict}"
        );
    }
}

#[test]
fn what_cannot_be_proven_or_is_not_asked_for_properly_is_told() {
    let indexed = Indexed::new();
    let proof = |args: &[&str]| run(mainstem().args(["proof", "--node", &indexed.node.api]).args(args));
    for (args, reason) in [
        (&["--blocks", "tDVV:1,tDVV:999999"][..], "height 999999 was not received yet"),
        (&["--from", "2", "--to", "1"], "from: 2 is above to, which is 1"),
        (&["--from", "1", "--to", "999999"], "to: main block 999999 does not exist yet"),
        (&["--all-of", "7", "--in", "999999"], "main: main block 999999 does not exist yet"),
        (&["--blocks", "nowhere.txt"], "nor a file"),
    ] {
        let (code, out, error) = proof(args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        assert!(error.contains(reason), "{args:?}: {error}");
    }
    for args in [
        &[][..],
        &["--chain", "7"],
        &["--height", "7"],
        &["--from", "1"],
        &["--to", "1"],
        &["--all-of", "7"],
        &["--in", "7"],
        &["--chain", "7", "--height", "1", "--from", "1", "--to", "2"],
        &["--blocks", "7:1", "--chain", "7"],
        &["--from", "1", "--to", "2", "--head", "2"],
        &["--chain", "7", "--tx", "12"],
        &["--tx", "0x12"],
    ] {
        assert_eq!(proof(args).0, 2, "{args:?}");
    }
    // None, and more than fit one request.
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let agent: ureq::Agent = config.into();
    for count in [0, 4_097] {
        let blocks = vec![json!({ "chain": 7, "height": 1 }); count];
        let body = serde_json::to_vec(&json!({ "blocks": blocks })).unwrap();
        let mut response = agent.post(format!("{}/v1/proofs", indexed.node.api)).send(&body[..]).unwrap();
        assert_eq!(response.status(), 400);
        let problem = response.body_mut().read_to_string().unwrap();
        assert!(problem.contains(&format!("{count} blocks; a proof is of 1 to 4096")), "{problem}");
    }
}

fn follow(api: &str, keep: &Path) -> Command {
    let mut command = mainstem();
    command.args(["follow", "--once", "--node", api, "--keep"]).arg(keep);
    command
}

#[test]
fn who_follows_moves_on_with_the_chain_and_refuses_a_rewritten_one() {
    let indexed = Indexed::new();
    let (api, keep) = (&indexed.node.api, indexed.path("kept.header"));
    let newest = head(api);
    let hash = indexed.hash(newest);
    let (code, out, error) = run(&mut follow(api, &keep));
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out, format!("{hash} main block {newest}: kept as the first one, unproven\n"));
    let (code, out, _) = run(&mut follow(api, &keep));
    assert_eq!((code, out), (0, format!("{hash} main block {newest}: still the newest one\n")));

    // From the very first header.
    let begin = http::get(api, "/v1/blocks/1")["header"].to_string();
    let from_first = indexed.path("first.header");
    fs::write(&from_first, begin).unwrap();
    indexed.index();
    let later = head(api);
    assert!(later > newest);
    for file in [&keep, &from_first] {
        let (code, out, error) = run(&mut follow(api, file));
        assert_eq!((code, error.as_str()), (0, ""));
        assert_eq!(out, format!("{} main block {later}: continues the one before\n", indexed.hash(later)));
    }
    let kept = fs::read(&keep).unwrap();
    assert_eq!(kept, fs::read(&from_first).unwrap());

    // The same genesis document and other blocks.
    let other = tempfile::tempdir().unwrap();
    let genesis = indexed.data.path().join("genesis.toml");
    let data = other.path().join("data");
    let mut init = mainstem();
    let (code, _, error) = run(init.arg("init").arg("--data").arg(&data).arg("--genesis").arg(genesis));
    assert_eq!(code, 0, "{error}");
    let node = Node::start(&data, None, &[]);
    let (code, _, error) = run(&mut follow(&node.api, &keep));
    assert_eq!(code, 2, "{error}");
    let _tributary = sim(&node, &indexed.key, "tDVV,7", &["--rate", "200", "--seed", "5"]);
    wait_for("as many main blocks", || {
        let (status, latest) = http::try_get(&node.api, "/v1/blocks/latest")?;
        (status == 200 && latest["header"]["height"].as_u64()? >= later).then_some(())
    });
    for _ in 0..2 {
        let (code, out, error) = run(&mut follow(&node.api, &keep));
        assert_eq!((code, out.as_str()), (1, ""), "{error}");
        let lines: Vec<&str> = error.lines().collect();
        assert!(lines[0].starts_with("error[MS-7004]: history was rewritten: "), "{error}");
        let kept_hash = indexed.hash(later);
        let foreign =
            http::get(&node.api, &format!("/v1/blocks/{later}"))["hash"].as_str().unwrap().to_owned();
        assert!(lines[1].starts_with(&format!("kept: {kept_hash} main block {later}: {{")), "{error}");
        assert!(lines[2].starts_with(&format!("node: {foreign} main block {later}: {{")), "{error}");
        assert_eq!(fs::read(&keep).unwrap(), kept, "what was kept is still kept");
    }
    // The right node goes on where it was.
    let (code, _, error) = run(&mut follow(api, &keep));
    assert_eq!(code, 0, "{error}");
    fs::write(&keep, "{}").unwrap();
    let (code, _, error) = run(&mut follow(api, &keep));
    assert!(code == 2 && error.contains("not a header in JSON"), "{code} {error}");
    assert_eq!(run(&mut follow("http://127.0.0.1:1", &from_first)).0, 2);
}
