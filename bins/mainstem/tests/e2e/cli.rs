//! Commands that end by themselves: what they print, what they refuse, and with which exit code.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::node::{Chain, Data, Node};
use crate::support::{mainstem, run};

fn chain(id: u32) -> Chain {
    Chain { id, first_height: 1, keys: vec!["ab".repeat(32)] }
}

#[test]
fn help_names_every_command_and_gives_examples() {
    let (code, out, _) = run(mainstem().arg("--help"));
    assert_eq!(code, 0);
    for word in ["dev", "init", "run", "keys", "config", "proof", "verify", "Examples:"] {
        assert!(out.contains(word), "{word} in {out}");
    }
}

#[test]
fn help_of_run_shows_each_setting_in_its_group_with_default_and_variable() {
    let (code, out, _) = run(mainstem().args(["run", "--help"]));
    assert_eq!(code, 0);
    let seal = out.find("[seal]:").expect("the group");
    let flag = out.find("--seal.interval-ms <N>").expect("the flag");
    let storage = out.find("[storage]:").expect("the next group");
    assert!(seal < flag && flag < storage);
    assert!(out.contains("[default: 100] [env: MAINSTEM_SEAL_INTERVAL_MS]"), "{out}");
}

#[test]
fn init_makes_a_directory_that_checks_and_says_what_to_do_next() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    let (code, out, error) =
        run(mainstem().args(["init", "--id", "tDVV", "--name", "mine", "--data"]).arg(&data));
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains(&format!("mainstem run --data {}", data.display())), "{out}");
    assert_eq!(fs::metadata(data.join("node.key")).unwrap().permissions().mode() & 0o777, 0o600);

    let (code, out, error) = run(mainstem().args(["config", "check", "--data"]).arg(&data));
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out.matches(": right").count(), 3, "{out}");
    assert!(out.contains("main chain tDVV \"mine\""), "{out}");
}

#[test]
fn init_refuses_a_directory_with_anything_in_it_and_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, _) = run(mainstem().args(["init", "--data"]).arg(dir.path()));
    assert_eq!(code, 0, "an empty directory is taken");
    let key = fs::read(dir.path().join("node.key")).unwrap();
    let (code, out, error) = run(mainstem().args(["init", "--data"]).arg(dir.path()));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains("is not empty; name a new directory with --data"), "{error}");
    assert_eq!(fs::read(dir.path().join("node.key")).unwrap(), key);

    let (code, _, error) = run(mainstem().args(["init", "--data"]).arg(dir.path().join("node.key")));
    assert_eq!(code, 1);
    assert!(error.contains("cannot be the data directory"), "{error}");
}

#[test]
fn init_validates_the_genesis_document_before_it_makes_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (document, data) = (dir.path().join("g.toml"), dir.path().join("data"));
    let main = "[main]\nid = 1\nname = \"m\"\n";
    for (text, said) in [
        ("id = 1".to_owned(), "g.toml: TOML parse error at line 1"),
        ("[main]\nid = 1\nname = \"\"".into(), "main.name: \"\" is empty"),
        (format!("{main}extra = 1"), "unknown field `extra`"),
        (format!("{main}[[chain]]\nid = \"tDVVV\"\nname = \"s\"\nnodes = []"), "is not a chain id"),
        (
            format!("{main}[[chain]]\nid = 1\nname = \"s\"\nnodes = [\"{}\"]", "ab".repeat(32)),
            "chain[0].id: ",
        ),
        (format!("{main}[[chain]]\nid = 2\nname = \"s\"\nnodes = []"), "names no node"),
        (format!("{main}[[chain]]\nid = 2\nname = \"s\"\nnodes = [\"abc\"]"), "is not a node key"),
        (
            format!(
                "{main}[[chain]]\nid = 2\nname = \"s\"\nfirst_height = 0\nnodes = [\"{}\"]",
                "ab".repeat(32)
            ),
            "chain[0].first_height: 0 is no height",
        ),
    ] {
        fs::write(&document, text).unwrap();
        let (code, _, error) =
            run(mainstem().arg("init").arg("--data").arg(&data).arg("--genesis").arg(&document));
        assert_eq!(code, 2);
        assert!(error.contains("g.toml") && error.contains(said), "{said:?} in {error}");
        assert!(!data.exists());
    }
}

