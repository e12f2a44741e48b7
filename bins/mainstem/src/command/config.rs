//! `mainstem config`: what holds, where it comes from, and whether it is right.

use std::io::{Write, stdout};

use anyhow::Result;
use clap::{Args, Subcommand};

use super::run::secret;
use crate::admin::PausedFile;
use crate::codes::WithCode as _;
use crate::data_dir::DataDir;
use crate::keys::KeysFile;
use crate::node;
use crate::registry::ever_registered;
use crate::settings::{ConfigArgs, document, page, settings};

/// Show or check the configuration
#[derive(Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print every setting as a configuration file, after all layers: default < file < environment < flag
    Show {
        /// Say behind each value where it comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print a configuration file with every setting: what it does, its unit and bounds, and its default
    Default {
        /// The same as a page in Markdown: docs/config.md
        #[arg(long)]
        markdown: bool,
    },
    /// Check configuration, genesis document and key file, and exit with 2 or 1 if something is wrong
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl Config {
    pub(crate) fn run(self) -> Result<()> {
        match self.action {
            Action::Show { origin, config } => show(&config, origin),
            Action::Default { markdown } => default(markdown),
            Action::Check { config } => check(&config),
        }
    }
}

fn show(config: &ConfigArgs, origin: bool) -> Result<()> {
    let loaded = config.load()?;
    let mut out = stdout().lock();
    let mut section = "";
    for (setting, place) in settings().iter().zip(&loaded.origins) {
        if section != setting.section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = setting.section;
            writeln!(out, "{gap}[{section}]")?;
        }
        if let Some(remark) = loaded.settings.remark(&setting.path) {
            writeln!(out, "# {remark}")?;
        }
        let line = format!("{} = {}", setting.key, (setting.show)(&loaded.settings));
        if origin { writeln!(out, "{line:<40} # {place}")? } else { writeln!(out, "{line}")? }
    }
    Ok(())
}

fn default(markdown: bool) -> Result<()> {
    let text = if markdown { page() } else { document() };
    Ok(stdout().write_all(text.as_bytes())?)
}

fn check(config: &ConfigArgs) -> Result<()> {
    let loaded = config.load()?;
    let mut out = stdout().lock();
    let dir = DataDir::of(&loaded.settings);
    let genesis = dir.read_genesis()?;
    node::check(&loaded.settings, &dir, &genesis).code(1005)?;
    match &loaded.file {
        Some(file) => writeln!(out, "{}: right", file.display())?,
        None => writeln!(out, "no configuration file: defaults, environment and flags are right")?,
    }
    let chains = genesis.chains.len();
    let (path, main) = (dir.genesis.display(), &genesis.main);
    writeln!(
        out,
        "{path}: right: main chain {} {:?}, {chains} side chains, hash {}",
        main.id, main.name, genesis.hash
    )?;
    let file = KeysFile::at(&dir.keys);
    if file.path().exists() {
        let state = file.read(&ever_registered(&genesis, &storage::operations(&dir.log)?))?;
        let (revoked, rotated) = (state.revoked.len(), state.stands_for.len());
        writeln!(out, "{}: right: {revoked} keys revoked, {rotated} new", file.path().display())?;
    }
    let file = PausedFile::at(&dir.chains);
    let paused = file.read()?.len();
    if dir.chains.exists() {
        writeln!(out, "{}: right: {paused} chains paused", dir.chains.display())?;
    }
    secret(&loaded.settings.api, &dir)?;
    let key = dir.read_key()?;
    writeln!(out, "{}: right: public key {}", dir.key.display(), key.public())?;
    Ok(())
}
