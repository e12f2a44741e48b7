//! `mainstem follow`: keeps one header of a main chain, and moves it on only with proof that nothing before it changed.

use std::fs;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use engine::chain::{Height, MainHeader};
use rest::Client;

use super::dev::duration;
use crate::codes::{self, WithCode as _};

/// Longest file that can be a header.
const MAX_BYTES: usize = 64 << 10;

const NOTES: &str = "\
The file has the header in JSON, as GET /v1/blocks/{height} answers it. Where there is none yet, the newest header of the \
node is kept unproven: compare its hash with others who follow, or begin with a header that you trust.

Exit code:
  1  history was rewritten: the node does not prove that its newest header continues the kept
     one. Standard error shows both; the file stays as it is
  2  with --once: nothing was learnt, because the node does not answer, is behind the kept
     header, or has pruned it; or the file cannot be read or written

Examples:
  mainstem follow --node http://10.0.0.5:9480 --keep main.header
  mainstem follow --node http://10.0.0.5:9480 --keep main.header --once
  mainstem verify p.json --trusted-header $(mainstem follow --keep main.header --once | cut -d' ' -f1)";

/// Keep one main-chain header, and catch every rewrite of the history before it
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Follow {
    /// Ask the node at this address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9480")]
    node: String,
    /// Keep the header in this file
    #[arg(long, value_name = "FILE")]
    keep: PathBuf,
    /// How often to ask
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    every: Duration,
    /// Move on once and end
    #[arg(long)]
    once: bool,
}

/// What became of the kept header.
enum Step {
    /// There was none.
    First(MainHeader),
    /// It is the newest one still.
    Same(MainHeader),
    /// This one continues it.
    On(MainHeader),
    /// The node has another history.
    Rewritten(Box<Rewrite>),
}

/// Two headers that cannot be of one history, as far as the node has shown.
struct Rewrite {
    kept: MainHeader,
    /// What the node has instead, and why it does not go together with the kept one.
    shown: MainHeader,
    reason: String,
}

impl Follow {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let client = Client::new(&self.node);
        loop {
            match self.step(&client) {
                Ok(Step::Rewritten(rewrite)) => {
                    let _ = rewrite.tell(&self.node);
                    return Ok(ExitCode::from(1));
                }
                Ok(step) => {
                    if step.tell().is_err() {
                        // Nobody listens any more.
                        return Ok(ExitCode::SUCCESS);
                    }
                    if self.once {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                Err(error) => {
                    codes::say(&error);
                    if self.once {
                        return Ok(ExitCode::from(2));
                    }
                }
            }
            thread::sleep(self.every);
        }
    }

    fn step(&self, client: &Client) -> Result<Step> {
        let kept = load(&self.keep)?;
        let latest = client.latest_block()?.header;
        let Some(kept) = kept else {
            store(&self.keep, &latest)?;
            return Ok(Step::First(latest));
        };
        if latest.height < kept.height {
            bail!(
                "the node's newest main block is {}, and the kept header is that of {}: it is behind, or has lost blocks",
                latest.height,
                kept.height
            );
        }
        let proof = client.consistency(kept.height, latest.height)?;
        let rewritten = |shown, reason| Ok(Step::Rewritten(Box::new(Rewrite { kept, shown, reason })));
        if proof.from != kept {
            return rewritten(proof.from, format!("it has another main block {}", kept.height));
        }
        match proof.verify() {
            Err(error) => rewritten(
                proof.to,
                format!("it does not prove that main block {} continues it: {error}", proof.to.height),
            ),
            Ok(_) if proof.to == kept => Ok(Step::Same(kept)),
            Ok(_) => {
                store(&self.keep, &proof.to)?;
                Ok(Step::On(proof.to))
            }
        }
    }
}

impl Step {
    /// One line on standard output: the hash first.
    fn tell(&self) -> io::Result<()> {
        let (header, how) = match self {
            Self::First(header) => (header, "kept as the first one, unproven"),
            Self::Same(header) => (header, "still the newest one"),
            Self::On(header) => (header, "continues the one before"),
            Self::Rewritten(rewrite) => (&rewrite.kept, "no longer in the node's history"),
        };
        writeln!(stdout(), "{} main block {}: {how}", header.hash(), header.height)
    }
}

impl Rewrite {
    fn tell(&self, node: &str) -> io::Result<()> {
        let Self { kept, shown, reason } = self;
        let said: Result<()> = Err(anyhow!(
            "history was rewritten: the node at {node} does not continue the kept header; {reason}"
        ));
        if let Err(error) = said.code(7004) {
            codes::say(&error);
        }
        let mut out = stderr().lock();
        for (name, header) in [("kept", kept), ("node", shown)] {
            let json = serde_json::to_string(header).map_err(io::Error::other)?;
            writeln!(out, "{name}: {} main block {}: {json}", header.hash(), header.height)?;
        }
        Ok(())
    }
}

/// The kept header; `None` if there is no file yet.
fn load(file: &Path) -> Result<Option<MainHeader>> {
    let bytes = match fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX_BYTES as u64 => {
            bail!("{}: longer than {MAX_BYTES} bytes, so it is no header", file.display())
        }
        Ok(_) => fs::read(file),
        Err(error) => Err(error),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
    };
    let header: MainHeader = serde_json::from_slice(&bytes)
        .map_err(|error| anyhow!("{}: not a header in JSON: {error}", file.display()))?;
    if header.version != MainHeader::VERSION || !(Height(1)..=Height::MAX).contains(&header.height) {
        bail!("{}: not a header: version {}, height {}", file.display(), header.version, header.height);
    }
    Ok(Some(header))
}

/// Replaces the kept header. Whenever this is cut short, the file has the old one or the new one.
fn store(file: &Path, header: &MainHeader) -> Result<()> {
    let mut text = serde_json::to_string_pretty(header)?;
    text.push('\n');
    let written = || {
        let dir = match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
        fresh.write_all(text.as_bytes())?;
        fresh.as_file().sync_all()?;
        fresh.persist(file).map_err(|error| error.error)?;
        fs::File::open(dir)?.sync_all()
    };
    written().with_context(|| format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use engine::chain::{ChainId, Hash, Timestamp};

    use super::*;

    #[test]
    fn a_kept_header_reads_back_and_what_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kept");
        assert!(load(&file).unwrap().is_none());
        let header = MainHeader {
            version: 1,
            chain_id: ChainId(2),
            height: Height(3),
            time: Timestamp::from_millis(4),
            parent: Hash([5; 32]),
            side_root: Hash([6; 32]),
            chain_count: 7,
            leaf_count: 8,
            ops_root: Hash([9; 32]),
            state_root: Hash([10; 32]),
            history_root: Hash([11; 32]),
            aelf_root: Hash([12; 32]),
        };
        for height in [3, 4] {
            let header = MainHeader { height: Height(height), ..header };
            store(&file, &header).unwrap();
            assert_eq!(load(&file).unwrap(), Some(header));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
        store(&file, &MainHeader { height: Height(0), ..header }).unwrap();
        assert!(load(&file).unwrap_err().to_string().contains("height 0"));
        fs::write(&file, "{}").unwrap();
        assert!(load(&file).unwrap_err().to_string().contains("not a header in JSON"));
        fs::write(&file, vec![b' '; MAX_BYTES + 1]).unwrap();
        assert!(load(&file).unwrap_err().to_string().contains("longer than"));
        assert!(store(&dir.path().join("no/such/dir"), &header).is_err());
    }
}
