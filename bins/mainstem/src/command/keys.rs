//! `mainstem keys`: the key that other nodes know this one by, and which keys of side-chain nodes are good.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Subcommand};
use engine::chain::{ChainId, NodeKey};
use engine::state::SideChain;
use net::identity::Identity;
use serde::Serialize;

use crate::data_dir::DataDir;
use crate::keys::{KeyState, KeysFile, chains_of};
use crate::registry::ever_registered;
use crate::settings::ConfigArgs;

const EXAMPLES: &str = "\
The genesis document registers the keys of side-chain nodes for good. What changes since stands in `keys.toml` of the \
data directory; a node that runs follows each change within a second. Do not remove that file: a node that is started without \
it lets all registered keys in. `revoked = []` in it takes all changes back.

Examples:
  mainstem keys list --data main
  mainstem keys rotate OLD NEW --keep-old --data main   both are good while its owner changes over
  mainstem keys rotate OLD NEW --data main              and then only the new one
  mainstem keys revoke KEY --data main                  it was stolen: its connections end";

/// Keys: make or show this node's, revoke or rotate those of side-chain nodes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a new ed25519 key in a file that only its owner can read, and print the public key
    ///
    /// The file is PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it. An existing file is never
    /// overwritten.
    New {
        /// Where to write the key
        #[arg(default_value = "node.key")]
        file: PathBuf,
    },
    /// Print the public key that belongs to a key file
    Show {
        /// The key file
        #[arg(default_value = "node.key")]
        file: PathBuf,
    },
    /// Let a key in no longer, and end its connections
    Revoke {
        /// A registered key, or one that stands for one
        #[arg(value_name = "KEY")]
        key: NodeKey,
        #[command(flatten)]
        place: Place,
    },
    /// Let a new key speak for the chains of a registered one, which is revoked
    Rotate {
        /// The key that the genesis document names
        #[arg(value_name = "REGISTERED")]
        registered: NodeKey,
        /// The key that stands for it from now on, as `tributary keys new` makes it
        #[arg(value_name = "NEW")]
        new: NodeKey,
        /// Revoke none: the former key and the new one are both good until this is called again without it
        #[arg(long)]
        keep_old: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take a revocation back
    Restore {
        /// The revoked key
        #[arg(value_name = "KEY")]
        key: NodeKey,
        #[command(flatten)]
        place: Place,
    },
    /// List the registered keys by chain, the keys that stand for them, and which are revoked
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the data directory is.
#[derive(Args)]
struct Place {
    /// The data directory [default: mainstem-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file, if it is not in the data directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What is in it.
struct Registry {
    /// All chains that were ever registered, and those that are.
    known: Vec<SideChain>,
    chains: Arc<[SideChain]>,
    file: KeysFile,
}

impl Keys {
    pub(crate) fn run(self) -> Result<()> {
        match self.action {
            Action::New { file } => show(&Identity::create(&file)?),
            Action::Show { file } => show(&Identity::load(&file)?),
            Action::Revoke { key, place } => revoke(&place.open()?, key),
            Action::Rotate { registered, new, keep_old, place } => {
                rotate(&place.open()?, registered, new, keep_old)
            }
            Action::Restore { key, place } => restore(&place.open()?, key),
            Action::List { json, place } => list(&place.open()?, json),
        }
    }
}

impl Place {
    fn open(&self) -> Result<Registry> {
        let mut args = ConfigArgs { file: self.config.clone(), ..ConfigArgs::default() };
        if let Some(data) = &self.data {
            args.flags.insert("data.dir", data.to_string_lossy().into_owned());
        }
        let dir = DataDir::of(&args.load()?.settings);
        let genesis = dir.read_genesis()?;
        let operations = storage::operations(&dir.log)?;
        let known = ever_registered(&genesis, &operations);
        let now = engine::state::Registry::new(&genesis, operations.iter().map(|(_, operation)| operation));
        Ok(Registry { known, chains: now.chains(), file: KeysFile::at(&dir.keys) })
    }
}

impl Registry {
    /// Changes the file; gives what came of it and the state that holds now.
    fn change<T>(&self, change: impl FnOnce(&mut KeyState) -> Result<T>) -> Result<(T, KeyState)> {
        self.file.change(&self.known, |state| {
            let done = change(state)?;
            Ok((done, state.clone()))
        })
    }

    /// What a key is, in words.
    fn what(&self, state: &KeyState, key: NodeKey) -> String {
        let registered = state.stands_for.get(&key).copied();
        let chains: Vec<_> =
            chains_of(&self.known, registered.unwrap_or(key)).map(|side| side.id.to_string()).collect();
        let chains = match chains.as_slice() {
            [first, .., last] if chains.len() > 4 => format!("{} chains, {first} to {last}", chains.len()),
            _ => chains.join(", "),
        };
        match registered {
            Some(registered) => format!("stands for {registered}, registered for {chains}"),
            None => format!("registered for {chains}"),
        }
    }

    /// What to know after a change.
    fn close(&self, state: &KeyState) -> Result<()> {
        let mut out = stdout().lock();
        for side in state.mute(&self.chains).into_iter().take(8) {
            writeln!(
                out,
                "Nobody may speak for chain {} {:?} now: all its keys are revoked.",
                side.id, side.name
            )?;
        }
        writeln!(out, "A node that runs here takes it over within a second, and logs it.")?;
        Ok(())
    }
}

fn show(identity: &Identity) -> Result<()> {
    writeln!(stdout(), "{}", identity.public())?;
    Ok(())
}

fn revoke(registry: &Registry, key: NodeKey) -> Result<()> {
    let (changed, state) = registry.change(|state| Ok(state.revoke(&registry.known, key)?))?;
    if !changed {
        writeln!(stdout(), "{key} is revoked already")?;
        return Ok(());
    }
    writeln!(stdout(), "Revoked {key}\n  ({})", registry.what(&state, key))?;
    registry.close(&state)
}

fn rotate(registry: &Registry, registered: NodeKey, new: NodeKey, keep_old: bool) -> Result<()> {
    let (old, state) =
        registry.change(|state| Ok(state.rotate(&registry.known, registered, new, keep_old)?))?;
    let mut out = stdout().lock();
    writeln!(out, "{new}\n  {}", registry.what(&state, new))?;
    for old in old {
        writeln!(out, "Revoked {old}")?;
    }
    if keep_old {
        writeln!(out, "The former key is still good; the same command without --keep-old ends that.")?;
    }
    drop(out);
    registry.close(&state)
}

fn restore(registry: &Registry, key: NodeKey) -> Result<()> {
    let ((), state) = registry.change(|state| Ok(state.restore(&registry.known, key)?))?;
    writeln!(stdout(), "Restored {key}\n  ({})", registry.what(&state, key))?;
    registry.close(&state)
}

/// A registered key in the list.
#[derive(Serialize)]
struct Listed {
    key: NodeKey,
    revoked: bool,
    /// The keys that stand for it.
    stands_in: Vec<StandIn>,
}

#[derive(Serialize)]
struct StandIn {
    key: NodeKey,
    revoked: bool,
}

#[derive(Serialize)]
struct ListedChain<'a> {
    chain_id: ChainId,
    chain: String,
    name: &'a str,
    keys: Vec<Listed>,
}

fn list(registry: &Registry, json: bool) -> Result<()> {
    let state = registry.file.read(&registry.known)?;
    let listed = |key: &NodeKey| Listed {
        key: *key,
        revoked: state.revoked.contains(key),
        stands_in: state
            .stands_for
            .iter()
            .filter(|(_, registered)| *registered == key)
            .map(|(new, _)| StandIn { key: *new, revoked: state.revoked.contains(new) })
            .collect(),
    };
    let chains: Vec<_> = registry
        .chains
        .iter()
        .map(|side| ListedChain {
            chain_id: side.id,
            chain: side.id.to_string(),
            name: &side.name,
            keys: side.nodes.iter().map(listed).collect(),
        })
        .collect();
    let mut out = stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &serde_json::json!({ "chains": chains }))?;
        writeln!(out)?;
        return Ok(());
    }
    if chains.is_empty() {
        writeln!(out, "No side chain is registered, and so no key.")?;
    }
    let revoked = |revoked| if revoked { "  revoked" } else { "" };
    for chain in &chains {
        writeln!(out, "{} {:?}", chain.chain, chain.name)?;
        for Listed { key, revoked: gone, stands_in } in &chain.keys {
            writeln!(out, "  {key}  registered{}", revoked(*gone))?;
            for StandIn { key, revoked: gone } in stands_in {
                writeln!(out, "  {key}  stands for the one above{}", revoked(*gone))?;
            }
        }
    }
    Ok(())
}
