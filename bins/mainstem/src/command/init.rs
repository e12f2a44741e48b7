//! `mainstem init`: a data directory from which a node can run.

use std::fs;
use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::chain::ChainId;
use engine::state::Genesis;
use net::identity::Identity;

use crate::data_dir::{CONFIG, DataDir, read_genesis};
use crate::settings::{document, quote};

const EXAMPLES: &str = "\
Examples:
  mainstem init --data main --id AELF --name \"my main chain\"
  mainstem init --data main --genesis genesis.toml";

/// Make a data directory: node key, configuration, genesis document
///
/// The directory must be new or empty. What to do next is printed.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Init {
    /// The directory to make
    #[arg(long, value_name = "DIR", default_value = "mainstem-data")]
    data: PathBuf,
    /// Genesis document to copy; without it, a commented template is written
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "name"])]
    genesis: Option<PathBuf>,
    /// Id of the main chain, as a number or four base58 letters
    #[arg(long, default_value = "AELF")]
    id: ChainId,
    /// Name of the main chain
    #[arg(long, default_value = "main chain")]
    name: String,
}

impl Init {
    pub(crate) fn run(self) -> Result<()> {
        let text = match &self.genesis {
            Some(file) => read_genesis(file)?.1,
            None => template(self.id, &self.name),
        };
        let genesis = Genesis::parse(&text).context("the genesis document")?;

        let path = &self.data;
        match fs::read_dir(path).map(|mut entries| entries.next()) {
            Ok(Some(_)) => bail!("{} is not empty; name a new directory with --data", path.display()),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path).with_context(|| format!("{} cannot be made", path.display()))?;
            }
            Err(error) => bail!("{} cannot be the data directory: {error}", path.display()),
        }
        let dir = DataDir::plain(path);
        let key = Identity::create(&dir.key)?;
        let config = path.join(CONFIG);
        for (file, content) in [(&dir.genesis, &text), (&config, &document())] {
            fs::write(file, content).with_context(|| format!("{} cannot be written", file.display()))?;
        }

        let shown = path.display();
        let mut out = stdout().lock();
        writeln!(out, "Made {shown}:")?;
        writeln!(out, "  {CONFIG}  configuration: every setting with its default, commented out")?;
        writeln!(
            out,
            "  genesis.toml   genesis document: main chain {} {:?}, {} side chains",
            genesis.main.id,
            genesis.main.name,
            genesis.chains.len()
        )?;
        writeln!(out, "  node.key       the private key of this node; keep it to yourself")?;
        writeln!(out, "\nPublic key of this node, which side-chain nodes must know (tributary --main-key):")?;
        writeln!(out, "  {}", key.public())?;
        writeln!(out, "\nNext:")?;
        if genesis.chains.is_empty() {
            writeln!(
                out,
                "  edit {shown}/genesis.toml              # add your side chains; final once the node has run"
            )?;
        }
        writeln!(out, "  mainstem config check --data {shown}")?;
        writeln!(out, "  mainstem run --data {shown}")?;
        Ok(())
    }
}

/// A genesis document with comments for the one who completes it.
fn template(id: ChainId, name: &str) -> String {
    let (id, name) = (quote(&id.to_string()), quote(name));
    let mut text = format!(
        "# The genesis document: who the main chain is, and which side chains it indexes.\n\
         # Its hash is bound into the first main block: once the node has run, the document cannot change.\n\n\
         [main]\n\
         id = {id}\n\
         name = {name}\n\
         # Whether headers carry the root that AElf's contracts verify transactions against.\n\
         # aelf_root = false\n"
    );
    text.push_str(
        "\n# One table for each side chain:\n\
         #\n\
         # [[chain]]\n\
         # id = \"tDVV\"            # a number, or four base58 letters\n\
         # name = \"my side chain\"\n\
         # first_height = 1       # the first block that is indexed\n\
         # finality = \"single\"    # one node's word is final: it sends irreversible blocks only\n\
         # nodes = [              # who may speak for it: public keys, as `tributary keys show` prints them\n\
         #   \"0000000000000000000000000000000000000000000000000000000000000000\",\n\
         # ]\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid_and_so_is_its_example() {
        let text = template(ChainId(9_992_731), "a \"quoted\" name");
        let genesis = Genesis::parse(&text).unwrap();
        assert_eq!((genesis.main.id.0, genesis.main.name.as_str()), (9_992_731, "a \"quoted\" name"));
        assert!(genesis.chains.is_empty());

        let (rest, example) = text.split_once("# One table for each side chain:\n#\n").unwrap();
        let example: Vec<_> = example.lines().map(|line| line.trim_start_matches("# ")).collect();
        let example = format!("{rest}{}", example.join("\n"));
        // The key that stands there only as an example must be replaced.
        assert!(Genesis::parse(&example).unwrap_err().to_string().contains("is no node's key"));
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let genesis = Genesis::parse(&example.replace(&"0".repeat(64), key)).unwrap();
        assert_eq!(genesis.chains[0].id.to_string(), "tDVV");
    }
}
