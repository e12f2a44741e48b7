//! `mainstem prune`: removes the oldest segments, and says what that costs.

use serde_json::Value;

use crate::support::log::Made;

#[test]
fn pruning_removes_whole_segments_and_says_so_ever_after() {
    let made = Made::new();
    let all = made.export(&[]);
    let (before, head) = (made.segments(), made.head());
    let kept = before[2].first.0;
    let height = (kept + 1).to_string();
    let prune = |more: &[&str]| made.mainstem(&[&["prune", "--before", &height], more].concat());

    let (code, out, error) = prune(&[]);
    assert_eq!(code, 0, "{error}");
    let gone = kept - 1;
    assert!(out.contains("would be removed:\n  segments     2 (128.00 KiB)\n"), "{out}");
    assert!(out.contains(&format!("main blocks  1 to {gone}\n")), "{out}");
    assert!(out.contains(&format!("inspect export --to {gone} --out before-{kept}.jsonl --data ")), "{out}");
    assert!(out.contains(&format!("prune --before {height} --apply --data ")), "{out}");
    let rows: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_gone = |row: &&Value| row["main_height"].as_u64().unwrap() < kept;
    for chain in ["tDVV", "16777223", "tDVW"] {
        let newest = rows.iter().filter(is_gone).rfind(|row| row["chain"] == chain).unwrap();
        assert!(out.contains(&format!(" {chain:10} up to {}\n", newest["height"])), "{out}");
    }
    assert!(made.export(&[]) == all, "without --apply nothing is changed");

    let writer = made.open();
    let (code, _, error) = prune(&["--apply"]);
    assert!(code == 1 && error.contains("storage.keep_blocks"), "{error}");
    drop(writer);

    let (code, out, error) = prune(&["--apply"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.ends_with(&format!("The log begins with main block {kept}.\n")), "{out}");
    assert_eq!(made.spares(), 0, "the space is given back");
    let left: Vec<_> = rows.iter().filter(|row| !is_gone(row)).cloned().collect();
    let exported: Vec<Value> =
        made.export(&[]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(exported == left);
    made.inspect(&["check", "--deep"]);
    let log = made.inspect(&["log", "--chains"]);
    assert!(
        log.contains(&format!("main blocks  {kept} to {head}; those before {kept} were pruned")),
        "{log}"
    );
    for args in [&["block", "1"][..], &["export", "--from", "1"]] {
        let (code, _, error) = made.mainstem(&[&["inspect"], args].concat());
        let said = format!("error[MS-7001]: main block 1 was pruned: the log has {kept} to {head}\n");
        assert_eq!((code, error), (1, said));
    }
    let (code, out, error) = prune(&["--apply"]);
    assert!(code == 0 && out.starts_with("nothing to prune: "), "{out}{error}");
    let (code, _, error) = made.mainstem(&["prune", "--before", "900"]);
    assert!(code == 1 && error.contains(&format!("the log has {kept} to {head}")), "{error}");
}
