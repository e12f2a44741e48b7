//! `mainstem inspect export`: what it writes, beside a node and of a damaged log, and that `docs/format.md` is enough
//! to read the same.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::log::{Made, damage};
use crate::support::process::Process;
use crate::support::{alone, mainstem, run, wait_for, workspace};

fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of main blocks for which `wanted` says yes.
fn of_main_blocks(lines: &str, wanted: impl Fn(u64) -> bool) -> String {
    let height = |line: &str| serde_json::from_str::<Value>(line).unwrap()["main_height"].as_u64().unwrap();
    lines.split_inclusive('\n').filter(|line| wanted(height(line))).collect()
}

#[test]
fn a_reader_written_from_the_format_document_reads_what_is_exported() {
    let mut made = Made::new();
    let script = workspace().join("docs/read_log.py");
    let python = |made: &Made, args: &[&str]| {
        let (code, out, error) = run(Command::new("python3").arg(&script).args(args).arg(made.log()));
        assert_eq!((code, error.as_str()), (0, ""), "python3 read_log.py {args:?}");
        out
    };
    assert!(python(&made, &["--self-test"]).contains("28 known values are right"));
    for step in ["whole", "pruned", "grown"] {
        match step {
            "pruned" => assert_eq!(made.prune(60), 2),
            // In the files that pruning left.
            "grown" => {
                made.write(120);
                assert_eq!(made.spares(), 0);
            }
            _ => {}
        }
        let exported = made.export(&[]);
        assert!(exported.lines().count() > 2000, "{step}");
        assert!(exported == python(&made, &[]), "{step}");
        assert!(exported == python(&made, &["--trust"]), "{step}");
        assert!(made.export(&["--what", "headers"]) == python(&made, &["--headers"]), "{step}");
    }
    let taken_back = Made::taken_back();
    assert!(taken_back.export(&[]) == python(&taken_back, &[]));

    let (_, file, offset) = made.damage_record(2);
    let (code, _, error) = run(Command::new("python3").arg(&script).arg(made.log()));
    assert_eq!(code, 1);
    let place = format!("{} at byte {offset}", file.display());
    assert!(error.starts_with("damaged: ") && error.contains(&place), "{error}");
}

#[test]
fn ranges_and_chains_choose_among_the_same_lines() {
    let made = Made::new();
    let all = made.export(&[]);
    // Not `assert_eq`, here and below: it would print megabytes.
    let range = made.export(&["--from", "10", "--to", "90"]);
    assert!(range == of_main_blocks(&all, |height| (10..=90).contains(&height)));
    assert!(made.export(&["--to", "1"]) == of_main_blocks(&all, |height| height == 1));
    for chains in [&["tDVV"][..], &["16777223"], &["tDVW", "16777223"]] {
        let is_of = |line: &str, chain| line.contains(&format!("\"chain\":\"{chain}\""));
        let of_any = |line: &&str| chains.iter().any(|chain| is_of(line, chain));
        let wanted: String = all.split_inclusive('\n').filter(of_any).collect();
        let options: Vec<_> = chains.iter().flat_map(|chain| ["--chain", chain]).collect();
        assert!(made.export(&options) == wanted);
        let in_range = of_main_blocks(&wanted, |height| height >= 33);
        assert!(made.export(&[&options[..], &["--from", "33"]].concat()) == in_range);
        let mut holders: Vec<_> = parsed(&in_range).iter().map(|row| row["main_hash"].clone()).collect();
        holders.dedup();
        let headers = made.export(&[&options[..], &["--from", "33", "--what", "headers"]].concat());
        let hashes: Vec<_> = parsed(&headers).iter().map(|row| row["hash"].clone()).collect();
        assert_eq!(hashes, holders);
    }
    let head = made.head();
    for (args, said) in [
        (&["--from", "900"][..], format!("there is no main block 900: the log has 1 to {head}")),
        (&["--to", "0"], format!("there is no main block 0: the log has 1 to {head}")),
        (&["--from", "9", "--to", "8"], "--to 8 is below --from 9".into()),
        (&["--chain", "zzzz"], "no block of chain zzzz is indexed in this log".into()),
    ] {
        let (code, out, error) = made.mainstem(&[&["inspect", "export"], args].concat());
        assert_eq!((code, out.as_str(), error), (1, "", format!("error[MS-7001]: {said}\n")));
    }
}

