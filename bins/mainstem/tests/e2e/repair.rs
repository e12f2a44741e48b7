//! `mainstem inspect repair`: mends what is left whole elsewhere, and drops nothing without being told.

use std::fs;

use serde_json::Value;

use crate::support::log::{Made, damage};

#[test]
fn a_damaged_index_is_made_again_from_its_records() {
    let made = Made::new();
    let all = made.export(&[]);
    let segment = made.segments()[1].file.clone();
    // The table of offsets ends before the trailer and less than 64 bytes of padding.
    damage(&segment, (1 << 16) - 128 - 64);
    let name = segment.file_name().unwrap().to_str().unwrap();

    let (code, out, _) = made.mainstem(&["inspect", "check"]);
    assert_eq!(code, 1, "{out}");
    let next = format!("mainstem inspect repair --data {}", made.path().display());
    assert!(out.contains(name) && out.contains("table of") && out.contains(&next), "{out}");
    let (code, out, _) = made.mainstem(&["inspect", "check", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["sound"], &report["next"]), (1, &false.into(), &next.into()));
    assert!(report["damage"][0]["file"].as_str().unwrap().ends_with(name), "{out}");
    let (code, out, _) = made.mainstem(&["inspect", "log"]);
    assert!(
        code == 1 && out.lines().any(|line| line.starts_with(name) && line.ends_with("damaged")),
        "{out}"
    );

    let before = fs::read(&segment).unwrap();
    let (code, out, error) = made.mainstem(&["inspect", "repair"]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(out.contains(&format!("{name}: index and trailer made again")), "{out}");
    assert!(out.contains("Nothing was changed") && out.contains("repair --apply --data "), "{out}");
    assert!(fs::read(&segment).unwrap() == before, "without --apply nothing is changed");

    let (code, out, error) = made.mainstem(&["inspect", "repair", "--apply"]);
    assert_eq!(code, 0, "{out}{error}");
    made.inspect(&["check", "--deep"]);
    assert!(made.export(&[]) == all);
    assert!(made.inspect(&["repair"]).starts_with("sound up to main block"));
}

#[test]
fn a_damaged_record_is_given_up_only_as_told() {
    let made = Made::new();
    let all = made.export(&[]);
    let (block, file, offset) = made.damage_record(3);
    for args in
        [&["inspect", "check", "--deep"][..], &["inspect", "repair"], &["inspect", "repair", "--apply"]]
    {
        let (code, out, error) = made.mainstem(args);
        assert_eq!(code, 1, "{args:?}: {out}{error}");
        let place = format!("{} is damaged at byte {offset}, record {block}: ", file.display());
        assert!(out.contains(&place), "{args:?}: {out}");
    }
    let (_, out, _) = made.mainstem(&["inspect", "repair"]);
    assert!(out.contains(&format!("lost: main block {block}\n")), "{out}");
    assert!(out.contains(&format!("repair --drop-from {block} --data ")), "{out}");
    let rows: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows_of = |chain: &str| -> Vec<u64> {
        let of_block = rows.iter().filter(|row| row["main_height"] == block && row["chain"] == chain);
        of_block.map(|row| row["height"].as_u64().unwrap()).collect()
    };
    for chain in ["tDVV", "16777223", "tDVW"] {
        match rows_of(chain)[..] {
            [] => assert!(!out.contains(&format!("\n  {chain:10} ")), "{out}"),
            [only] => {
                assert!(out.contains(&format!("\n  {chain:10} {only} to {only}: 1 side block ")), "{out}");
            }
            [first, .., last] => {
                assert!(out.contains(&format!("\n  {chain:10} {first} to {last}: ")), "{out}");
            }
        }
    }

    let from = block.to_string();
    let (code, out, _) = made.mainstem(&["inspect", "repair", "--drop-from", &from]);
    assert_eq!(code, 1, "{out}");
    let (head, count) = (made.head(), made.head() + 1 - block);
    let given_up = format!(
        "would be given up, as --drop-from says:\n  main blocks {block} to {head}: {count} main blocks "
    );
    assert!(out.contains(&given_up), "{out}");
    assert!(out.contains(&format!("--drop-from {block} --apply --data ")), "{out}");
    let head =
        |made: &Made| serde_json::from_str::<Value>(&made.inspect(&["block", "latest", "--json"])).unwrap();
    assert_eq!(head(&made)["header"]["height"], made.head(), "nothing was changed");

    let (code, out, error) = made.mainstem(&["inspect", "repair", "--drop-from", &from, "--apply"]);
    assert_eq!(code, 0, "{out}{error}");
    assert_eq!(head(&made)["header"]["height"], block - 1);
    made.inspect(&["check", "--deep"]);
    assert!(all.starts_with(&made.export(&[])));
    let (code, _, error) = made.mainstem(&["inspect", "repair", "--drop-from", "100000"]);
    assert!(code == 1 && error.contains("--drop-from"), "{error}");
}

#[test]
fn a_log_that_is_written_is_not_repaired() {
    let made = Made::new();
    let writer = made.open();
    for args in [&["inspect", "repair"][..], &["inspect", "repair", "--apply"]] {
        let (code, _, error) = made.mainstem(args);
        assert_eq!(
            (code, error.as_str()),
            (1, "error[MS-7001]: a node writes this log: stop it before it is repaired\n")
        );
    }
    drop(writer);
    made.inspect(&["repair", "--apply"]);
}
