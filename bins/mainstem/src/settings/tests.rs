use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{Args, FromArgMatches};

use super::layers::Loaded;
use super::table::Setting;
use super::*;

/// Loads a file with this text (if any), this environment and these flags.
fn load(
    file: Option<&str>,
    env: &[(&str, &str)],
    flags: &[&str],
) -> (tempfile::TempDir, Result<Loaded, String>) {
    let dir = tempfile::tempdir().unwrap();
    let mut flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
    if let Some(text) = file {
        let path = dir.path().join("mainstem.toml");
        fs::write(&path, text).unwrap();
        flags.push(format!("--config={}", path.display()));
    } else {
        flags.push(format!("--data={}", dir.path().display()));
    }
    let command = ConfigArgs::augment_args(clap::Command::new("mainstem").no_binary_name(true));
    let args = ConfigArgs::from_arg_matches(&command.try_get_matches_from(flags).unwrap()).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let loaded = args
        .load_with(env)
        .map_err(|error| error.to_string().replace(&dir.path().display().to_string(), "DIR"));
    (dir, loaded)
}

fn error(file: Option<&str>, env: &[(&str, &str)], flags: &[&str]) -> String {
    load(file, env, flags).1.map(|loaded| loaded.settings).expect_err("a wrong configuration")
}

#[test]
fn each_layer_wins_over_the_ones_before_it_and_says_so() {
    let file = "[seal]\ninterval_ms = 30\nleaves = 7\nmax_leaves = 9\n";
    let env = [("MAINSTEM_SEAL_LEAVES", "8"), ("MAINSTEM_SEAL_MAX_LEAVES", "10"), ("PATH", "/bin")];
    let (_dir, loaded) = load(Some(file), &env, &["--seal.max-leaves", "11"]);
    let loaded = loaded.unwrap();
    let seal = &loaded.settings.seal;
    assert_eq!((seal.interval_ms, seal.leaves, seal.max_leaves, seal.max_per_chain), (30, 8, 11, 256));
    let origin = |path: &str| {
        let position = settings().iter().position(|setting| setting.path == path).unwrap();
        loaded.origins[position].to_string()
    };
    assert!(origin("seal.interval_ms").ends_with("mainstem.toml:2"));
    assert_eq!(origin("seal.leaves"), "environment MAINSTEM_SEAL_LEAVES");
    assert_eq!(origin("seal.max_leaves"), "flag --seal.max-leaves");
    assert_eq!(origin("seal.max_per_chain"), "default");
}

#[test]
fn a_flag_is_accepted_in_the_spelling_of_the_file() {
    let (_dir, loaded) = load(None, &[], &["--seal.max_per_chain=5"]);
    assert_eq!(loaded.unwrap().settings.seal.max_per_chain, 5);
}

#[test]
fn the_rules_of_sealing_are_read_from_every_layer() {
    use engine::pipeline::SealRules;

    let (_dir, loaded) = load(Some("[seal]\nrules = \"aelf\"\n"), &[], &[]);
    let settings = loaded.unwrap().settings;
    assert_eq!(settings.seal.rules, SealRules::Aelf);
    assert!(settings.remark("seal.rules").is_some_and(|remark| remark.contains("catch_up has no effect")));
    assert_eq!((settings.remark("seal.catch_up"), Settings::default().remark("seal.rules")), (None, None));
    let (_dir, loaded) = load(None, &[("MAINSTEM_SEAL_RULES", "aelf")], &["--seal.rules", "mainstem"]);
    assert_eq!(loaded.unwrap().settings.seal.rules, SealRules::Mainstem);
}

#[test]
fn without_a_file_everything_has_its_default() {
    let (dir, loaded) = load(None, &[], &[]);
    let loaded = loaded.unwrap();
    let mut expected = Settings::default();
    expected.data.dir = dir.path().to_owned();
    assert_eq!(loaded.settings, expected);
    assert_eq!(loaded.file, None);
}

