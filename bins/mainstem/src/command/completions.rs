//! `mainstem completions`: what a shell needs to complete our command line.

use std::io::stdout;

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use super::pages;

const EXAMPLES: &str = "\
Examples:
  mainstem completions bash > ~/.local/share/bash-completion/completions/mainstem
  mainstem completions zsh > ~/.zfunc/_mainstem          # with `fpath+=~/.zfunc` before compinit
  mainstem completions fish > ~/.config/fish/completions/mainstem.fish";

/// Print the completions of this program for a shell
///
/// The Debian package brings those of bash, zsh and fish.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, program: clap::Command) -> Result<()> {
        Ok(pages::completions(program, self.shell, &mut stdout().lock())?)
    }
}
