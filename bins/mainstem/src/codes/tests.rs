use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}

#[test]
fn numbers_are_in_order_and_names_of_a_range_unique() {
    assert!(TABLE.is_sorted_by_key(|entry| entry.code));
    let names: BTreeSet<_> = TABLE.iter().map(|entry| (entry.code.0 / 1000, entry.name)).collect();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn every_page_says_what_why_and_what_to_do_and_the_index_lists_it() {
    let index = fs::read_to_string(folder().join("README.md")).unwrap();
    for entry in TABLE {
        let code = entry.code;
        assert!(entry.page.starts_with(&format!("# {code}: ")), "{code}");
        for part in ["**What it means.** ", "**Why it happens.** ", "**What to do.** "] {
            assert!(entry.page.contains(part), "{code} lacks {part}");
        }
        let row = format!("| [{code}]({code}.md) | `{}` | {} |\n", entry.name, entry.title());
        assert!(index.contains(&row), "docs/errors/README.md lacks the row {row}");
    }
}

#[test]
fn every_page_belongs_to_a_code() {
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<_> = files.filter(|name| name.starts_with("MS-")).collect();
    let codes: BTreeSet<_> = TABLE.iter().map(|entry| format!("{}.md", entry.code)).collect();
    assert_eq!(pages, codes);
}

#[test]
fn every_refusal_and_every_reason_has_a_page() {
    for refusal in RefusalCode::ALL {
        assert_eq!(Code::of_refusal(*refusal).entry().name, refusal.name());
    }
    for reason in Reason::ALL {
        assert_eq!(Code::of_reason(*reason).entry().name, reason.name());
    }
    let refusals = TABLE.iter().filter(|entry| entry.code.0 / 100 == 20).count();
    let reasons = TABLE.iter().filter(|entry| entry.code.0 / 1000 == 3).count();
    assert_eq!((refusals, reasons), (RefusalCode::ALL.len(), Reason::ALL.len()));
}

/// Kinds are literals, next to a status or first in `problem(..)`: each place where one is made is looked at.
#[test]
fn every_kind_of_problem_has_a_code() {
    let mut kinds = BTreeSet::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.join("api"), source.join("admin"), source.join("external")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for (position, _) in text.match_indices("StatusCode::") {
                // `StatusCode::NOT_FOUND, "kind"`, also over lines.
                let rest = text[position..]
                    .trim_start_matches(|c: char| c == ':' || c.is_alphanumeric() || c == '_');
                let Some(rest) = rest.strip_prefix(',').map(str::trim_start) else { continue };
                if let Some(kind) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    kinds.insert(kind.to_owned());
                }
            }
        }
    }
    assert!(kinds.len() > 30, "{kinds:?}");
    let without: Vec<_> = kinds.iter().filter(|kind| Code::of_problem(kind).is_none()).collect();
    assert_eq!(without, Vec::<&String>::new(), "kinds of problems without a code and a page");
}

#[test]
fn codes_are_read_as_they_are_shown_and_by_name() {
    for text in ["MS-1204", "ms-1204", "MS1204", "1204", "admin-socket"] {
        let entries = named(text).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.code.0).collect::<Vec<_>>(), [1204], "{text}");
    }
    for text in ["", "MS-", "MS-9999", "MS-99999999", "admin", "-1204-"] {
        assert!(named(text).is_err(), "{text}");
    }
}

#[test]
fn a_name_that_several_share_names_all_of_them() {
    for (name, codes) in [
        ("wrong-parent", &[2007, 3023][..]),
        ("unknown-chain", &[2002, 3021, 4020]),
        ("busy", &[2013, 3035, 4010]),
    ] {
        assert_eq!(
            named(name).unwrap().iter().map(|entry| entry.code.0).collect::<Vec<_>>(),
            codes,
            "{name}"
        );
    }
}

