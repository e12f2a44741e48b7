//! `cargo xtask book`: the documentation as a book, and whether all of it hangs together.
//!
//! The chapters are the documents in `docs`, where they are; `docs/SUMMARY.md` puts them in order. The page of each error code
//! is a chapter below that of the errors without standing in the summary. What chapters link to outside of `docs` is part of the
//! book too, each file where it is in the tree, so that every link leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::tool::Tool;
use crate::{package, release, workspace};

pub(crate) const LONG: &str = "\
Build the documentation as a book: target/book/html/index.html.

By mdBook, which is built into target/tools the first time. Before that every link between documents is checked, which the \
tests of this package do as well.";

const MDBOOK: Tool = Tool { name: "mdbook", version: "0.5.4" };

/// Builds the book.
pub(crate) fn book() -> Result<()> {
    let problems = problems()?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    MDBOOK.install()?;
    let base = workspace::target("book");
    if base.exists() {
        fs::remove_dir_all(&base)?;
    }
    let source = base.join("source");
    let beside = stage(&source)?;
    let summary = fs::read_to_string(source.join("docs/SUMMARY.md"))?;
    let mut summary = with_errors(&summary)?.replace("](", "](docs/");
    summary += "\n# In the sources\n\n";
    for (file, title) in beside {
        writeln!(summary, "- [{title}]({})", file.display())?;
    }
    fs::write(source.join("SUMMARY.md"), summary)?;
    fs::remove_file(source.join("docs/SUMMARY.md"))?;
    fs::rename(source.join("docs/book.toml"), source.join("book.toml"))?;
    let html = base.join("html");
    package::succeed(MDBOOK.command(&["build", "--dest-dir"]).arg(&html).arg(&source))?;
    // mdBook's own is the first chapter once more, whose links are wrong one folder higher.
    let first = "docs/introduction.html";
    ensure!(html.join(first).exists(), "the book has no {first}");
    fs::write(
        html.join("index.html"),
        format!(
            "<!doctype html><title>Mainstem</title><meta http-equiv=\"refresh\" content=\"0; url={first}\">\n"
        ),
    )?;
    println!("\n{}", html.join("index.html").display());
    Ok(())
}

/// Copies all documents, and whatever they link to, as it lies in the tree. Gives the documents outside of `docs`, with their
/// titles.
fn stage(source: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut open: Vec<PathBuf> =
        release::tracked()?.iter().filter(|file| file.starts_with("docs/")).map(PathBuf::from).collect();
    let (mut seen, mut beside) = (BTreeSet::new(), BTreeMap::new());
    while let Some(file) = open.pop() {
        let (from, to) = (workspace::root().join(&file), source.join(&file));
        if !from.is_file() || !seen.insert(file.clone()) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        fs::copy(&from, &to)?;
        let name = file.to_string_lossy();
        if is_markdown(&name) {
            let text = fs::read_to_string(&from)?;
            open.extend(links(&text).iter().filter_map(|link| resolve(&name, link.split('#').next()?)));
            if !file.starts_with("docs") {
                let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(&name).to_owned();
                beside.insert(file, title);
            }
        }
    }
    Ok(beside)
}

/// The summary with the page of each error code below that of the errors.
fn with_errors(summary: &str) -> Result<String> {
    let mut pages = Vec::new();
    for file in release::tracked()?.iter().filter(|file| file.starts_with("docs/errors/MS-")) {
        let text = fs::read_to_string(workspace::root().join(file))?;
        let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(file);
        pages.push(format!("  - [{title}]({})", file.trim_start_matches("docs/")));
    }
    pages.sort();
    let mut lines: Vec<&str> = summary.lines().collect();
    let at = lines.iter().position(|line| line.contains("](errors/README.md)"));
    let after = lines.split_off(at.context("docs/SUMMARY.md does not have errors/README.md")? + 1);
    lines.extend(pages.iter().map(String::as_str));
    lines.extend(after);
    Ok(lines.join("\n") + "\n")
}

