//! `mainstem profile`: that its graphs are there, of the right threads and with names, not what they show.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{alone, mainstem, run};

#[test]
fn profile_draws_each_stage_with_the_names_of_its_functions() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("profile"));
    let profile = |seconds| {
        let mut command = mainstem();
        command.args([
            "profile",
            "--chains",
            "2",
            "--seconds",
            seconds,
            "--warm-up",
            "0",
            "--frequency",
            "1000",
        ]);
        command.arg("--data").arg(&data).arg("--out").arg(&out);
        command
    };
    // A machine with other things to do may let a stage run, and so be sampled, later than within a second. The second run
    // replaces the first.
    let mut all = drawn(&mut profile("1"), &out);
    if !(has(&all, "seal;") && has(&all, "ingest;")) {
        all = drawn(&mut profile("8"), &out);
    }
    assert!(!data.exists(), "the log of a profile is removed");
    assert!(!all.is_empty(), "nothing was sampled");
    let named = |stages: &[&str], part: &str| {
        all.lines().any(|line| stages.iter().any(|stage| line.starts_with(stage)) && line.contains(part))
    };
    assert!(!has(&all, "seal;") || named(&["seal;", "hash;"], "pipeline::seal::Sealer"), "{all}");
    assert!(!has(&all, "ingest;") || named(&["ingest;"], "mainstem_net::"), "{all}");

    // What is not a profile is left alone.
    fs::remove_file(out.join("all.folded")).unwrap();
    let (code, _, error) = run(&mut profile("1"));
    assert_eq!(code, 1);
    assert!(error.contains("holds something else than a profile"), "{error}");
    assert!(!data.exists());
}

fn has(folded: &str, stage: &str) -> bool {
    folded.lines().any(|line| line.starts_with(stage))
}

/// Runs a profile that must end well, and looks whether its files fit each other. Gives the stacks of all stages.
fn drawn(command: &mut Command, out: &Path) -> String {
    let (code, printed, error) = run(command);
    assert_eq!(code, 0, "{printed}{error}");
    assert!(printed.starts_with("2 chains over 1 connection: "), "{printed}");
    assert!(printed.contains("allocations"), "{printed}");

    let read =
        |name: &str| fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let page = read("index.html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    let all = read("all.folded");
    let mut of_stages = Vec::new();
    for name in ["all", "ingest", "seal", "hash", "persist", "api", "other"] {
        let (svg, folded) = (read(&format!("{name}.svg")), read(&format!("{name}.folded")));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}: {svg}");
        assert!(page.contains(&format!("{name}.svg")), "{name} is not linked");
        let wrong = folded
            .lines()
            .find(|line| line.rsplit_once(' ').is_none_or(|(_, count)| count.parse::<u64>().is_err()));
        assert_eq!(wrong, None, "{name}");
        if name != "all" {
            of_stages.extend(folded.lines().map(|line| format!("{name};{line}")));
        }
    }
    // The stages together are all that there is.
    let mut lines: Vec<_> = all.lines().collect();
    lines.sort_unstable();
    of_stages.sort_unstable();
    assert_eq!(lines, of_stages);
    all
}
