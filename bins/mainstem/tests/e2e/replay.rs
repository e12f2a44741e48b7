//! `mainstem top`, `mainstem doctor`, `mainstem record` and `mainstem replay` on a running node.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::node::{Chain, Data, Node};
use crate::support::{http, key, mainstem, run, wait_for};
use crate::two_programs::sim;

fn doctor(args: &[&str], data: &Path) -> (i32, Value) {
    let (code, out, error) = run(mainstem().args(["doctor", "--json"]).args(args).arg("--data").arg(data));
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}")))
}

/// Level of a check, and the command that mends it.
fn found(report: &Value, check: &str) -> (String, String) {
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == check);
    let finding = finding.unwrap_or_else(|| panic!("{check} in {report}"));
    let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    (text("level"), text("mend"))
}

/// What depends on the machine that the test runs on, and not on the node.
const MACHINE: [&str; 12] = [
    "clock",
    "clock-sync",
    "clock-skew",
    "file-system",
    "disk-space",
    "disk-speed",
    "open-files",
    "udp-buffers",
    "memory",
    "memory-maps",
    "processor",
    "huge-pages",
];

/// The checks that failed, but for those of the machine.
fn failed(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    let failed = findings.filter(|finding| finding["level"] == "fail");
    failed
        .map(|finding| finding["check"].as_str().unwrap())
        .filter(|check| !MACHINE.contains(check))
        .collect()
}

#[test]
fn a_running_node_is_watched_and_examined_and_what_it_did_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let public = key(&key_file);
    let chain = |id| Chain { id, first_height: 1, keys: vec![public.clone()] };
    let data = Data::new(&[chain(7), chain(8), chain(9)]);
    let node = Node::start(&data.path(), None, &[]);
    // Some of it is in lanes before the recording begins, and chain 9 is silent all the time.
    let _tributary = sim(&node, &key_file, "7,8", &["--rate", "200"]);
    wait_for("the first blocks", || (http::durable(&node.api, 7) > 20).then_some(()));

    let (code, out, error) = run(mainstem().args(["top", "--once", "--node", &node.api]));
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains(&node.api) && out.contains("main head") && out.contains("bottleneck"), "{out}");
    let (code, out, _) = run(mainstem().args(["top", "--once", "--page", "chains", "--node", &node.api]));
    assert!(code == 0 && out.contains("3 chains   sorted by trouble"), "{out}");
    let (code, out, _) = run(mainstem().args(["top", "--json", "--node", &node.api]));
    let all: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, all["chains"].as_array().unwrap().len()), (0, 3));
    assert!(all["blocks"][0]["height"].as_u64() > Some(0) && all["peers"][0]["chains"] == 2, "{out}");
    let (code, _, error) = run(mainstem().args(["top", "--node", &node.api]));
    assert!(code == 1 && error.contains("a live view needs a terminal"), "{error}");

    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let (ingest, api) =
        (format!("127.0.0.1:{}", port(&node.ingest)), format!("127.0.0.1:{}", port(&node.api)));
    let (_, report) = doctor(&["--ingest.addr", &ingest, "--api.addr", &api], &data.path());
    assert_eq!(failed(&report), Vec::<&str>::new(), "{report}");
    for check in ["ingest-port", "api-port", "node", "log", "log-genesis", "genesis", "key"] {
        assert_eq!(found(&report, check).0, "ok", "{check}: {report}");
    }

    let file = dir.path().join("node.rec");
    let record = |time: &str| {
        run(mainstem().args(["record", "-o"]).arg(&file).args(["--for", time, "--data"]).arg(data.path()))
    };
    let (code, out, error) = record("3s");
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("its time was over"), "{out}");
    let (code, _, error) = record("3s");
    assert!(code != 0 && error.contains("exists"), "a recording is never overwritten: {error}");

    let replay = |more: &[&str]| run(mainstem().arg("replay").arg(&file).args(more));
    let (code, out, error) = replay(&["--speed", "max", "--json"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (outcome, blocks) = lines.split_last().unwrap();
    assert!(blocks.len() > 3 && blocks.iter().all(|block| block["same"] == true), "{out}");
    assert_eq!(outcome["outcome"]["different"], 0);
    for block in blocks {
        let height = block["height"].as_u64().unwrap();
        assert_eq!(block["replayed"], http::get(&node.api, &format!("/v1/blocks/{height}"))["hash"]);
    }
    let (code, out, _) = replay(&["--speed", "20", "--threads", "2", "--quiet"]);
    assert!(code == 0 && out.ends_with("all are the same, to the bit\n"), "{out}");

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, _, error) = replay(&["--speed", "max"]);
    assert!(code == 1 || code == 3, "{error}");
    assert!(error.contains("it is damaged at byte "), "{error}");
}

