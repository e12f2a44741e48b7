//! `mainstem chains add`, `pause`, `resume` and `remove`: by the admin socket of the node that runs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use engine::chain::{ChainId, Height, NodeKey};
use engine::quorum::FinalityRule;
use engine::state::{Operation, SideChain};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::Client;
use crate::data_dir::{AtDir, DataDir};

/// What changes chains of a running node.
#[derive(Subcommand)]
pub(crate) enum Change {
    Add(Add),
    Pause(Pause),
    Resume(Resume),
    Remove(Remove),
}

impl Change {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Add(add) => add.run(),
            Self::Pause(pause) => pause.run(),
            Self::Resume(resume) => resume.run(),
            Self::Remove(remove) => remove.run(),
        }
    }
}

const ADD: &str = "\
The main chain says in its next block that it indexes the chain from now on; nodes with its keys are let in at once. The \
file holds one or more [[chain]] tables, as a genesis document does.

Examples:
  mainstem chains add --id tDVW --name \"Side W\" --key <KEY OF tributary keys show> --data main
  mainstem chains add new-chains.toml --data main";

/// Register a side chain while the node runs
#[derive(Args)]
#[command(after_help = ADD)]
pub(crate) struct Add {
    /// File with `[[chain]]` tables, as in a genesis document
    #[arg(value_name = "FILE", required_unless_present = "id", conflicts_with_all = ["id", "name", "key", "first_height"])]
    file: Option<PathBuf>,
    /// Id of the chain: a number, or its base58 form
    #[arg(long, requires = "key")]
    id: Option<ChainId>,
    /// A name for people [default: the id]
    #[arg(long, requires = "id")]
    name: Option<String>,
    /// Public key of a node that may speak for it; several times for several nodes
    #[arg(long, requires = "id")]
    key: Vec<NodeKey>,
    /// The first height that is indexed [default: 1]
    #[arg(long, requires = "id", value_name = "HEIGHT")]
    first_height: Option<u64>,
    #[command(flatten)]
    dir: AtDir,
}

/// Pause a side chain: what comes stays in its lane, and nothing is lost
///
/// Its senders wait once the lane is full, all other chains go on. It stays paused over restarts.
#[derive(Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    one: One,
}

/// Let a paused or quarantined side chain go on
#[derive(Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    one: One,
}

/// Remove a side chain: nothing of it is indexed any more
///
/// What is indexed stays and can be proven. Registered again later, it goes on after its newest indexed height.
#[derive(Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    one: One,
    /// Do it
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
struct One {
    /// Id of the chain: a number, or its base58 form
    chain: ChainId,
    #[command(flatten)]
    dir: AtDir,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    chain: Vec<SideChain>,
}

impl Add {
    pub(crate) fn run(self) -> Result<()> {
        let client = Client::at(&DataDir::plain(self.dir.path()));
        let chains = self.chains()?;
        let mut out = stdout().lock();
        let count = chains.len();
        for (position, chain) in chains.into_iter().enumerate() {
            let added = client.post("/v1/admin/chains", &serde_json::to_value(&chain)?);
            let answer = match added {
                Ok(answer) => answer,
                Err(error) if count == 1 => return Err(error.into()),
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("chain {}; {position} of {count} were added", chain.id));
                }
            };
            let SideChain { id, name, nodes, .. } = &chain;
            writeln!(
                out,
                "chain {id} {name:?}: registered by main block {}, {} keys",
                answer["block"],
                nodes.len()
            )?;
        }
        Ok(())
    }

    fn chains(&self) -> Result<Vec<SideChain>> {
        if let Some(file) = &self.file {
            let text =
                fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            let document: Document = toml::from_str(&text)
                .map_err(|error| anyhow!("{}: {}", file.display(), error.to_string().trim_end()))?;
            if document.chain.is_empty() {
                bail!("{}: expected a [[chain]] table", file.display());
            }
            judge(&document.chain).with_context(|| format!("{}: none is added", file.display()))?;
            return Ok(document.chain);
        }
        let id = self.id.expect("clap asks for one of both");
        Ok(vec![SideChain {
            id,
            name: self.name.clone().unwrap_or_else(|| id.to_string()),
            first_height: Height(self.first_height.unwrap_or(1)),
            nodes: self.key.clone(),
            finality: FinalityRule::default(),
        }])
    }
}

/// Whether all of a file can be, before the first one of it is added.
fn judge(chains: &[SideChain]) -> Result<()> {
    let mut ids = BTreeSet::new();
    for (position, side) in chains.iter().enumerate() {
        let place = || format!("[[chain]] {} of {}", position + 1, chains.len());
        Operation::Register(side.clone()).check().with_context(place)?;
        if !ids.insert(side.id) {
            return Err(anyhow!("chain {} stands there twice", side.id)).with_context(place);
        }
    }
    Ok(())
}

impl Pause {
    pub(crate) fn run(self) -> Result<()> {
        self.one.post("pause")?;
        let chain = self.one.chain;
        writeln!(stdout(), "chain {chain}: paused, until `mainstem chains resume {chain}`")?;
        Ok(())
    }
}

impl Resume {
    pub(crate) fn run(self) -> Result<()> {
        self.one.post("resume")?;
        writeln!(stdout(), "chain {}: goes on", self.one.chain)?;
        Ok(())
    }
}

impl Remove {
    pub(crate) fn run(self) -> Result<()> {
        let chain = self.one.chain;
        if !self.yes {
            bail!("chain {chain} would be indexed no more, from the next main block on; --yes does it");
        }
        let answer = self.one.client().delete(&format!("/v1/admin/chains/{}", chain.0))?;
        writeln!(stdout(), "chain {chain}: removed by main block {}", answer["block"])?;
        Ok(())
    }
}

impl One {
    fn client(&self) -> Client {
        Client::at(&DataDir::plain(self.dir.path()))
    }

    fn post(&self, what: &str) -> Result<Value> {
        Ok(self.client().post(&format!("/v1/admin/chains/{}/{what}", self.chain.0), &json!({}))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_one_chain_that_cannot_be_is_refused_as_a_whole() {
        let side = |id, first| SideChain {
            id: ChainId(id),
            name: "side".into(),
            first_height: Height(first),
            nodes: vec![NodeKey([1; 32])],
            finality: FinalityRule::default(),
        };
        judge(&[side(1, 1), side(2, 1)]).unwrap();
        for wrong in [vec![side(1, 1), side(2, 0)], vec![side(1, 1), side(1, 1)]] {
            let error = format!("{:#}", judge(&wrong).unwrap_err());
            assert!(error.starts_with("[[chain]] 2 of 2: "), "{error}");
        }
    }
}
