//! The world of `mainstem dev`: a data directory like any other, with the keys of its simulated side chains.
//!
//! ```text
//! mainstem.toml genesis.toml node.key log/     as of every node
//! chains/0.key chains/1.key ...                one for each simulated side-chain node
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engine::chain::{ChainId, Height};
use engine::quorum::FinalityRule;
use engine::state::{Genesis, MainChain, SideChain};
use net::identity::Identity;

use crate::data_dir::{CONFIG, DataDir};
use crate::settings::document;

/// Most simulated nodes: with more chains, each speaks for several.
const MAX_NODES: usize = 64;

/// The chains of a world that nobody asked for in particular.
pub(super) const DEFAULT_CHAINS: usize = 8;

/// A world, as it lies on disk.
pub(super) struct World {
    /// Who the chains are.
    pub(super) genesis: Genesis,
    /// The simulated nodes: who each is, and which chains it speaks for.
    pub(super) nodes: Vec<(Identity, Vec<ChainId>)>,
    /// Whether it was there before.
    pub(super) existed: bool,
}

/// The chain that is shown and proven, in every world the same.
pub(super) const FIRST_CHAIN: ChainId = ChainId(1_866_392);

impl World {
    /// Opens the world in `path`, making it with `chains` side chains where there is none.
    pub(super) fn open(path: &Path, chains: Option<usize>) -> Result<Self> {
        let dir = DataDir::plain(path);
        let existed = dir.genesis.exists();
        if !existed {
            create(path, &dir, chains.unwrap_or(DEFAULT_CHAINS))?;
        }
        let genesis = dir.read_genesis()?;
        let have = genesis.chains.len();
        if let Some(chains) = chains.filter(|chains| *chains != have) {
            bail!(
                "{} is a world of {have} chains, and --chains says {chains}; leave --chains out to continue it, \
                 or make another one with --data (or remove {0})",
                path.display()
            );
        }
        let mut nodes = Vec::new();
        for index in 0..node_count(have) {
            let identity = Identity::load(&key_path(path, index))
                .with_context(|| format!("{} is not a world that `mainstem dev` made", path.display()))?;
            let key = identity.public();
            let spoken_for = genesis.chains.iter().filter(|side| side.nodes.contains(&key));
            nodes.push((identity, spoken_for.map(|side| side.id).collect()));
        }
        Ok(Self { genesis, nodes, existed })
    }
}

/// The genesis document comes last: with it, the world is there.
fn create(path: &Path, dir: &DataDir, chains: usize) -> Result<()> {
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) && !path.join("chains").exists() {
        bail!(
            "{} is not empty and not a world that `mainstem dev` made; name another with --data",
            path.display()
        );
    }
    fs::create_dir_all(path.join("chains")).with_context(|| format!("{} cannot be made", path.display()))?;
    let key = |path: &Path| if path.exists() { Identity::load(path) } else { Identity::create(path) };
    key(&dir.key)?;
    let mut keys = Vec::new();
    for index in 0..node_count(chains) {
        keys.push(key(&key_path(path, index))?.public());
    }
    let chains: Vec<_> = (0..chains)
        .map(|index| SideChain {
            id: chain_id(index),
            name: format!("simulated chain {}", index + 1),
            first_height: Height(1),
            nodes: vec![keys[index % keys.len()]],
            finality: FinalityRule::Single,
        })
        .collect();
    let main = MainChain { id: ChainId(9_992_731), name: "mainstem dev".into(), aelf_root: false };
    for (file, content) in
        [(path.join(CONFIG), document()), (dir.genesis.clone(), Genesis::document(&main, &chains))]
    {
        let unfinished = file.with_extension("tmp");
        fs::write(&unfinished, content)
            .and_then(|()| fs::rename(&unfinished, &file))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// The id of the n-th simulated chain: `tDVV` and the ids that follow it when spelt in base58.
fn chain_id(index: usize) -> ChainId {
    // The text is base58 of the three low bytes, little-endian first; so counting up goes from the third byte on.
    const TDVV: u32 = 0x0098_7a1c;
    let [_, a, b, c] = (TDVV + index as u32).to_be_bytes();
    ChainId(u32::from_le_bytes([a, b, c, 0]))
}

fn node_count(chains: usize) -> usize {
    chains.min(MAX_NODES)
}

fn key_path(path: &Path, index: usize) -> PathBuf {
    path.join("chains").join(format!("{index}.key"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn simulated_chains_have_ids_of_their_own_in_alphabetical_order() {
        assert_eq!(chain_id(0), FIRST_CHAIN);
        let names: Vec<_> = (0..5).map(|index| chain_id(index).to_string()).collect();
        assert_eq!(names, ["tDVV", "tDVW", "tDVX", "tDVY", "tDVZ"]);
        let ids: BTreeSet<_> = (0..10_000).map(chain_id).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(!ids.contains(&ChainId(9_992_731)));
    }

    #[test]
    fn a_world_is_continued_and_another_number_of_chains_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("world");
        let made = World::open(&path, Some(3)).unwrap();
        assert!(!made.existed);
        for chains in [None, Some(3)] {
            let again = World::open(&path, chains).unwrap();
            assert!(again.existed);
            assert_eq!(again.genesis, made.genesis);
            assert_eq!(again.nodes[2].0.public(), made.nodes[2].0.public());
        }
        let error = World::open(&path, Some(4)).err().unwrap().to_string();
        assert!(error.contains("is a world of 3 chains, and --chains says 4"), "{error}");
    }

    #[test]
    fn many_chains_share_the_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::open(dir.path(), Some(200)).unwrap();
        assert_eq!(world.nodes.len(), 64);
        let spoken_for: BTreeSet<_> = world.nodes.iter().flat_map(|(_, chains)| chains).collect();
        assert_eq!(spoken_for.len(), 200);
        assert!(world.nodes.iter().all(|(_, chains)| (3..=4).contains(&chains.len())));
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        let error = World::open(dir.path(), None).err().unwrap().to_string();
        assert!(error.contains("not a world that `mainstem dev` made"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
