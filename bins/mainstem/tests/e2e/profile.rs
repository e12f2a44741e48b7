//! `mainstem profile`: that its graphs are there, of the right threads and with names, not what they show.

use std::fs;

use crate::support::{alone, mainstem, run};

#[test]
fn profile_draws_each_stage_with_the_names_of_its_functions() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("profile"));
    let mut command = mainstem();
    command.args(["profile", "--chains", "2", "--seconds", "1", "--warm-up", "0", "--frequency", "1000"]);
    command.arg("--data").arg(&data).arg("--out").arg(&out);
    let (code, printed, error) = run(&mut command);
    assert_eq!(code, 0, "{printed}{error}");
    assert!(!data.exists(), "the log of a profile is removed");
    assert!(printed.starts_with("2 chains over 1 connection: "), "{printed}");
    assert!(printed.contains("allocations"), "{printed}");

    let read =
        |name: &str| fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let page = read("index.html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for name in ["all", "ingest", "seal", "hash", "persist", "api", "other"] {
        let (svg, folded) = (read(&format!("{name}.svg")), read(&format!("{name}.folded")));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}: {svg}");
        assert!(page.contains(&format!("{name}.svg")), "{name} is not linked");
        let wrong = folded
            .lines()
            .find(|line| line.rsplit_once(' ').is_none_or(|(_, count)| count.parse::<u64>().is_err()));
        assert_eq!(wrong, None, "{name}");
    }
    let all = read("all.folded");
    let sealing = all.lines().find(|line| line.contains("pipeline::seal::Sealer"));
    let sealing = sealing.unwrap_or_else(|| panic!("nothing of sealing was sampled: {all}"));
    assert!(sealing.starts_with("seal;") || sealing.starts_with("hash;"), "{sealing}");
    assert!(all.lines().any(|line| line.starts_with("ingest;") && line.contains("mainstem_net::")), "{all}");

    // A second run replaces the first; what is not a profile is left alone.
    fs::remove_file(out.join("all.folded")).unwrap();
    let (code, _, error) = run(&mut command);
    assert_eq!(code, 1);
    assert!(error.contains("holds something else than a profile"), "{error}");
    assert!(!data.exists());
}
