//! What packages are made of, and what the book tells new users to type.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{mainstem, run, tributary, workspace};

fn both() -> [Command; 2] {
    [mainstem(), tributary()]
}

/// Whether a program is here that the test only asks where it is.
fn here(program: &str) -> bool {
    let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let here = status.is_ok();
    if !here {
        println!("LEFT OUT: {program} is not here");
    }
    here
}

#[test]
fn completions_of_every_shell_are_made_and_load_where_the_shell_is_here() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        for mut program in both() {
            let (code, script, error) = run(program.args(["completions", shell]));
            assert_eq!(code, 0, "{error}");
            // Of its own command line, down to an option of a subcommand.
            assert!(
                script.contains("completions")
                    && script.contains("verbose") | script.contains("trusted-header")
            );
            let file = dir.path().join(shell);
            fs::write(&file, script).unwrap();
            if ["bash", "zsh", "fish"].contains(&shell) && here(shell) {
                let (code, _, error) = run(Command::new(shell).arg("-n").arg(&file));
                assert_eq!((code, error.as_str()), (0, ""));
            }
        }
    }
}

#[test]
fn every_command_has_a_manual_page_that_man_shows_without_complaint() {
    let dir = tempfile::tempdir().unwrap();
    for mut program in both() {
        let (code, _, error) = run(program.arg("man").arg(dir.path()));
        assert_eq!(code, 0, "{error}");
    }
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in ["mainstem.1", "mainstem-run.1", "mainstem-inspect-log.1", "tributary.1", "tributary-evm.1"] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("bench-load")), "what help hides has no page");
    if !here("man") {
        return;
    }
    for name in ["mainstem.1", "mainstem-run.1", "tributary-evm.1"] {
        let mut man = Command::new("man");
        man.args(["--warnings", "-l"])
            .arg(dir.path().join(name))
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8");
        let (code, page, complaints) = run(man.env("MANPAGER", "cat"));
        assert_eq!((code, complaints.as_str()), (0, ""), "{name}");
        assert!(page.contains("SYNOPSIS"), "{page}");
    }
}

#[test]
fn the_packaged_configuration_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert_eq!(run(mainstem().arg("init").arg("--data").arg(&data)).0, 0);
    let config = workspace().join("bins/mainstem/packaging/mainstem.toml");
    let mut check = mainstem();
    check.args(["config", "check", "--config"]).arg(&config).env("MAINSTEM_DATA_DIR", &data);
    let (code, out, error) = run(&mut check);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("mainstem.toml: right"), "{out}");

    // Whoever starts it waits as long for its end as it may take.
    let mut show = mainstem();
    show.args(["config", "show", "--config"]).arg(&config).env("MAINSTEM_DATA_DIR", &data);
    let (_, out, _) = run(&mut show);
    let number = |text: &str, key: &str| -> u64 {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(key));
        let value = value.unwrap_or_else(|| panic!("{key} in {text}"));
        let digits = value.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
        digits.unwrap().parse().unwrap()
    };
    let ms = number(&out, "drain_ms") + number(&out, "stop_timeout_ms");
    assert!(ms > 60_000);
    for (file, key) in
        [("systemd/mainstem.service", "TimeoutStopSec="), ("container/compose.yaml", "stop_grace_period:")]
    {
        let text = fs::read_to_string(workspace().join("bins/mainstem/packaging").join(file)).unwrap();
        assert!(number(&text, key) * 1_000 > ms + 5_000, "{file}");
    }
}

#[test]
fn a_node_that_is_not_there_is_told_apart_from_one_that_is_not_well() {
    let (code, _, error) = run(mainstem().args(["health", "--node", "http://127.0.0.1:1"]));
    assert_eq!(code, 5, "{error}");
}

/// The blocks of a document that a shell is meant to run, in order.
fn shell_blocks(text: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

/// An address that nobody has now: the quick start has to know its addresses before its node runs. Below the ports that the
/// system gives to whoever asks for any, and tests that run at once, which are other processes, begin at others: nobody takes
/// it before the node does.
fn free_address() -> String {
    let first = 10_500 + (std::process::id() % 900) as u16 * 10;
    let free = (first..19_600).find(|port| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    });
    format!("127.0.0.1:{}", free.expect("one of so many ports is free"))
}

