//! Manual pages and shell completions, made from the definition of the command line, so that they cannot say anything
//! else than `--help`. The program `tributary` compiles this same file.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Writes the page of `command` and one of each subcommand that help shows, `a-b-c.1` for `a b c`, into `dir`, which is
/// made if it is not there. Gives the files, parents before children.
pub(crate) fn man(mut command: Command, dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    command = command.disable_help_subcommand(true);
    command.build();
    let mut files = Vec::new();
    pages(&command, dir, &mut files)?;
    Ok(files)
}

/// Writes the completions of `command` for `shell`.
pub(crate) fn completions(mut command: Command, shell: Shell, out: &mut impl Write) -> io::Result<()> {
    let name = command.get_name().to_owned();
    // It writes to anything but expects that to go well, which a closed pipe does not.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    out.write_all(&script)
}

fn pages(command: &Command, dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let man = Man::new(command.clone());
    let file = dir.join(man.get_filename());
    fs::write(&file, page(command, &man)?)?;
    files.push(file);
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| pages(sub, dir, files))
}

fn page(command: &Command, man: &Man) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_long_help().or(command.get_after_help()) {
        // Examples and tables: their lines are not to be filled into paragraphs.
        writeln!(page, ".SH NOTES\n.nf")?;
        notes.to_string().lines().try_for_each(|line| writeln!(page, "{}", escaped(line)))?;
        writeln!(page, ".fi")?;
    }
    if command.get_version().is_some() {
        man.render_version_section(&mut page)?;
    }
    Ok(page)
}

/// A line as roff shows it: a point or an apostrophe at its beginning would be a request, a hyphen may be broken at.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_notes_are_never_requests() {
        assert_eq!(escaped(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(escaped("a \\ b --c"), "a \\e b \\-\\-c");
    }
}