/// Everything that does not hang together: links that lead nowhere, documents that nobody finds.
fn problems() -> Result<Vec<String>> {
    let files = release::tracked()?;
    let root = workspace::root();
    let markdown: Vec<&String> =
        files.iter().filter(|file| is_markdown(file) && root.join(file).is_file()).collect();
    let mut texts = BTreeMap::new();
    for file in &markdown {
        texts.insert(PathBuf::from(file), fs::read_to_string(root.join(file))?);
    }
    let mut problems = Vec::new();
    for (file, text) in &texts {
        for link in links(text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let name = file.display();
            let target = if path.is_empty() {
                file.clone()
            } else if let Some(target) = resolve(&file.to_string_lossy(), path) {
                target
            } else {
                problems.push(format!("{name}: {link} leads out of the tree"));
                continue;
            };
            if !root.join(&target).exists() {
                problems.push(format!("{name}: {link} leads nowhere"));
            } else if file.starts_with("docs") && root.join(&target).is_dir() {
                // The book has no page for it.
                problems.push(format!("{name}: {link} leads to a folder: name a document in it"));
            } else if !anchor.is_empty()
                && texts.get(&target).is_some_and(|text| !anchors(text).contains(anchor))
            {
                problems.push(format!("{name}: {link}: {} has no such heading", target.display()));
            }
        }
    }
    let summary = texts.get(Path::new("docs/SUMMARY.md")).context("docs/SUMMARY.md is not there")?;
    let listed: BTreeSet<PathBuf> =
        links(summary).into_iter().filter_map(|link| resolve("docs/SUMMARY.md", link)).collect();
    for file in texts.keys().filter(|file| file.starts_with("docs") && !file.ends_with("SUMMARY.md")) {
        // The pages of single errors are put in when the book is made.
        let of_error = file.starts_with("docs/errors") && !file.ends_with("README.md");
        if !of_error && !listed.contains(file) {
            problems.push(format!("{} is not in docs/SUMMARY.md", file.display()));
        }
    }
    Ok(problems)
}

fn is_markdown(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "md")
}

/// Targets of the links and pictures in a document that are not addresses of the web, outside of blocks and spans of code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        if in_block {
            continue;
        }
        let mut at = 0;
        while let Some(start) = line[at..].find("](").map(|start| at + start) {
            at = start + 2;
            let Some(end) = line[at..].find(')') else { break };
            let target = line[at..at + end].split(' ').next().unwrap_or_default();
            // Between backticks it is code; the text of a link may be code as well.
            let open = line[..start].rfind('[').unwrap_or(start);
            let in_code = line[..open].matches('`').count() % 2 == 1;
            let web = ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme));
            if !in_code && !web && !target.is_empty() {
                found.push(target);
            }
        }
    }
    found
}

/// Where a link of `file` leads, from the root of the tree; nothing where that is outside of it.
fn resolve(file: &str, link: &str) -> Option<PathBuf> {
    let mut path = Path::new(file).parent()?.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(path)
}

/// The names by which a document's headings can be linked to, as code hosts and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut in_block = false;
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if in_block || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let name: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let mut unique = name.clone();
        let mut number = 0;
        while names.contains(&unique) {
            number += 1;
            unique = format!("{name}-{number}");
        }
        names.insert(unique);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_leads_somewhere_and_every_document_is_in_the_summary() {
        let problems = problems().unwrap();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn pages_of_errors_stand_below_their_table() {
        let summary = with_errors("- [E](errors/README.md)\n- [F](f.md)\n").unwrap();
        let lines: Vec<_> = summary.lines().collect();
        assert!(
            lines[1].starts_with("  - [MS-1001: ") && lines[1].ends_with("](errors/MS-1001.md)"),
            "{summary}"
        );
        assert_eq!((lines[0], lines[lines.len() - 1]), ("- [E](errors/README.md)", "- [F](f.md)"));
        assert!(with_errors("- [F](f.md)\n").is_err());
    }

    #[test]
    fn links_are_found_outside_of_code_only() {
        let text = "see [a](b.md#c), `[x](y.md)` and [`d`](../e) or [web](https://example.org)\n```\n[n](o.md)\n```\n![p](q.svg)";
        assert_eq!(links(text), ["b.md#c", "../e", "q.svg"]);
    }

    #[test]
    fn links_are_resolved_from_their_document_and_never_out_of_the_tree() {
        assert_eq!(resolve("docs/errors/a.md", "../b.md"), Some("docs/b.md".into()));
        assert_eq!(resolve("docs/a.md", "../../b.md"), None);
        assert_eq!(resolve("docs/a.md", "/etc/passwd"), None);
    }

    #[test]
    fn anchors_are_those_of_the_headings() {
        let names = anchors("# A b, `c`?\n## A b, `c`?\n```\n# no\n```\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a-b-c", "a-b-c-1"]);
    }
}
