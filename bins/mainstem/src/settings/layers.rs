//! The layers of a configuration, put on top of each other: default < file < environment < flag.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::builder::PathBufValueParser;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use toml::de::DeTable;

use crate::data_dir::CONFIG;

use super::table::{Input, Section, nearest};
use super::{ConfigError, Place, Problem, Settings, settings};

/// What the command line says of the configuration: `--config` and one flag per setting.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// `--config FILE`
    pub file: Option<PathBuf>,
    /// Values of flags by the setting's path.
    pub flags: BTreeMap<&'static str, String>,
}

/// A configuration, complete and valid.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Where each setting's value stands, in the order of [`settings`].
    pub origins: Vec<Place>,
}

impl ConfigArgs {
    /// Reads all layers, with the environment of this process.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        // What is no text becomes one that no setting takes, and no file has as its name.
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        self.load_with(std::env::vars_os().filter_map(text))
    }

    /// Reads all layers. `env` is the environment.
    ///
    /// The file is that of `--config`, else of `MAINSTEM_CONFIG`, else `mainstem.toml` in the data directory,
    /// where it may be missing.
    pub(super) fn load_with(
        &self,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        let env: BTreeMap<String, String> =
            env.into_iter().filter(|(name, _)| name.starts_with("MAINSTEM_")).collect();
        let mut layers = Layers {
            settings: Settings::default(),
            origins: vec![Place::Default; settings().len()],
            problems: Vec::new(),
        };

        let named = self.file.clone().or_else(|| env.get("MAINSTEM_CONFIG").map(PathBuf::from));
        let dir = self.flags.get("data.dir").or_else(|| env.get("MAINSTEM_DATA_DIR"));
        let path = named.clone().unwrap_or_else(|| {
            dir.map_or_else(|| layers.settings.data.dir.clone(), PathBuf::from).join(CONFIG)
        });
        let file = match fs::read_to_string(&path) {
            Ok(text) => {
                layers.file(&path, &text);
                Some(path)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => None,
            Err(error) => {
                let reason = error.to_string();
                return Err(Problem::Unreadable { file: path.as_path().into(), reason }.into());
            }
        };
        layers.environment(&env);
        for (path, value) in &self.flags {
            let index = position(path);
            let place = Place::Flag(format!("--{}", settings()[index].flag));
            layers.set(index, Input::Text(value), place, &format!("{value:?}"));
        }
        layers.finish(file)
    }
}

struct Layers {
    settings: Settings,
    origins: Vec<Place>,
    problems: Vec<Problem>,
}

impl Layers {
    fn set(&mut self, index: usize, input: Input<'_>, place: Place, shown: &str) {
        let setting = &settings()[index];
        if (setting.set)(&mut self.settings, input) {
            self.origins[index] = place;
        } else {
            let value = shown.chars().take(80).collect();
            let key = setting.path.clone();
            self.problems.push(Problem::Value { place, key, value, expected: (setting.expected)() });
        }
    }

    fn file(&mut self, path: &Path, text: &str) {
        let place = |offset: usize| Place::File {
            file: path.into(),
            line: 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count(),
        };
        let document = match DeTable::parse(text) {
            Ok(document) => document.into_inner(),
            Err(error) => {
                let place = place(error.span().map_or(0, |span| span.start));
                self.problems.push(Problem::Syntax { place, reason: error.message().to_owned() });
                return;
            }
        };
        let mut items: Vec<_> = document.iter().collect();
        items.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in items {
            let section = name.get_ref().as_ref();
            match value.get_ref().as_table() {
                Some(table) if Settings::SECTIONS.iter().any(|known| known.name == section) => {
                    self.section(section, table, text, &place);
                }
                _ => self.problems.push(unknown_section(place(name.span().start), section)),
            }
        }
        self.data_dir(path);
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>, text: &str, place: &impl Fn(usize) -> Place) {
        let mut items: Vec<_> = table.iter().collect();
        items.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in items {
            let key = name.get_ref().as_ref();
            let place = place(name.span().start);
            match settings().iter().position(|setting| setting.section == section && setting.key == key) {
                Some(index) => {
                    let shown = text.get(value.span()).unwrap_or_default();
                    self.set(index, Input::Toml(value.get_ref()), place, shown);
                }
                None => self.problems.push(unknown_setting(place, section, key)),
            }
        }
    }