#[test]
fn keys_are_made_once_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k");
    let (code, made, _) = run(mainstem().args(["keys", "new"]).arg(&file));
    assert_eq!((code, made.trim().len()), (0, 64));
    let (code, shown, _) = run(mainstem().args(["keys", "show"]).arg(&file));
    assert_eq!((code, &shown), (0, &made));
    let (code, _, error) = run(mainstem().args(["keys", "new"]).arg(&file));
    assert_eq!(code, 2);
    assert!(error.contains("a key is never overwritten"), "{error}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, error) = run(mainstem().args(["keys", "show"]).arg(&file));
    assert_eq!(code, 2);
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn config_show_tells_each_value_and_where_it_comes_from() {
    let data = Data::new(&[chain(7)]);
    let config = data.path().join("mainstem.toml");
    fs::write(&config, "[seal]\nleaves = 5\n").unwrap();
    let (code, out, error) = run(mainstem()
        .args(["config", "show", "--origin", "--api.threads=3", "--config"])
        .arg(&config)
        .env("MAINSTEM_LOG_FORMAT", "json"));
    assert_eq!((code, error.as_str()), (0, ""));
    let origin = |key: &str| {
        let line = out.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        line.split_once(" # ").map(|(value, origin)| (value.trim().to_owned(), origin.to_owned())).unwrap()
    };
    assert_eq!(origin("leaves"), ("leaves = 5".into(), format!("{}:2", config.display())));
    assert_eq!(origin("threads"), ("threads = 3".into(), "flag --api.threads".into()));
    assert_eq!(origin("format"), ("format = \"json\"".into(), "environment MAINSTEM_LOG_FORMAT".into()));
    assert_eq!(origin("reactors"), ("reactors = 0".into(), "default".into()));
    out.parse::<toml::Table>().expect("what is shown is a configuration file");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_all_its_problems() {
    let data = Data::new(&[chain(7)]);
    fs::write(data.path().join("mainstem.toml"), "[seal]\nleafs = 5\nmax_leaves = 0\n").unwrap();
    for command in ["config check", "config show", "run"] {
        let (code, out, error) =
            run(mainstem().args(command.split(' ')).arg("--data").arg(data.path()).arg("--api.threads=x"));
        assert_eq!((code, out.as_str()), (2, ""), "{command}");
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        assert!(
            lines[0].ends_with("mainstem.toml:2: `seal.leafs` is no setting; did you mean `leaves`?"),
            "{error}"
        );
        assert!(
            lines[1].contains("mainstem.toml:3: seal.max_leaves = 0: expected a number, from 1 to"),
            "{error}"
        );
        assert!(
            lines[2]
                .starts_with("error[MS-1004]: flag --api.threads: api.threads = \"x\": expected a number"),
            "{error}"
        );
    }
}

#[test]
fn an_environment_that_is_no_text_is_no_panic() {
    let broken = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let show = || {
        let mut command = mainstem();
        command.args(["config", "show", "--data", "/nowhere"]);
        command
    };
    assert_eq!(run(show().env("UNRELATED", broken)).0, 0);
    let (code, _, error) = run(show().env("MAINSTEM_API_ADDR", broken));
    assert_eq!(code, 2);
    assert!(error.starts_with("error[MS-1004]: environment MAINSTEM_API_ADDR: api.addr = "), "{error}");
}

#[test]
fn run_says_what_is_missing_in_its_data_directory() {
    let missing = |remove: &[&str], expected: &str| {
        let data = Data::new(&[chain(7)]);
        for name in remove {
            fs::remove_file(data.path().join(name)).unwrap();
        }
        let (code, _, error) = run(mainstem().args(["run", "--data"]).arg(data.path()));
        assert_eq!(code, 2);
        assert!(error.contains(expected), "{expected:?} in {error}");
    };
    missing(
        &["genesis.toml"],
        "genesis.toml cannot be read (`mainstem init` makes a data directory with one)",
    );
    missing(&["node.key"], "node.key does not exist; `mainstem keys new` makes a key");
}

#[test]
fn a_data_directory_of_another_genesis_is_refused_with_both_hashes() {
    let data = Data::new(&[chain(7)]);
    let mut node = Node::start(&data.path(), None, &[]);
    let hash =
        |genesis: &Path| engine::state::Genesis::parse(&fs::read_to_string(genesis).unwrap()).unwrap().hash;
    let genesis = data.path().join("genesis.toml");
    let before = hash(&genesis);
    node.process.signal("TERM");
    assert!(node.process.wait().success(), "{}", node.process.output());

    fs::write(&genesis, fs::read_to_string(&genesis).unwrap() + "# another\n").unwrap();
    let after = hash(&genesis);
    let (code, _, error) = run(mainstem().args(["run", "--data"]).arg(data.path()));
    assert_eq!(code, 1);
    assert!(error.contains(&before.to_string()) && error.contains(&after.to_string()), "{error}");
}

#[test]
fn a_busy_port_is_an_error_that_names_the_flag() {
    let (one, two) = (Data::new(&[chain(7)]), Data::new(&[chain(7)]));
    let node = Node::start(&one.path(), None, &[]);
    let api = node.api.strip_prefix("http://").unwrap();
    for (api, ingest, said) in [
        (api, "127.0.0.1:0", "--api.addr moves this port"),
        ("127.0.0.1:0", &*node.ingest, "--ingest.addr moves"),
    ] {
        let (code, _, error) = run(mainstem()
            .args(["run", "--api.addr", api, "--ingest.addr", ingest, "--data"])
            .arg(two.path()));
        assert_eq!(code, 1);
        assert!(error.contains(said) && error.contains("in use"), "{error}");
    }
}

#[test]
fn two_nodes_cannot_share_a_data_directory() {
    let data = Data::new(&[chain(7)]);
    let _node = Node::start(&data.path(), None, &[]);
    let mut second = mainstem();
    second
        .args(["run", "--api.addr", "127.0.0.1:0", "--ingest.addr", "127.0.0.1:0", "--data"])
        .arg(data.path());
    let (code, _, error) = run(&mut second);
    assert_eq!(code, 1);
    assert!(error.contains("log"), "{error}");
}

#[test]
fn settings_that_cannot_be_are_refused_by_check_and_by_run_before_anything_is_written() {
    let data = Data::new(&[chain(7)]);
    for (flags, said) in [
        (
            ["--storage.segment-bytes", "1MiB"],
            "seal.max_leaves = 262144: side blocks are too many: a main block with so many of 1 chain may take",
        ),
        (
            ["--storage.segment-bytes", "1500000"],
            "storage.segment_bytes = 1500000: expected a multiple of 4096",
        ),
        (["--cache.lane-blocks", "16777216"], "cache.bytes = 1073741824: bytes are too few"),
    ] {
        for command in [&["config", "check"][..], &["run"]] {
            let (code, _, error) = run(mainstem().args(command).args(flags).arg("--data").arg(data.path()));
            assert_eq!(code, 2, "{error}");
            assert!(error.contains(said), "{error}");
            assert!(!data.log().exists(), "a log would keep what it was made with");
        }
    }
}

#[test]
fn a_log_that_holds_nothing_says_how_to_start_with_another_genesis() {
    let data = Data::new(&[]);
    let mut node = Node::start(&data.path(), None, &[]);
    node.process.kill();
    let genesis = data.path().join("genesis.toml");
    fs::write(&genesis, fs::read_to_string(&genesis).unwrap() + "\n# another document\n").unwrap();
    let (code, _, error) = run(mainstem().arg("run").arg("--data").arg(data.path()));
    assert_eq!(code, 1);
    assert!(error.contains("holds the log of genesis 0x"), "{error}");
    assert!(error.contains("nothing is indexed in it yet: remove "), "{error}");
}
