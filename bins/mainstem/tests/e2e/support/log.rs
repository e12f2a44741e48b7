//! Logs that a test makes by itself: small segments, and blocks from a seed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use engine::chain::{ChainId, Columns, Hash, Height, MainBlock, MainHeader, Section, Timestamp};
use engine::store::BlockReader;
use serde_json::Value;
use storage::{Log, LogReader, LogWriter, Options, SegmentInfo};
use tempfile::TempDir;

use super::{Random, mainstem, run};

/// AELF.
pub(crate) const MAIN: ChainId = ChainId(9_992_731);
/// tDVV, tDVW, and one without a name of four letters, by ascending number.
const CHAINS: [u32; 3] = [1_866_392, 1_931_928, 16_777_223];

/// A data directory with nothing but a log in it.
pub(crate) struct Made {
    dir: TempDir,
    random: Random,
    height: u64,
    heads: BTreeMap<u32, u64>,
    reversible: bool,
}

impl Made {
    /// A log of some segments, written by three sessions, all stopped.
    pub(crate) fn new() -> Self {
        Self::of_sessions(&[90, 1, 60], false)
    }

    /// One whose last two sessions took blocks back before they wrote.
    pub(crate) fn taken_back() -> Self {
        let mut made = Self::of_sessions(&[120], true);
        for to in [95, 70] {
            let mut writer = made.open();
            writer.rollback(Height(to)).unwrap();
            made.height = to;
            // What was taken back and what comes instead have other heights in their chains, too.
            made.heads = made.heads.keys().map(|chain| (*chain, head_of(&writer.reader(), *chain))).collect();
            drop(writer);
            made.write(10);
        }
        made
    }

    fn of_sessions(sessions: &[u64], reversible: bool) -> Self {
        let mut made = Self {
            dir: tempfile::tempdir().unwrap(),
            random: Random::seeded(),
            height: 0,
            heads: BTreeMap::new(),
            reversible,
        };
        for blocks in sessions {
            made.write(*blocks);
        }
        assert!(made.segments().len() > 5, "{:?}", made.segments());
        made
    }

    /// The data directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The newest main block.
    pub(crate) fn head(&self) -> u64 {
        self.height
    }

    /// Opens the log to write it, as a node does.
    pub(crate) fn open(&self) -> LogWriter {
        let reversible = self.reversible;
        let options = Options { segment_bytes: 1 << 16, reversible, ..Options::new(Hash([7; 32]), MAIN) };
        Log::open(self.log(), options).unwrap().0
    }

    /// A writing session of so many blocks.
    pub(crate) fn write(&mut self, blocks: u64) {
        let mut writer = self.open();
        for _ in 0..blocks {
            writer.append(&self.block()).unwrap();
            writer.sync().unwrap();
        }
        writer.close().unwrap();
    }

    /// Prunes as a node does, and says how many files are kept to be written again.
    pub(crate) fn prune(&self, before: u64) -> usize {
        let mut writer = self.open();
        writer.prune(Height(before)).unwrap();
        writer.close().unwrap();
        self.spares()
    }

    /// How many files there are that were segments and may become some again.
    pub(crate) fn spares(&self) -> usize {
        let entries = fs::read_dir(self.log()).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension() == Some("spare".as_ref())).count()
    }

    /// `mainstem ARGS --data DIR`
    pub(crate) fn mainstem(&self, args: &[&str]) -> (i32, String, String) {
        run(mainstem().args(args).arg("--data").arg(self.path()))
    }

    /// `mainstem inspect ARGS --data DIR`, of which all must go well: what it prints.
    pub(crate) fn inspect(&self, args: &[&str]) -> String {
        let (code, out, error) = self.mainstem(&[&["inspect"], args].concat());
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}: {out}");
        out
    }

    /// All side blocks, or what else is exported, as JSON lines.
    pub(crate) fn export(&self, args: &[&str]) -> String {
        self.inspect(&[&["export"], args].concat())
    }

    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        LogReader::open(self.log()).unwrap().segments()
    }

    /// Damages the second record of a sealed segment: its main block, the file, and where the record begins.
    pub(crate) fn damage_record(&self, segment: usize) -> (u64, PathBuf, u64) {
        let info = &self.segments()[segment];
        assert!(info.sealed && info.blocks > 2);
        let of_first = self.inspect(&["block", &info.first.to_string(), "--json"]);
        let of_first: Value = serde_json::from_str(&of_first).unwrap();
        let offset = 4096 + of_first["record_bytes"].as_u64().unwrap();
        damage(&info.file, offset + 64 + 5);
        (info.first.0 + 1, info.file.clone(), offset)
    }

    /// The next block: of each chain none or some blocks.
    fn block(&mut self) -> MainBlock {
        self.height += 1;
        let (mut columns, mut sections) = (Columns::default(), Vec::new());
        for chain in CHAINS {
            // The first main block has some of all.
            if self.height > 1 && self.random.below(4) == 0 {
                continue;
            }
            let count = 1 + self.random.below(40) as u32;
            let head = self.heads.entry(chain).or_insert(99);
            let first_height = Height(*head + 1);
            *head += u64::from(count);
            let (parent, chain_root) = (hash(&mut self.random), hash(&mut self.random));
            let first_leaf = columns.len() as u32;
            let chain = ChainId(chain);
            sections.push(Section {
                chain,
                count,
                first_height,
                parent,
                chain_root,
                first_leaf,
                first_node: 0,
            });
            for _ in 0..count {
                // A side chain may say any time: some are no timestamp of other programs.
                let time = match self.random.below(50) {
                    0 => u64::MAX,
                    _ => 1_700_000_000_000 + self.random.below(1 << 40),
                };
                let (hash, tx_root) = (hash(&mut self.random), hash(&mut self.random));
                columns.push(hash, tx_root, Timestamp::from_millis(time));
            }
        }
        let random = &mut self.random;
        let header = MainHeader {
            version: 1,
            chain_id: MAIN,
            height: Height(self.height),
            time: Timestamp::from_millis(1_700_000_000_000 + self.height),
            parent: hash(random),
            side_root: hash(random),
            chain_count: sections.len() as u32,
            leaf_count: columns.len() as u64,
            ops_root: Hash::ZERO,
            state_root: hash(random),
            history_root: hash(random),
            aelf_root: Hash::ZERO,
        };
        MainBlock {
            header,
            hash: header.hash(),
            operations: Vec::new(),
            sections,
            columns,
            chain_nodes: Vec::new(),
            side_nodes: Vec::new(),
            history_nodes: (0..self.height.trailing_zeros()).map(|_| hash(random)).collect(),
        }
    }
}

/// Turns the bits of a byte over.
pub(crate) fn damage(file: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

fn head_of(reader: &LogReader, chain: u32) -> u64 {
    reader.chain_head(ChainId(chain)).unwrap().unwrap().0
}

fn hash(random: &mut Random) -> Hash {
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&random.below(u64::MAX).to_le_bytes());
    }
    Hash(bytes)
}
