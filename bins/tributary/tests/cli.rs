//! The program as its user meets it, without a main chain.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const MAIN_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

struct Case(TempDir);

impl Case {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.current_dir(self.path()).args(line.split_whitespace());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRIBUTARY_")) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }
}

fn assert_ends(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{text}\nexpected: {word}");
    }
}

#[test]
fn keys_are_made_once_for_their_owner_alone_and_shown() {
    let case = Case::new();
    let made = case.run("keys new node.key");
    assert_ends(&made, 0, &[]);
    let mode = fs::metadata(case.path().join("node.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let public = String::from_utf8(made.stdout).unwrap();
    assert_eq!(public.trim().len(), 64);
    assert_eq!(String::from_utf8(case.run("keys show node.key").stdout).unwrap(), public);
    assert_ends(&case.run("keys new node.key"), 2, &["node.key exists already"]);
    fs::set_permissions(case.path().join("node.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_ends(&case.run("keys show node.key"), 2, &["chmod 600"]);
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let case = Case::new();
    fs::write(case.path().join("empty.jsonl"), "").unwrap();
    let with = |rest: &str| format!("{rest} --main-key {MAIN_KEY} --key none.key");
    assert_ends(&case.run("evm --chain tDVV"), 2, &["--main-key", "--key"]);
    assert_ends(&case.run(&with("evm --chain tDVV")), 2, &["none.key"]);
    assert_ends(&case.run(&with("evm --chain tDVV --rpc 127.0.0.1:8545")), 2, &["127.0.0.1:8545", "http"]);
    assert_ends(&case.run(&with("evm --chain tDVV --batch 0")), 2, &["1 to 1000"]);
    assert_ends(&case.run(&with("file none.jsonl --chain tDVV")), 2, &["none.jsonl", "No such file"]);
    assert_ends(&case.run(&with("file empty.jsonl")), 2, &["give --chain"]);
    assert_ends(&case.run(&with("sim --chain 7,8 --chains 2")), 2, &["--chain names several"]);
    assert_ends(&case.run(&with("sim --chain tDVV,tDVV")), 2, &["names tDVV twice"]);
    assert_ends(&case.run(&with("sim --chain tDVV --rate x")), 2, &["--rate", "0 to 1000000"]);
    case.run("keys new node.key");
    let line = format!("sim --chain 7 --main nowhere --main-key {MAIN_KEY} --key node.key");
    assert_ends(&case.run(&line), 2, &["nowhere", "host:port"]);
}

#[test]
fn options_come_from_the_environment_too() {
    let case = Case::new();
    fs::write(case.path().join("blocks.jsonl"), "").unwrap();
    for line in ["file blocks.jsonl", "evm", "sim"] {
        let output = case
            .command(line)
            .env("TRIBUTARY_MAIN_KEY", MAIN_KEY)
            .env("TRIBUTARY_KEY", "of-the-environment.key")
            .env("TRIBUTARY_CHAIN", "tDVV")
            .output()
            .unwrap();
        assert_ends(&output, 2, &["of-the-environment.key"]);
    }
    let convert = case.command("file convert none.jsonl b").env("TRIBUTARY_CHAIN", "tDVV").output().unwrap();
    assert_ends(&convert, 2, &["none.jsonl"]);
}

#[test]
fn a_file_is_converted_there_and_back() {
    let case = Case::new();
    let hash = |digit: u64| format!("0x{}", digit.to_string().repeat(64));
    let line = |height| {
        let (hash, parent) = (hash(height), hash(height - 1));
        let hashes = format!("\"hash\":\"{hash}\",\"parent\":\"{parent}\",\"tx_root\":\"{hash}\"");
        format!("{{\"height\":{height},{hashes},\"time\":{height}}}\n")
    };
    let lines = [1, 2, 3].map(line).concat();
    fs::write(case.path().join("a"), &lines).unwrap();
    assert_ends(&case.run("file convert a b --chain tDVV"), 0, &[]);
    assert_eq!(fs::metadata(case.path().join("b")).unwrap().len(), 64 + 3 * 80);
    let back = case.run("file convert b c");
    assert_ends(&back, 0, &[]);
    assert_eq!(String::from_utf8_lossy(&back.stdout), "3 blocks, heights 1 to 3, in c\n");
    assert_eq!(fs::read_to_string(case.path().join("c")).unwrap(), lines);
    assert_ends(&case.run("file convert b c"), 2, &["c: is there already", "--force"]);
}

#[test]
fn the_exit_codes_are_in_the_help() {
    let help = Case::new().run("--help");
    let text = String::from_utf8_lossy(&help.stdout);
    for words in ["Exit codes:", "3  refused by the main chain", "4  the side chain was reorganised"] {
        assert!(text.contains(words), "{text}");
    }
}