#[test]
fn a_damaged_block_is_left_out_and_named() {
    let made = Made::new();
    let all = made.export(&[]);
    let (block, file, offset) = made.damage_record(1);
    let place = format!(
        "left out main block {block}: {} is damaged at byte {offset}, record {block}: wrong checksum",
        file.display()
    );
    let (code, out, error) = made.mainstem(&["inspect", "export"]);
    assert_eq!(code, 1);
    assert!(
        error.contains(&place)
            && error.contains("1 main block could not be read: see `mainstem inspect repair --data "),
        "{error}"
    );
    assert!(out == of_main_blocks(&all, |height| height != block));

    // A file gets its name all the same: what it lacks was said.
    let to = made.path().join("out.jsonl");
    let (code, _, error) = made.mainstem(&["inspect", "export", "--out", to.to_str().unwrap()]);
    assert!(code == 1 && error.contains(&place), "{error}");
    assert!(fs::read_to_string(&to).unwrap() == out);

    // The index says where a chain's blocks are, but not what was in the damaged one.
    let (code, of_chain, error) = made.mainstem(&["inspect", "export", "--chain", "tDVV"]);
    assert!(code == 1 && error.contains(&place) || code == 0, "{error}");
    let wanted = out.lines().filter(|line| line.contains("\"tDVV\"")).count();
    assert_eq!(of_chain.lines().count(), wanted);

    // Without its table of offsets a whole segment cannot be read, which is told in one line.
    let segment = &made.segments()[2];
    damage(&segment.file, (1 << 16) - 128 - 64);
    let (code, out, error) = made.mainstem(&["inspect", "export"]);
    assert_eq!(code, 1);
    let (first, last) = (segment.first.0, segment.first.0 + segment.blocks - 1);
    assert!(error.contains(&format!("left out main blocks {first} to {last}: ")), "{error}");
    assert_eq!(error.lines().count(), 3, "{error}");
    assert!(out == of_main_blocks(&all, |height| height != block && !(first..=last).contains(&height)));
}

#[test]
fn an_export_of_a_log_whose_end_is_gone_says_that_there_was_more() {
    let made = Made::new();
    let all = made.export(&[]);
    // Of the last segment, which is not sealed, all that was durable when the last session ended.
    let segments = made.segments();
    let last = segments.last().unwrap();
    let block = last.first.0;
    let file = fs::File::options().write(true).open(&last.file).unwrap();
    file.write_all_at(&vec![0; last.record_bytes as usize], 4096).unwrap();
    let (code, out, error) = made.mainstem(&["inspect", "export"]);
    assert_eq!(code, 1, "{error}");
    assert!(out == of_main_blocks(&all, |height| height < block));
    let place = format!("{} is damaged at byte 4096, record {block}: nothing there", last.file.display());
    let before = block - 1;
    assert_eq!(error, format!("the export ends with main block {before} too soon: {place}\n"));
    // Who asks for less gets all of it.
    assert!(made.export(&["--to", &before.to_string()]) == out);
    let (code, out, _) = made.mainstem(&["inspect", "repair"]);
    assert!(code == 1 && out.contains(&format!("lost: main block {block} and all after it\n")), "{out}");

    // Without the whole file, the same.
    fs::remove_file(&last.file).unwrap();
    let (code, _, error) = made.mainstem(&["inspect", "export"]);
    assert!(code == 1 && error.contains("too soon: ") && error.contains("is missing"), "{error}");
    let (_, log, _) = made.mainstem(&["inspect", "log"]);
    assert!(log.contains(" lost "), "{log}");
}