#[test]
fn the_data_directory_of_a_file_is_its_own_or_counts_from_there() {
    let (dir, loaded) = load(Some(""), &[], &[]);
    assert_eq!(loaded.unwrap().settings.data.dir, dir.path());
    let (dir, loaded) = load(Some("[data]\ndir = \"d\""), &[], &[]);
    assert_eq!(loaded.unwrap().settings.data.dir, dir.path().join("d"));
    let (_dir, loaded) = load(Some("[data]\ndir = \"/d\""), &[], &[]);
    assert_eq!(loaded.unwrap().settings.data.dir, Path::new("/d"));
    let (_dir, loaded) = load(Some("[data]\ndir = \"/d\""), &[], &["--data.dir=e"]);
    assert_eq!(loaded.unwrap().settings.data.dir, Path::new("e"));
}

#[test]
fn every_error_names_place_key_value_and_what_would_be_right() {
    for (file, expected) in [
        (
            "[ingest]\nadr = \"[::]:1\"",
            "DIR/mainstem.toml:2: `ingest.adr` is no setting; did you mean `addr`?",
        ),
        (
            "[ingest]\nlane_blocks = 5",
            "DIR/mainstem.toml:2: `ingest.lane_blocks` is no setting; did you mean `[cache] lane_blocks`?",
        ),
        ("\n[ingst]\naddr = 1", "DIR/mainstem.toml:2: `ingst` is no section; did you mean `[ingest]`?"),
        (
            "interval_ms = 5",
            "DIR/mainstem.toml:1: `interval_ms` is no section; did you mean `[seal] interval_ms`?",
        ),
        ("seal = 5", "DIR/mainstem.toml:1: `seal` is no section; did you mean `[seal]`?"),
        ("[zzz]", "DIR/mainstem.toml:1: `zzz` is no section"),
        (
            "[seal]\ninterval_ms = -1",
            "DIR/mainstem.toml:2: seal.interval_ms = -1: expected a number, from 0 to 3600000",
        ),
        (
            "[seal]\ninterval_ms = \"5\"",
            "DIR/mainstem.toml:2: seal.interval_ms = \"5\": expected a number, from 0 to 3600000",
        ),
        (
            "[api]\naddr = \"localhost\"",
            "DIR/mainstem.toml:2: api.addr = \"localhost\": expected an IP address and a port, such as \
             127.0.0.1:9480 or [::]:9481",
        ),
        (
            "[api]\nmax_body = \"2GiB\"",
            "DIR/mainstem.toml:2: api.max_body = \"2GiB\": expected a size in bytes, such as 65536 or 64KiB \
             (KiB, MiB, GiB), from 64KiB to 1MiB",
        ),
        ("[log]\nformat = \"xml\"", "DIR/mainstem.toml:2: log.format = \"xml\": expected text or json"),
        ("[seal]\nrules = \"elf\"", "DIR/mainstem.toml:2: seal.rules = \"elf\": expected mainstem or aelf"),
        ("[seal\n", "DIR/mainstem.toml:1: not TOML: unclosed table, expected `]`"),
        ("# \u{e4}\u{f6}\u{fc}\n[s\u{e4}al", "DIR/mainstem.toml:2: not TOML: unclosed table, expected `]`"),
        ("[seal]\nleaves = 1\nleaves = 2", "DIR/mainstem.toml:3: not TOML: duplicate key"),
    ] {
        assert_eq!(error(Some(file), &[], &[]), expected);
    }
    assert_eq!(
        error(None, &[("MAINSTEM_SEAL_LEAVES", "many")], &[]),
        "environment MAINSTEM_SEAL_LEAVES: seal.leaves = \"many\": expected a number, from 1 to 8388608"
    );
    assert_eq!(
        error(None, &[("MAINSTEM_SEAL_LEAFS", "1")], &[]),
        "environment MAINSTEM_SEAL_LEAFS: `MAINSTEM_SEAL_LEAFS` is no setting; did you mean `MAINSTEM_SEAL_LEAVES`?"
    );
    assert_eq!(
        error(None, &[], &["--ingest.reactors=65"]),
        "flag --ingest.reactors: ingest.reactors = \"65\": expected a number, from 0 to 64"
    );
    let missing = error(None, &[], &["--config=/nowhere/m.toml"]);
    assert!(missing.starts_with("/nowhere/m.toml: cannot be read: "), "{missing}");
    assert!(missing.ends_with("; `mainstem init` makes a data directory with one"), "{missing}");
}