#[test]
fn the_kinds_that_the_document_of_the_api_lists_are_those_that_have_codes() {
    let text = fs::read_to_string(folder().join("../api.md")).unwrap();
    let rows = text
        .split_once("\n| Kind | Status |")
        .unwrap()
        .1
        .lines()
        .skip(2)
        .take_while(|row| row.starts_with("| `"));
    let listed: Vec<_> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    let set: BTreeSet<_> = listed.iter().copied().collect();
    assert_eq!(set.len(), listed.len(), "a kind stands twice: {listed:?}");
    let codes = TABLE.iter().filter(|entry| entry.code.0 / 1000 == 4).map(|entry| entry.name);
    assert_eq!(set, codes.collect());
}

#[test]
fn the_table_of_exit_codes_has_all_of_them() {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    for exit in [Exit::Failed, Exit::Usage, Exit::Damaged, Exit::Upgrade, Exit::Unreachable] {
        assert!(text.contains(&format!("\n| {} | ", exit as u8)), "{exit:?}");
    }
}

#[test]
fn an_error_has_the_code_of_the_outermost_that_knows_one_and_says_all_that_it_said() {
    let lost = || storage::Error::NoLog { dir: "/x".into() };
    let plain = anyhow::Error::from(lost());
    assert_eq!(of(&plain).to_string(), "MS-5003");
    let deep = Err::<(), _>(lost()).context("cannot begin").unwrap_err();
    assert_eq!(of(&deep).to_string(), "MS-5003");
    // What is known exactly stays.
    let coded = Err::<(), _>(lost()).context("cannot begin").code(1207).unwrap_err();
    assert_eq!(of(&coded).to_string(), "MS-5003");
    let coded = Err::<(), _>(anyhow!("deep").context("cannot begin")).code(1207).unwrap_err();
    assert_eq!(
        (of(&coded).to_string(), format!("{coded:#}")),
        ("MS-1207".into(), "cannot begin: deep".into())
    );
    let wrapped = coded.context("again");
    assert_eq!(of(&wrapped).to_string(), "MS-1207");
    assert_eq!(of(&anyhow!("x")).to_string(), "MS-7001");
}

#[test]
fn a_cause_that_the_error_tells_itself_is_not_told_again() {
    let cause = || anyhow!("connection refused");
    let expected = "nobody answers: connection refused";
    assert_eq!(words(&cause().context("nobody answers")), expected);
    assert_eq!(words(&cause().context(expected)), expected);
    assert_eq!(words(&cause().context(expected).context("it failed")), format!("it failed: {expected}"));
}

#[test]
fn who_asks_by_a_command_is_told_of_commands() {
    let error = anyhow!("chain 3grT is not registered here; GET /v1/chains lists those that are");
    assert_eq!(words(&error), "chain 3grT is not registered here; `mainstem chains` lists those that are");
}

#[test]
fn that_nobody_reads_on_is_told_from_connections_that_break() {
    let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    assert!(is_closed_output(&broken().into()));
    let elsewhere = storage::Error::Io { action: "write", path: "x".into(), source: broken() };
    assert!(!is_closed_output(&elsewhere.into()));
    assert!(!is_closed_output(&std::io::Error::from(std::io::ErrorKind::NotFound).into()));
}

#[test]
fn exit_codes_follow_the_code() {
    for (code, exit) in [
        (1003, Exit::Usage),
        (1101, Exit::Usage),
        (1104, Exit::Usage),
        (1107, Exit::Usage),
        (1202, Exit::Failed),
        (4013, Exit::Usage),
        (5008, Exit::Damaged),
        (5022, Exit::Damaged),
        (5021, Exit::Upgrade),
        (2101, Exit::Unreachable),
        (7001, Exit::Failed),
    ] {
        assert_eq!(Exit::of(Code::of_number(code).unwrap()), exit, "{code}");
    }
    let version = storage::Error::Damaged {
        file: "LOG".into(),
        offset: 0,
        part: storage::Part::File,
        flaw: storage::Flaw::Field { field: "version", found: 2, expected: 1 },
    };
    assert_eq!(of(&version.into()).to_string(), "MS-5021");
}
