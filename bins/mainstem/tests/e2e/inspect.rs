//! `mainstem inspect`: what it says of a sound log, and that it finds damage.

use std::fs;
use std::os::unix::fs::FileExt;

use serde_json::Value;

use crate::support::{alone, mainstem, run};

#[test]
fn inspect_shows_a_log_finds_it_sound_and_names_the_place_that_is_damaged() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("world");
    let (code, out, error) = run(mainstem()
        .args(["dev", "--blocks", "500", "--rate", "0", "--chains", "3"])
        .args(["--api", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--data"])
        .arg(&data));
    assert_eq!(code, 0, "{out}{error}");
    let inspect = |args: &[&str]| run(mainstem().arg("inspect").args(args).arg("--data").arg(&data));

    let (code, log, error) = inspect(&["log"]);
    assert_eq!(code, 0, "{error}");
    assert!(log.contains("main chain   AELF (9992731)") && log.contains("0000000001.seg  active"), "{log}");
    assert!(log.contains(" of 3 chains\n"), "{log}");
    for line in log.lines().chain(inspect(&["log", "--chains"]).1.lines()) {
        assert!(line.len() <= 80, "{line}");
    }
    let (code, newest, _) = inspect(&["block", "latest"]);
    assert_eq!(code, 0);
    assert!(newest.contains("\"history_root\": \"0x") && newest.contains("tDV"), "{newest}");
    let (code, _, error) = inspect(&["block", "99999999"]);
    assert_eq!(code, 1);
    assert!(error.contains("there is no main block 99999999: the log has 1 to "), "{error}");
    let (code, chain, _) = inspect(&["chain", "tDVV"]);
    assert_eq!(code, 0);
    assert!(chain.contains("chain          tDVV (1866392)"), "{chain}");
    let (code, _, error) = inspect(&["chain", "zzzz"]);
    assert_eq!((code, error.contains("no block of chain zzzz")), (1, true), "{error}");
    for deep in [&["check"][..], &["check", "--deep"]] {
        let (code, out, error) = inspect(deep);
        assert_eq!(code, 0, "{out}{error}");
        assert!(out.contains("\nsound"), "{out}");
    }

    // What machines read says the same.
    let json = |args: &[&str]| -> Value {
        let (code, out, error) = inspect(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&out).unwrap()
    };
    let log = json(&["log", "--chains"]);
    let head = &log["head"];
    assert_eq!(
        (&log["first"], &log["segments"][0]["last"], &log["chain_count"]),
        (&1.into(), head, &3.into())
    );
    assert_eq!(&json(&["block", "latest"])["header"]["height"], head);
    assert_eq!(json(&["chain", "tDVV"]), log["chains"][0]);
    assert_eq!(json(&["check", "--deep"])["sound"], true);

    // The body of the first record, behind the segment's and the record's headers.
    let file = fs::File::options().write(true).open(data.join("log/0000000001.seg")).unwrap();
    file.write_all_at(&[0xff; 8], 4096 + 64 + 8).unwrap();
    let (code, out, error) = inspect(&["check"]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(out.contains("0000000001.seg is damaged at byte 4096, record 1: wrong checksum\n"), "{out}");
    assert!(out.contains(&format!("\n  mainstem inspect repair --data {}\n", data.display())), "{out}");
    let (code, out, _) = inspect(&["check", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["sound"]), (1, &false.into()));
    let place = &report["damage"][0];
    assert_eq!((&place["offset"], &place["record"]), (&4096.into(), &1.into()), "{out}");
}