#[test]
fn all_problems_are_told_at_once() {
    let file = "[seal]\nleaves = 0\nx = 1\n";
    let text = error(Some(file), &[("MAINSTEM_LOG_FORMAT", "?")], &["--api.threads=0"]);
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn foreign_environment_variables_are_nobodys_business() {
    let env = [("MAINSTEM_PEERS", "x"), ("MAINSTEM_SEALING", "x"), ("SEAL_LEAVES", "x")];
    let (_dir, loaded) = load(None, &env, &[]);
    loaded.unwrap();
}

#[test]
fn the_template_says_every_setting_and_its_default() {
    let template = document();
    let (_dir, loaded) = load(Some(&template), &[], &[]);
    assert_eq!(loaded.unwrap().settings.seal, Seal::default());

    let uncommented: Vec<_> = template
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if settings().iter().any(|setting| rest.starts_with(&format!("{} = ", setting.key))) =>
            {
                rest
            }
            _ => line,
        })
        .collect();
    let (dir, loaded) = load(Some(&uncommented.join("\n")), &[], &[]);
    let loaded = loaded.unwrap();
    let mut expected = Settings::default();
    expected.data.dir = dir.path().join(expected.data.dir);
    assert_eq!(loaded.settings, expected);
    assert!(loaded.origins.iter().all(|origin| matches!(origin, Place::File { .. })));
}

#[test]
fn no_two_settings_share_a_name() {
    let names = |name: fn(&Setting) -> &String| settings().iter().map(name).collect::<BTreeSet<_>>().len();
    assert_eq!(names(|setting| &setting.path), settings().len());
    assert_eq!(names(|setting| &setting.flag), settings().len());
    assert_eq!(names(|setting| &setting.env), settings().len());
}

#[test]
fn every_setting_of_ingest_says_its_unit_and_default_in_the_template() {
    let template = document();
    let ingest: Vec<_> = settings().iter().filter(|setting| setting.section == "ingest").collect();
    assert!(ingest.len() > 25);
    for setting in ingest {
        let (path, about) = (&setting.path, setting.about());
        if setting.key.ends_with("_ms") {
            assert!(about.contains("in milliseconds"), "{path}: {about}");
        }
        if setting.key.ends_with("_mtu") {
            assert!(about.contains("in bytes"), "{path}: {about}");
        }
        let last = setting.doc.last().unwrap();
        assert!(
            template.contains(&format!("#{last}\n# {} = {}\n", setting.key, setting.default())),
            "{path}"
        );
    }
}

#[test]
fn a_limit_on_frames_that_default_tributaries_would_break_is_refused() {
    let identity = net::identity::Identity::from_seed([1; 32]);
    let tributary = net::client::ClientConfig::new("main:9481", identity.public(), identity);
    let least = ByteSize::kib(64);
    assert_eq!(tributary.batch_bytes as u64, least.0);
    let (_dir, loaded) = load(Some("[ingest]\nmax_frame = \"64KiB\""), &[], &[]);
    assert_eq!(loaded.unwrap().settings.ingest.max_frame, least);
    let text = error(Some("[ingest]\nmax_frame = 65535"), &[], &[]);
    assert!(text.contains("ingest.max_frame = 65535: expected a size in bytes"), "{text}");
    assert!(text.ends_with("from 64KiB to 1MiB"), "{text}");
}

#[test]
fn the_page_of_settings_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "write docs/config.md anew: mainstem config default --markdown > docs/config.md"
    );
}

#[test]
fn what_can_be_reloaded_is_a_setting() {
    for path in table::RELOADS {
        assert!(settings().iter().any(|setting| setting.path == path), "{path}");
    }
}