    /// A data directory that the file does not name is the file's own; a relative one counts from there.
    fn data_dir(&mut self, file: &Path) {
        let data = position("data.dir");
        let base = file.parent().filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if matches!(self.origins[data], Place::Default) {
            base.clone_into(&mut self.settings.data.dir);
            self.origins[data] = Place::File { file: file.into(), line: 1 };
        } else if self.settings.data.dir.is_relative() {
            self.settings.data.dir = base.join(&self.settings.data.dir);
        }
    }

    fn environment(&mut self, env: &BTreeMap<String, String>) {
        for (name, value) in env {
            if let Some(index) = settings().iter().position(|setting| setting.env == *name) {
                self.set(index, Input::Text(value), Place::Env(name.clone()), &format!("{value:?}"));
                continue;
            }
            // Names outside our sections are somebody else's: MAINSTEM_CONFIG, or a script's own.
            let ours = |section: &Section| {
                let rest = name.strip_prefix("MAINSTEM_").unwrap_or_default();
                rest.strip_prefix(&section.name.to_uppercase()).is_some_and(|rest| rest.starts_with('_'))
            };
            if Settings::SECTIONS.iter().any(ours) {
                let nearest = nearest(name, settings().iter().map(|setting| setting.env.as_str()));
                let place = Place::Env(name.clone());
                self.problems.push(Problem::Unknown { place, name: name.clone(), kind: "setting", nearest });
            }
        }
    }

    fn finish(self, file: Option<PathBuf>) -> Result<Loaded, ConfigError> {
        if self.problems.is_empty() {
            Ok(Loaded { settings: self.settings, file, origins: self.origins })
        } else {
            Err(ConfigError { problems: self.problems })
        }
    }
}

impl clap::Args for ConfigArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(PathBufValueParser::new())
            .help("Configuration file [default: mainstem.toml in the data directory] [env: MAINSTEM_CONFIG]");
        settings().iter().fold(command.arg(file), |command, setting| {
            let about = setting.about();
            let first =
                about.split_inclusive(". ").next().unwrap_or_default().trim_end().trim_end_matches('.');
            let default = setting.default();
            let notes = format!("[default: {}] [env: {}]", default.trim_matches('"'), setting.env);
            let mut arg = Arg::new(setting.path.as_str())
                .long(setting.flag.as_str())
                .value_name(setting.placeholder)
                .help(format!("{first} {notes}"))
                .long_help(format!("{about}\nTakes {}.\n{notes}", (setting.expected)()))
                .help_heading(heading(setting.section));
            if setting.path != setting.flag {
                arg = arg.alias(setting.path.as_str());
            }
            if setting.path == "data.dir" {
                arg = arg.visible_alias("data");
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one("config").cloned();
        self.flags = settings()
            .iter()
            .filter_map(|setting| {
                Some((setting.path.as_str(), matches.get_one::<String>(&setting.path)?.clone()))
            })
            .collect();
        Ok(())
    }
}

fn position(path: &str) -> usize {
    settings()
        .iter()
        .position(|setting| setting.path == path)
        .expect("our own code names settings that exist")
}

fn heading(section: &str) -> &'static str {
    let section = Settings::SECTIONS.iter().find(|known| known.name == section);
    section.expect("a setting stands in a section").heading
}

fn unknown_section(place: Place, name: &str) -> Problem {
    // A setting outside its section is the likeliest slip.
    let homeless = settings().iter().find(|setting| setting.key == name);
    let nearest = homeless.map(|setting| format!("[{}] {}", setting.section, setting.key));
    let nearest = nearest.or_else(|| nearest_section(name));
    Problem::Unknown { place, name: name.to_owned(), kind: "section", nearest }
}

fn nearest_section(name: &str) -> Option<String> {
    let sections = Settings::SECTIONS.iter().map(|section| section.name);
    nearest(name, sections).map(|section| format!("[{section}]"))
}

fn unknown_setting(place: Place, section: &str, key: &str) -> Problem {
    let here = settings().iter().filter(|setting| setting.section == section).map(|setting| setting.key);
    let elsewhere = || settings().iter().find(|setting| setting.key == key);
    let nearest = elsewhere().map(|setting| format!("[{}] {}", setting.section, setting.key));
    let nearest = nearest.or_else(|| super::table::nearest(key, here));
    Problem::Unknown { place, name: format!("{section}.{key}"), kind: "setting", nearest }
}
