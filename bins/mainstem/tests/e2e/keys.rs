//! Keys of side-chain nodes that are revoked and rotated while the node runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::node::{Chain, Data, Node};
use crate::support::{http, key, mainstem, run, wait_for};
use crate::two_programs::sim;

const CHAIN: u32 = 7;

/// A node that indexes one chain, and two keys: one that is registered and another one.
struct World {
    data: Data,
    node: Node,
    old: (PathBuf, String),
    new: (PathBuf, String),
    _keys: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let file = dir.path().join(name);
            let public = key(&file);
            (file, public)
        };
        let (old, new) = (made("old.key"), made("new.key"));
        let data = Data::new(&[Chain { id: CHAIN, first_height: 1, keys: vec![old.1.clone()] }]);
        let node = Node::start(&data.path(), None, &[]);
        Self { data, node, old, new, _keys: dir }
    }

    /// `mainstem keys ARGS --data DIR`, which must go well; gives what it prints.
    fn keys(&self, args: &[&str]) -> String {
        let (code, out, error) = self.try_keys(args);
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        out
    }

    fn try_keys(&self, args: &[&str]) -> (i32, String, String) {
        run(mainstem().arg("keys").args(args).arg("--data").arg(self.data.path()))
    }

    /// Whether a tributary with this key gets the chain up to `height`.
    fn gets_in(&self, key: &Path, height: u64) -> bool {
        let more = ["--rate", "0", "--stop-at", &height.to_string()];
        let mut tributary = sim(&self.node, key, &CHAIN.to_string(), &more);
        match tributary.wait().code() {
            Some(0) => true,
            Some(3) => false,
            other => panic!("{other:?}: {}", tributary.output()),
        }
    }

    fn refusal(&self, key: &str) -> Option<Value> {
        let all = http::get(&self.node.api, "/v1/refusals");
        all["refusals"].as_array().unwrap().iter().find(|refusal| refusal["key"] == key).cloned()
    }

    fn restart(&mut self) {
        self.node.process.signal("TERM");
        assert!(self.node.process.wait().success(), "{}", self.node.process.output());
        self.node = Node::start(&self.data.path(), None, &[]);
    }
}

