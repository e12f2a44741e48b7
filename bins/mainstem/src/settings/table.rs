//! The table of settings, and the macro that makes it together with the structs.

use std::fmt::Write;
use std::sync::LazyLock;

use toml::de::DeValue;

use super::Settings;

/// One setting, as data: what files, flags, the environment, help texts and templates are made from.
pub(crate) struct Setting {
    /// Section in the file.
    pub section: &'static str,
    /// Key in the section.
    pub key: &'static str,
    /// What it is for, in lines.
    pub doc: &'static [&'static str],
    /// `section.key`
    pub path: String,
    /// Name of the flag, without the dashes.
    pub flag: String,
    /// Name of the environment variable.
    pub env: String,
    /// Stands for the value in help texts.
    pub placeholder: &'static str,
    /// What values it takes.
    pub expected: fn() -> String,
    /// Reads a value; false if it is not what [`Setting::expected`] says.
    pub set: fn(&mut Settings, Input<'_>) -> bool,
    /// The value, as TOML.
    pub show: fn(&Settings) -> String,
    /// Takes the value of the first over to the second.
    copy: fn(&Settings, &mut Settings),
}

/// A section of settings.
pub(super) struct Section {
    /// Its name.
    pub name: &'static str,
    /// Its name as it stands in a file.
    pub heading: &'static str,
    /// What it is about, in lines.
    pub doc: &'static [&'static str],
}

/// A value as it comes.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// From a flag or the environment.
    Text(&'a str),
    /// From the file.
    Toml(&'a DeValue<'a>),
}

impl Setting {
    #[allow(clippy::too_many_arguments, reason = "called by the macro alone, which names what it passes")]
    pub(super) fn new(
        section: &'static str,
        key: &'static str,
        doc: &'static [&'static str],
        placeholder: &'static str,
        expected: fn() -> String,
        set: fn(&mut Settings, Input<'_>) -> bool,
        show: fn(&Settings) -> String,
        copy: fn(&Settings, &mut Settings),
    ) -> Self {
        let path = format!("{section}.{key}");
        let flag = path.replace('_', "-");
        let env = format!("MAINSTEM_{section}_{key}").to_uppercase();
        Self { section, key, doc, path, flag, env, placeholder, expected, set, show, copy }
    }

    /// What it is for, in one line.
    pub(crate) fn about(&self) -> String {
        let lines: Vec<_> = self.doc.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    }

    /// Takes the value of one configuration over to another.
    pub(crate) fn copy(&self, from: &Settings, to: &mut Settings) {
        (self.copy)(from, to);
    }

    /// Whether it can change while a node runs ([`RELOADS`]).
    pub(crate) fn reloads(&self) -> bool {
        RELOADS.contains(&self.path.as_str())
    }

    /// What it is unless someone sets it, as TOML.
    pub(crate) fn default(&self) -> String {
        (self.show)(&Settings::default())
    }
}

/// The settings that `mainstem reload` changes in a running node; all others hold from the next start on.
pub(crate) const RELOADS: [&str; 16] = [
    "api.cors_origins",
    "api.admin_token_file",
    "run.drain_ms",
    "run.stop_timeout_ms",
    "health.min_free",
    "health.max_head_age_ms",
    "watch.stalled_ms",
    "watch.silent_ms",
    "watch.late_ms",
    "watch.full_ms",
    "watch.quiet_ms",
    "watch.behind_blocks",
    "watch.remedy_ms",
    "watch.quarantine_after",
    "metrics.max_chains",
    "log.filter",
];

/// All settings, in the order of the file.
pub(crate) fn settings() -> &'static [Setting] {
    static TABLE: LazyLock<Vec<Setting>> = LazyLock::new(Settings::table);
    &TABLE
}

/// The name most like `name`, if one is like it at all.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    names
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.to_owned())
}

/// A configuration file that says nothing but what could be said: every setting with its documentation and
/// default, commented out.
pub(crate) fn document() -> String {
    let mut out = String::from(
        "# The configuration of this node. Every setting is shown with its default; remove the `#` before one to\n\
         # change it. `mainstem config check` checks this file, `mainstem config show --origin` says what holds.\n",
    );
    for section in Settings::SECTIONS {
        out.push('\n');
        for line in section.doc {
            let _ = writeln!(out, "#{line}");
        }
        let _ = writeln!(out, "{}", section.heading);
        for setting in settings().iter().filter(|setting| setting.section == section.name) {
            for line in setting.doc {
                let _ = writeln!(out, "#{line}");
            }
            let _ = writeln!(out, "# {} = {}", setting.key, setting.default());
        }
    }
    out
}