#[test]
fn the_quick_start_does_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(workspace().join("docs/quick-start.md")).unwrap();
    let script = shell_blocks(&text);
    assert!(script.contains("mainstem run") && script.contains("mainstem verify"), "{script}");
    // `set -m` as in a shell that people type into: jobs are named %1 and %2.
    let script = format!("set -eumo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let programs: PathBuf = Path::new(env!("CARGO_BIN_EXE_mainstem")).parent().unwrap().into();
    // Built by cargo next to the program under test, or the message says how.
    drop(tributary());
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // One is of TCP, the other of UDP.
    let address = free_address();
    let mut bash = Command::new("timeout");
    bash.args(["120", "bash", "-c", &script]).current_dir(dir.path()).stdin(Stdio::null()).env("PATH", path);
    bash.env("MAINSTEM_API_ADDR", &address)
        .env("MAINSTEM_INGEST_ADDR", &address)
        .env("TRIBUTARY_MAIN", &address);
    let (code, out, error) = run(&mut bash);
    let log = |name| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    assert_eq!(code, 0, "{out}\n{error}\n{}\n{}", log("main.txt"), log("side.txt"));
    for seen in ["1 side chains", " 1/1 ", "height 7 is indexed in main block", "refused, as it should be"] {
        assert!(out.contains(seen), "{seen:?} is not in what is seen:\n{out}");
    }
}

/// What stands between backticks or in blocks of code, a line each.
fn code_lines(text: &str) -> Vec<&str> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push(line.split('#').next().unwrap_or_default());
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// The help of `a-b-c`, the command `a b c`.
fn help(name: &str) -> String {
    let mut words = name.split('-');
    let mut program = if words.next() == Some("mainstem") { mainstem() } else { tributary() };
    run(program.args(words).arg("--help")).1
}

#[test]
fn every_command_and_flag_that_the_book_names_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for mut program in both() {
        assert_eq!(run(program.arg("man").arg(dir.path())).0, 0);
    }
    let page = |name: &str| fs::read_to_string(dir.path().join(format!("{name}.1"))).ok();
    let (mut wrong, mut helps) = (Vec::new(), HashMap::new());
    let mut seen = 0;
    let docs = fs::read_dir(workspace().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for path in docs.chain([workspace().join("README.md")]) {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let before = seen;
        for line in code_lines(&text) {
            // Each call in a line by itself: `a && b`, `a | b`.
            for call in line.split(['|', '&', ';', '(']) {
                let words: Vec<&str> =
                    call.split_whitespace().map(|word| word.trim_matches(['"', ')'])).collect();
                // As a command: at the beginning, or after words that run others; not as an image, a user, a folder.
                let runs =
                    |word: &&str| word.starts_with('-') || ["sudo", "until", "mainstem", "$"].contains(word);
                let is_program = |at: &usize| ["mainstem", "tributary"].contains(&words[*at]);
                let called = |at: &usize| is_program(at) && words[..*at].iter().all(runs);
                let Some(at) = (0..words.len()).rev().find(called) else { continue };
                if at > 0 && words.iter().any(|word| word.contains(['/', '{'])) {
                    continue;
                }
                let mut name = words[at].to_owned();
                for word in &words[at + 1..] {
                    let longer = format!("{name}-{word}");
                    if page(&longer).is_none() {
                        break;
                    }
                    name = longer;
                }
                let Some(first) = words.get(at + 1).filter(|word| !word.starts_with('-')) else { continue };
                let known = first.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                if !known {
                    continue;
                }
                seen += 1;
                if name == words[at] {
                    wrong.push(format!("{}: {call}: no such command", path.display()));
                    continue;
                }
                let help = helps.entry(name.clone()).or_insert_with(|| help(&name));
                for flag in words[at..].iter().filter(|word| word.starts_with("--") && word.len() > 2) {
                    let flag = flag.split('=').next().unwrap_or_default().trim_end_matches(',');
                    if !help.contains(flag) {
                        wrong.push(format!("{}: {call}: {name} has no {flag}", path.display()));
                    }
                }
            }
        }
        assert!(seen > before || !path.ends_with("README.md"), "README.md names no command");
    }
    assert!(seen > 50, "only {seen} calls were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