#[test]
fn a_revoked_key_is_out_at_once_and_stays_out_until_it_is_restored() {
    let mut world = World::new();
    let (file, key) = world.old.clone();
    let mut tributary = sim(&world.node, &file, "7", &["--rate", "50"]);
    wait_for("blocks", || (http::durable(&world.node.api, CHAIN) > 10).then_some(()));

    let begun = Instant::now();
    let out = world.keys(&["revoke", &key]);
    assert!(out.contains("Nobody may speak for chain 3MNX \"chain 7\" now"), "{out}");
    assert_eq!(tributary.wait().code(), Some(3), "{}", tributary.output());
    let took = begun.elapsed();
    println!("out after {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(tributary.output().contains("revoked"), "{}", tributary.output());
    wait_for("the end of the session", || {
        let peers = http::get(&world.node.api, "/v1/peers");
        peers["peers"].as_array().unwrap().is_empty().then_some(())
    });
    assert!(world.node.process.output().contains("a key was revoked"), "{}", world.node.process.output());

    let again = format!("{key} is revoked already\n");
    assert_eq!(world.keys(&["revoke", &key]), again);
    let durable = http::durable(&world.node.api, CHAIN);
    assert!(!world.gets_in(&file, durable + 1000));
    let refusal = world.refusal(&key).expect("a refusal");
    assert_eq!((&refusal["code"], &refusal["registered"]), (&"revoked".into(), &true.into()), "{refusal}");
    world.restart();
    assert!(!world.gets_in(&file, durable + 1000));

    world.keys(&["restore", &key]);
    let more = ["--rate", "0", "--keep-trying", "--stop-at", &(durable + 1000).to_string()];
    let mut tributary = sim(&world.node, &file, "7", &more);
    assert!(tributary.wait().success(), "{}", tributary.output());
}

#[test]
fn a_new_key_speaks_for_the_chain_of_the_one_it_stands_for() {
    let mut world = World::new();
    let ((old, old_key), (new, new_key)) = (world.old.clone(), world.new.clone());
    assert!(world.gets_in(&old, 100));
    assert!(!world.gets_in(&new, 200));

    world.keys(&["rotate", &old_key, &new_key, "--keep-old"]);
    wait_for("the new key to be let in", || world.gets_in(&new, 200).then_some(()));
    assert!(world.gets_in(&old, 300), "both, for a while");

    let out = world.keys(&["rotate", &old_key, &new_key]);
    assert!(out.contains(&format!("Revoked {old_key}")), "{out}");
    wait_for("the old key to be shut out", || {
        let durable = http::durable(&world.node.api, CHAIN);
        (!world.gets_in(&old, durable + 100)).then_some(())
    });
    world.restart();
    let durable = http::durable(&world.node.api, CHAIN);
    assert!(!world.gets_in(&old, durable + 100));
    assert!(world.gets_in(&new, durable + 100));

    let _tributary = sim(&world.node, &new, "7", &["--rate", "10"]);
    let peer = wait_for("the session", || {
        let peers = http::get(&world.node.api, "/v1/peers");
        peers["peers"].get(0).filter(|peer| peer["speaks_for"] == 1).cloned()
    });
    assert_eq!((&peer["key"], &peer["presented"]), (&old_key.clone().into(), &new_key.clone().into()));
    let listed: Value = serde_json::from_str(&world.keys(&["list", "--json"])).unwrap();
    let listed = &listed["chains"][0]["keys"][0];
    assert_eq!((&listed["key"], &listed["revoked"]), (&old_key.into(), &true.into()));
    assert_eq!(
        (&listed["stands_in"][0]["key"], &listed["stands_in"][0]["revoked"]),
        (&new_key.into(), &false.into())
    );
}

#[test]
fn a_file_that_becomes_wrong_changes_nothing_and_a_node_does_not_start_with_it() {
    let mut world = World::new();
    let file = world.data.path().join("keys.toml");
    fs::write(&file, "revoked = [\"abc\"]\n").unwrap();
    world.node.process.line("an error", |line| {
        (line.contains("ERROR") && line.contains("the keys stay as they were")).then_some(())
    });
    assert!(world.gets_in(&world.old.0, 100));
    let (code, _, error) = world.try_keys(&["revoke", &world.old.1]);
    assert_eq!(code, 2);
    assert!(error.contains("keys.toml: revoked[0]: \"abc\" is not a node key"), "{error}");

    world.node.process.signal("TERM");
    world.node.process.wait();
    let mut node = Node::launch(&world.data.path(), None, &[]);
    assert_eq!(node.wait().code(), Some(2));
    assert!(node.output().contains("\"abc\" is not a node key"), "{}", node.output());
    let (code, _, error) = run(mainstem().args(["config", "check", "--data"]).arg(world.data.path()));
    assert_eq!(code, 2);
    assert!(error.contains("is not a node key"), "{error}");
}

#[test]
fn a_file_that_is_lost_keeps_a_revoked_key_out_until_a_file_lets_it_in() {
    let mut world = World::new();
    let (tributary, key) = world.old.clone();
    let file = world.data.path().join("keys.toml");
    world.keys(&["revoke", &key]);
    wait_for("the key to be shut out", || (!world.gets_in(&tributary, 100)).then_some(()));
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    for what in ["is gone", "is empty"] {
        world.node.process.line("an error", |line| {
            (line.contains("ERROR") && line.contains(&format!("keys.toml {what}"))).then_some(())
        });
        assert!(!world.gets_in(&tributary, 100), "{what}");
        fs::write(&file, "").unwrap();
    }
    fs::write(&file, text).unwrap();
    world.node.process.line("that it is back", |line| line.contains("is right again").then_some(()));
    assert!(!world.gets_in(&tributary, 100));
    fs::write(&file, "revoked = []\n").unwrap();
    wait_for("the key to be let in", || world.gets_in(&tributary, 100).then_some(()));
}

#[test]
fn keys_that_nobody_registered_are_refused_with_what_would_be_right() {
    let world = World::new();
    let (old, new) = (world.old.1.as_str(), world.new.1.as_str());
    for (args, said) in [
        (&["revoke", new] as &[&str], "is registered for no chain and stands for no key that is"),
        (&["rotate", new, old], "is registered itself: expected a new key"),
        (&["rotate", new, new], "is registered for no chain"),
        (&["restore", old], "is not revoked"),
    ] {
        let (code, out, error) = world.try_keys(args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        assert!(error.contains(said), "{said:?} in {error:?}");
    }
    assert!(!world.data.path().join("keys.toml").exists());
    assert_eq!(world.try_keys(&["revoke", "abc"]).0, 2);
    let listed = world.keys(&["list"]);
    assert_eq!(listed, format!("3MNX \"chain 7\"\n  {old}  registered\n"));
}