/// `docs/config.md`: every setting with its default, what it takes, and whether it can change while a node runs.
pub(crate) fn page() -> String {
    let mut out = String::from(
        "# Configuration of a node\n\n<!-- Written by `mainstem config default --markdown`; a test fails when they differ. -->\n\n\
         Each setting is a key of the file `mainstem.toml`, an environment variable and a flag; of several the later wins: default <\n\
         file < environment < flag. `seal.interval_ms` is `[seal] interval_ms` in the file, `MAINSTEM_SEAL_INTERVAL_MS` in the\n\
         environment and `--seal.interval-ms` on the command line. Unknown names and impossible values are errors. `mainstem config\n\
         default` prints a file with all of them, `mainstem config show --origin` what holds and why, and `mainstem config check`\n\
         checks it. `mainstem reload` (or SIGHUP) has a running node read it again: settings marked *reload* hold at once, all\n\
         others from the next start on. Sizes are in bytes, or with KiB, MiB, GiB; names that end with `_ms` are in milliseconds.\n",
    );
    for section in Settings::SECTIONS {
        let _ = write!(out, "\n## {}\n\n", section.heading);
        let about: Vec<_> = section.doc.iter().map(|line| line.trim()).collect();
        let _ = writeln!(out, "{}", about.join("\n"));
        for setting in settings().iter().filter(|setting| setting.section == section.name) {
            let reload = if setting.reloads() { " *reload*" } else { "" };
            let (path, default, takes) = (&setting.path, setting.default(), (setting.expected)());
            let _ = write!(out, "\n### `{path}`\n\nDefault: `{default}`. Takes {takes}.{reload}\n\n");
            for line in setting.doc {
                let _ = writeln!(out, "{}", line.trim());
            }
        }
    }
    out
}

/// Declares the settings: makes [`Settings`], a struct a section, their defaults, and the table.
macro_rules! declare {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {$(
            $(#[doc = $doc:literal])+
            $key:ident: $T:ty = $default:expr $(, in $range:expr)?;
        )+}
    )+) => {
        /// Everything that can be set, and is valid.
        #[derive(Clone, PartialEq, Debug, Default)]
        pub(crate) struct Settings {$(
            $(#[doc = $section_doc])+
            pub(crate) $section: $Section,
        )+}

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, PartialEq, Debug)]
            pub(crate) struct $Section {$(
                $(#[doc = $doc])+
                pub(crate) $key: $T,
            )+}

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($key: $default,)+ }
                }
            }
        )+

        impl Settings {
            /// The sections, in the order of the file.
            const SECTIONS: &'static [$crate::settings::table::Section] = &[$(
                $crate::settings::table::Section {
                    name: stringify!($section),
                    heading: concat!("[", stringify!($section), "]"),
                    doc: &[$($section_doc),+],
                },
            )+];

            fn table() -> Vec<$crate::settings::table::Setting> {
                use $crate::settings::table::{Input, Setting};
                use $crate::settings::value::{self, Value};
                let mut table = Vec::new();
                $($({
                    fn range() -> Option<std::ops::RangeInclusive<$T>> {
                        #[allow(unused_mut, unused_assignments, reason = "assigned where there are bounds")]
                        let mut range = None;
                        $(range = Some($range);)?
                        range
                    }
                    table.push(Setting::new(
                        stringify!($section),
                        stringify!($key),
                        &[$($doc),+],
                        <$T as Value>::PLACEHOLDER,
                        || value::expected::<$T>(range().as_ref()),
                        |settings, input| {
                            let value = match input {
                                Input::Text(text) => <$T as Value>::from_text(text),
                                Input::Toml(value) => <$T as Value>::from_toml(value),
                            };
                            let inside = |value: &$T| range().is_none_or(|range| range.contains(value));
                            let Some(value) = value.filter(inside) else { return false };
                            settings.$section.$key = value;
                            true
                        },
                        |settings| settings.$section.$key.to_toml(),
                        |from, to| to.$section.$key.clone_from(&from.$section.$key),
                    ));
                })+)+
                table
            }
        }
    };
}
pub(super) use declare;