#[test]
fn doctor_names_each_planted_fault_and_what_mends_it() {
    use std::os::unix::fs::PermissionsExt;

    let free = ["--ingest.addr", "127.0.0.1:0", "--api.addr", "127.0.0.1:0"];
    let keys = vec!["ab".repeat(32)];
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: keys.clone() }]);
    let path = data.path();
    let (_, report) = doctor(&free, &path);
    assert_eq!(failed(&report), Vec::<&str>::new(), "{report}");

    let key_file = path.join("node.key");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = doctor(&free, &path);
    let (level, mend) = found(&report, "key");
    assert_eq!((code, level.as_str()), (1, "fail"));
    assert!(mend.starts_with("chmod 600 "), "{mend}");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, report) = doctor(&["--ingest.addr", &address, "--api.addr", "127.0.0.1:0"], &path);
    let (level, mend) = found(&report, "ingest-port");
    assert_eq!((code, level.as_str()), (1, "fail"));
    assert!(mend.contains("ss -lunp"), "{mend}");

    fs::write(path.join("keys.toml"), format!("revoked = {keys:?}\n")).unwrap();
    let (_, report) = doctor(&free, &path);
    assert_eq!(found(&report, "registered-keys").0, "warn", "{report}");
    fs::write(path.join("keys.toml"), "revoked = 7\n").unwrap();
    let (code, report) = doctor(&free, &path);
    assert_eq!((code, found(&report, "registered-keys").0.as_str()), (1, "fail"));
    fs::remove_file(path.join("keys.toml")).unwrap();

    fs::write(path.join("chains.toml"), "paused = 7\n").unwrap();
    let (code, report) = doctor(&free, &path);
    assert_eq!((code, failed(&report)), (1, vec!["paused-chains"]), "{report}");
    fs::remove_file(path.join("chains.toml")).unwrap();

    let with_token = [&free[..], &["--api.admin-token-file", "token"]].concat();
    let token = |text: &str| fs::write(path.join("token"), text).unwrap();
    let (code, report) = doctor(&with_token, &path);
    assert_eq!((code, failed(&report)), (1, vec!["admin-token"]), "there is no such file: {report}");
    token("short");
    let (code, report) = doctor(&with_token, &path);
    assert_eq!((code, failed(&report)), (1, vec!["admin-token"]), "{report}");
    token("0123456789abcdef0123");
    let (_, report) = doctor(&with_token, &path);
    assert_eq!(found(&report, "admin-token").0, "warn", "others can read it: {report}");
    fs::set_permissions(path.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let everywhere =
        ["--ingest.addr", "127.0.0.1:0", "--api.addr", "0.0.0.0:0", "--api.admin-token-file", "token"];
    let level = |args: &[&str]| found(&doctor(args, &path).1, "admin-token").0;
    assert_eq!((level(&with_token), level(&everywhere)), ("ok".to_owned(), "warn".to_owned()));

    fs::write(path.join("admin.sock"), "precious").unwrap();
    let (code, report) = doctor(&free, &path);
    assert_eq!((code, failed(&report)), (1, vec!["admin-socket"]), "{report}");
    fs::remove_file(path.join("admin.sock")).unwrap();

    let (_, report) = doctor(&[&free[..], &["--cache.bytes", "1MiB"]].concat(), &path);
    assert_eq!(failed(&report), Vec::<&str>::new(), "one chain fits: {report}");
    let (code, report) =
        doctor(&[&free[..], &["--cache.bytes", "1MiB", "--cache.lane-blocks", "100000"]].concat(), &path);
    assert_eq!((code, found(&report, "settings").0.as_str()), (1, "fail"), "{report}");

    // A log that was made with another document.
    let mut node = Node::start(&path, None, &[]);
    node.process.signal("TERM");
    assert!(node.process.wait().success());
    let genesis = path.join("genesis.toml");
    let text = fs::read_to_string(&genesis).unwrap();
    fs::write(&genesis, format!("{text}# changed\n")).unwrap();
    let (code, report) = doctor(&free, &path);
    assert_eq!((code, found(&report, "log-genesis").0.as_str()), (1, "fail"));
    fs::write(&genesis, "[main]\n").unwrap();
    let (code, report) = doctor(&free, &path);
    assert_eq!((code, found(&report, "genesis").0.as_str()), (1, "fail"));
    fs::write(&genesis, text).unwrap();

    // A log that is not as it was written.
    for name in ["LOG", "0000000001.seg"] {
        let file = data.log().join(name);
        let whole = fs::read(&file).unwrap();
        let mut bent = whole.clone();
        bent[20] ^= 1;
        fs::write(&file, bent).unwrap();
        let (code, report) = doctor(&free, &path);
        assert_eq!((code, failed(&report)), (1, vec!["log"]), "{name}: {report}");
        assert!(found(&report, "log").1.contains("inspect check"), "{report}");
        fs::write(&file, whole).unwrap();
    }
    let (_, report) = doctor(&free, &path);
    assert_eq!(failed(&report), Vec::<&str>::new(), "{report}");

    fs::write(path.join("mainstem.toml"), "[seal]\nleafs = 7\n").unwrap();
    let (code, report) = doctor(&free, &path);
    assert_eq!((code, found(&report, "configuration").0.as_str()), (1, "fail"), "{report}");
}