#[test]
fn a_file_appears_when_it_is_whole_and_replaces_none() {
    let made = Made::new();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out.jsonl");
    let export = |more: &[&str]| {
        made.mainstem(&[&["inspect", "export", "--out", to.to_str().unwrap()], more].concat())
    };
    let names = || {
        let entries = fs::read_dir(dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let (code, out, error) = export(&[]);
    assert_eq!((code, out.as_str()), (0, ""), "{error}");
    let all = made.export(&[]);
    let said = error.replace(',', "");
    assert!(said.contains(&format!(
        "wrote {} side blocks of {} main blocks",
        all.lines().count(),
        made.head()
    )));
    assert!(fs::read_to_string(&to).unwrap() == all);
    assert_eq!(names(), ["out.jsonl"]);

    let (code, _, error) = export(&["--to", "3"]);
    assert!(code == 1 && error.contains("out.jsonl is there already; give --force"), "{error}");
    assert!(fs::read_to_string(&to).unwrap() == all);
    // What fails leaves nothing behind.
    assert_eq!(export(&["--force", "--from", "900"]).0, 1);
    assert!(fs::read_to_string(&to).unwrap() == all);
    assert_eq!(names(), ["out.jsonl"]);
    assert_eq!(export(&["--force", "--to", "3"]).0, 0);
    assert!(fs::read_to_string(&to).unwrap() == made.export(&["--to", "3"]));
    assert_eq!(names(), ["out.jsonl"]);
}

#[test]
fn a_closed_pipe_ends_an_export_quietly() {
    let made = Made::new();
    let mut child = mainstem()
        .args(["inspect", "export", "--data"])
        .arg(made.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"main_height\":1,"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// Ends with the test, whatever its outcome.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn readers_follow_a_log_that_a_node_writes() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("world");
    let mut node = Process::start(
        "mainstem dev",
        mainstem().args(["dev", "--rate", "200", "--chains", "3", "--api", "127.0.0.1:0"]).args([
            "--quic",
            "127.0.0.1:0",
            "--data",
            data.to_str().unwrap(),
        ]),
    );
    wait_for("the log", || data.join("log/LOG").exists().then_some(()));
    let inspect = |args: &[&str]| run(mainstem().arg("inspect").args(args).arg("--data").arg(&data));
    wait_for("a main block", || inspect(&["block", "latest"]).1.contains("\"height\"").then_some(()));
    let mut follow = mainstem();
    follow.args(["inspect", "export", "--follow", "--data"]).arg(&data).stdout(Stdio::piped());
    let mut follower = Follower(follow.spawn().unwrap());
    // Far more than there was when it began.
    let (code, before, error) = inspect(&["export"]);
    assert_eq!(code, 0, "{error}");
    let wanted = before.lines().count() + 1500;
    let lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let followed: Vec<String> = lines.take(wanted).map(Result::unwrap).collect();
    // The pipe is closed, which ends it with the next line.
    assert!(follower.0.wait().unwrap().success());
    assert_eq!(followed.len(), wanted);
    assert!(followed[..before.lines().count()].join("\n") + "\n" == before);
    let mut heads: HashMap<u64, u64> = HashMap::new();
    for line in &followed {
        let row: Value = serde_json::from_str(line).unwrap();
        let head = heads.entry(row["chain_id"].as_u64().unwrap()).or_insert(0);
        *head += 1;
        assert_eq!(row["height"].as_u64(), Some(*head), "{line}");
    }

    // The others work beside the node as well; those that write do not.
    for args in [&["log"][..], &["check"], &["check", "--deep"], &["chain", "tDVV"]] {
        let (code, out, error) = inspect(args);
        assert_eq!(code, 0, "{args:?}: {out}{error}");
    }
    let (code, _, error) = inspect(&["repair"]);
    assert!(code == 1 && error.contains("a node writes this log"), "{error}");
    node.signal("INT");
    node.wait();
    let (code, after, _) = inspect(&["export"]);
    assert_eq!(code, 0);
    assert!(after.starts_with(&(followed.join("\n") + "\n")));
}

#[cfg(not(feature = "parquet"))]
#[test]
fn without_parquet_the_program_says_how_to_build_it() {
    let made = Made::new();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out.parquet");
    let (code, _, error) =
        made.mainstem(&["inspect", "export", "--format", "parquet", "--out", to.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(error.contains("cargo build --release -p mainstem --features parquet"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_holds_what_json_lines_hold() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    let made = Made::new();
    for what in ["side-blocks", "headers"] {
        let to = made.path().join(format!("{what}.parquet"));
        let (code, _, error) = made.mainstem(&[
            "inspect",
            "export",
            "--what",
            what,
            "--format",
            "parquet",
            "--out",
            to.to_str().unwrap(),
        ]);
        assert_eq!(code, 0, "{error}");
        let json = parsed(&made.export(&["--what", what]));
        let file = SerializedFileReader::new(fs::File::open(&to).unwrap()).unwrap();
        let rows: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), json.len());
        for (row, json) in rows.iter().zip(&json) {
            let json = json.as_object().unwrap();
            // In the same order, too: that of the file against that of the line.
            assert_eq!(row.len(), json.len());
            for (name, field) in row.get_column_iter() {
                let value = match field {
                    Field::Bytes(bytes) => {
                        let hash: [u8; 32] = bytes.data().try_into().unwrap();
                        engine::chain::Hash(hash).to_string().into()
                    }
                    Field::Str(text) => text.as_str().into(),
                    Field::ULong(number) => (*number).into(),
                    Field::UInt(number) => (*number).into(),
                    Field::UShort(number) => (*number).into(),
                    Field::TimestampMillis(millis) => (*millis).into(),
                    Field::Null => u64::MAX.into(),
                    other => panic!("{name}: {other:?}"),
                };
                assert_eq!(Some(&value), json.get(name), "{name}");
            }
        }
    }
}
