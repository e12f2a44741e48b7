//! `mainstem inspect`: what it says of a sound log, and that it finds damage.

use serde_json::Value;

use crate::support::log::{Made, damage};

#[test]
fn what_inspect_shows_fits_a_terminal_and_names_what_is_not_there() {
    let made = Made::new();
    let log = made.inspect(&["log", "--chains"]);
    assert!(log.contains("main chain   AELF (9992731)\n") && log.contains(" of 3 chains\n"), "{log}");
    assert!(log.contains("0000000001.seg  sealed  1-"), "{log}");
    let block = made.inspect(&["block", "1"]);
    assert!(block.contains("\"history_root\": \"0x") && block.contains("\ntDVV "), "{block}");
    let chain = made.inspect(&["chain", "tDVV"]);
    assert!(chain.contains("chain          tDVV (1866392)\n"), "{chain}");
    assert!(made.inspect(&["check"]).contains("\nsound, as far as it was read"));
    assert!(made.inspect(&["check", "--deep"]).ends_with("\nsound\n"));
    for line in [log, chain].iter().flat_map(|text| text.lines()) {
        assert!(line.len() <= 80, "{line}");
    }
    for (args, said) in [
        (["block", "99999999"], format!("there is no main block 99999999: the log has 1 to {}", made.head())),
        (["chain", "zzzz"], "no block of chain zzzz is indexed in this log".into()),
    ] {
        let (code, _, error) = made.mainstem(&[&["inspect"], &args[..]].concat());
        assert_eq!((code, error), (1, format!("error[MS-7001]: {said}\n")));
    }
}

#[test]
fn what_machines_read_is_what_people_read() {
    let made = Made::new();
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&made.inspect(&[args, &["--json"]].concat())).unwrap()
    };
    let log = json(&["log", "--chains"]);
    let (head, segments) = (&log["head"], log["segments"].as_array().unwrap());
    assert_eq!((head, &log["first"], &log["chain_count"]), (&made.head().into(), &1.into(), &3.into()));
    let last = segments.last().unwrap();
    assert_eq!((&last["last"], &last["state"], &last["index"]), (head, &"active".into(), &Value::Null));
    assert!(segments[..segments.len() - 1].iter().all(|segment| segment["index"] == "ok"));
    assert_eq!(&json(&["block", "latest"])["header"]["height"], head);
    for chain in log["chains"].as_array().unwrap() {
        assert_eq!(&json(&["chain", chain["chain"].as_str().unwrap()]), chain);
    }
    let check = json(&["check", "--deep"]);
    assert_eq!((&check["sound"], &check["records"], &check["next"]), (&true.into(), head, &Value::Null));
}

#[test]
fn check_names_the_damaged_place_and_what_to_do_next() {
    let made = Made::new();
    let segments = made.segments();
    let last = segments.last().unwrap();
    // The body of its first record, behind the segment's and the record's headers.
    damage(&last.file, 4096 + 64 + 8);
    let record = last.first.0;
    let (code, out, error) = made.mainstem(&["inspect", "check"]);
    assert_eq!((code, error.as_str()), (1, ""), "{out}");
    let place = format!("{} is damaged at byte 4096, record {record}: wrong checksum\n", last.file.display());
    assert!(out.contains(&place), "{out}");
    assert!(
        out.ends_with(&format!("\n  mainstem inspect repair --data {}\n", made.path().display())),
        "{out}"
    );
    let (code, out, _) = made.mainstem(&["inspect", "check", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["sound"]), (1, &false.into()));
    let place = &report["damage"][0];
    assert_eq!((&place["offset"], &place["record"]), (&4096.into(), &record.into()), "{out}");
}
