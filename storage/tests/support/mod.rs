//! Blocks to store, and a medium that crashes.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use engine::chain::{BlockView, ChainId, Columns, Hash, Height, MainBlock, MainHeader, Section, Timestamp};
use engine::store::BlockReader;
use mainstem_storage::{self as storage, FileMedium, LogReader, Medium, MediumFile, Options, Prepare};

pub(crate) const MAIN: ChainId = ChainId(9_992_731);

/// The options of all tests: small segments, and calls in one order.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 1 << 20, prepare: Prepare::AtRoll, ..Options::new(Hash([7; 32]), MAIN) }
}

/// A directory in memory where the system has one: what only imitates a disk need not wait for it.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// splitmix64.
#[derive(Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
    fn hash(&mut self) -> Hash {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        Hash(bytes)
    }
}

/// Makes blocks that follow each other. Their roots are random: a log does not look at them.
#[derive(Clone)]
pub(crate) struct Maker {
    pub(crate) rng: Rng,
    pub(crate) height: u64,
    pub(crate) heads: BTreeMap<u32, u64>,
}

impl Maker {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng(seed), height: 0, heads: BTreeMap::new() }
    }

    /// The next block, with so many side blocks of each chain; a chain's first height is 100 + its id.
    pub(crate) fn block(&mut self, chains: &BTreeMap<u32, u32>) -> MainBlock {
        self.height += 1;
        let rng = &mut self.rng;
        let mut columns = Columns::default();
        let mut sections = Vec::new();
        let mut nodes = 0;
        for (&chain, &count) in chains {
            let head = self.heads.entry(chain).or_insert(99 + u64::from(chain));
            sections.push(Section {
                chain: ChainId(chain),
                count,
                first_height: Height(*head + 1),
                parent: rng.hash(),
                chain_root: rng.hash(),
                first_leaf: columns.len() as u32,
                first_node: nodes,
            });
            *head += u64::from(count);
            nodes += count / 16;
            for _ in 0..count {
                columns.push(rng.hash(), rng.hash(), Timestamp::from_millis(rng.next()));
            }
        }
        let header = MainHeader {
            version: 1,
            chain_id: MAIN,
            height: Height(self.height),
            time: Timestamp::from_millis(rng.next()),
            parent: rng.hash(),
            side_root: rng.hash(),
            chain_count: sections.len() as u32,
            leaf_count: columns.len() as u64,
            ops_root: rng.hash(),
            state_root: rng.hash(),
            history_root: rng.hash(),
            aelf_root: Hash::ZERO,
        };
        MainBlock {
            header,
            hash: header.hash(),
            sections,
            columns,
            chain_nodes: (0..nodes).map(|_| rng.hash()).collect(),
            side_nodes: (0..chains.len() / 16).map(|_| rng.hash()).collect(),
            history_nodes: (0..self.height.trailing_zeros()).map(|_| rng.hash()).collect(),
        }
    }

    /// A block of one to four chains with about `leaves` side blocks.
    pub(crate) fn random_block(&mut self, leaves: u32) -> MainBlock {
        let mut chains = BTreeMap::new();
        for _ in 0..=self.rng.below(3) {
            chains.insert(self.rng.below(8) as u32, 1 + self.rng.below(u64::from(leaves)) as u32);
        }
        self.block(&chains)
    }
}

/// Every block up to the head is that of `blocks`, by height, and every look-up gives what they say.
pub(crate) fn assert_holds(reader: &LogReader, blocks: &[MainBlock]) {
    assert_eq!(reader.head(), Height(blocks.len() as u64));
    let mut heads = BTreeMap::new();
    for block in blocks {
        let height = block.header.height;
        let found = reader.block(height).expect("readable").expect("there");
        assert_same(&found, block);
        for section in &block.sections {
            for side in [section.first_height, section.last_height()] {
                assert_eq!(reader.locate(section.chain, side).expect("readable"), Some(height));
            }
            heads.insert(section.chain, section.last_height());
        }
    }
    for (chain, head) in heads {
        assert_eq!(reader.chain_head(chain).expect("readable"), Some(head));
        assert_eq!(reader.locate(chain, head.next()).expect("readable"), None);
        assert_eq!(reader.locate(chain, Height(99 + u64::from(chain.0))).expect("readable"), None);
    }
    assert_eq!(reader.chain_head(ChainId(999)).expect("readable"), None);
    assert_eq!(reader.locate(ChainId(999), Height(1)).expect("readable"), None);
    assert!(reader.block(Height(0)).expect("readable").is_none());
    assert!(reader.block(reader.head().next()).expect("readable").is_none());
}

/// Both views show the same.
pub(crate) fn assert_same(found: &storage::LogBlock, block: &MainBlock) {
    assert_eq!(found.hash(), block.hash);
    assert_eq!(found.columns().hashes, block.columns().hashes);
    assert_eq!(found.columns().tx_roots, block.columns().tx_roots);
    assert_eq!(found.columns().times, block.columns().times);
    assert_eq!(&copy(found), block);
}

/// A copy in memory.
pub(crate) fn copy(block: &storage::LogBlock) -> MainBlock {
    let columns = block.columns();
    MainBlock {
        header: block.header(),
        hash: block.hash(),
        sections: (0..block.section_count()).map(|index| block.section(index)).collect(),
        columns: Columns {
            hashes: columns.hashes.to_vec(),
            tx_roots: columns.tx_roots.to_vec(),
            times: columns.times.to_vec(),
        },
        chain_nodes: block.chain_nodes().to_vec(),
        side_nodes: block.side_nodes().to_vec(),
        history_nodes: block.history_nodes().to_vec(),
    }
}

/// A medium that does what it is told in a real directory, without real syncs, and remembers it, so that
/// [`Sim::crash`] can make the directory that a power loss would have left.
#[derive(Clone)]
pub(crate) struct Sim {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What was in the directory before: all durable.
    base: BTreeMap<PathBuf, Vec<u8>>,
    history: Vec<Event>,
    files: usize,
    /// The call to fail, counted from now, and how.
    fail: Option<(usize, Fault)>,
}

#[derive(Clone, Debug)]
enum Event {
    Create {
        path: PathBuf,
        file: usize,
    },
    Open {
        path: PathBuf,
        file: usize,
    },
    Allocate {
        file: usize,
        bytes: u64,
    },
    Write {
        file: usize,
        bytes: Vec<u8>,
        offset: u64,
    },
    Sync {
        file: usize,
    },
    /// A sync that failed: what was written since the last one is on disk or not, and no later sync of these
    /// writes will change that.
    SyncFailed {
        file: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SyncDir,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An input/output error; of a write, after half of it.
    Io,
    /// No space.
    Full,
}

/// What a crash does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// All of it is lost.
    Lost,
    /// All of it is kept.
    Kept,
    /// The names are kept, and of the contents the newest write only.
    Newest,
    /// Each sector of 512 bytes, each file length, and a prefix of the names, as a generator says.
    Random(u64),
}

impl Sim {
    /// A medium over `dir`, whose present contents are durable.
    pub(crate) fn new(dir: &Path) -> Self {
        let mut state = State::default();
        if let Ok(entries) = std::fs::read_dir(dir) {
            for entry in entries {
                let path = entry.expect("readable").path();
                let bytes = std::fs::read(&path).expect("readable");
                state.base.insert(path, bytes);
            }
        }
        Self { dir: dir.to_owned(), state: Arc::new(Mutex::new(state)) }
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.state.lock().unwrap().history.len()
    }

    /// Makes a later call fail: 0 is the next one.
    pub(crate) fn fail(&self, after: usize, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        let at = state.history.len() + after;
        state.fail = Some((at, fault));
    }

    /// Fills `into` with what a power loss after `calls` calls could leave.
    pub(crate) fn crash(&self, calls: usize, crash: Crash, into: &Path) {
        let state = self.state.lock().unwrap();
        let mut rng = Rng(match crash {
            Crash::Random(seed) => seed,
            _ => 0,
        });
        let mut files: Vec<Image> = Vec::new();
        let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for (path, bytes) in &state.base {
            names.insert(path.clone(), files.len() + 1_000_000);
            files.push(Image { durable: bytes.clone(), pending: Vec::new() });
        }
        let base = files.len();
        files.resize_with(base + state.files, Image::default);
        for index in names.values_mut() {
            *index -= 1_000_000;
        }
        let mut durable_names = names.clone();
        let mut name_changes: Vec<BTreeMap<PathBuf, usize>> = Vec::new();
        // Files that were opened again are the ones that had the name.
        let mut alias: BTreeMap<usize, usize> = BTreeMap::new();
        for event in &state.history[..calls] {
            match event {
                Event::Create { path, file } => {
                    alias.insert(*file, base + file);
                    names.insert(path.clone(), base + file);
                    name_changes.push(names.clone());
                }
                Event::Open { path, file } => {
                    alias.insert(*file, names[path]);
                }
                Event::Allocate { file, bytes } => {
                    files[alias[file]].pending.push(Pending::Length(*bytes as usize));
                }
                Event::Write { file, bytes, offset } => {
                    files[alias[file]].pending.push(Pending::Write(*offset as usize, bytes.clone()));
                }
                Event::Sync { file } => files[alias[file]].settle(|_| true),
                Event::SyncFailed { file } => files[alias[file]].settle(|_| match crash {
                    Crash::Lost | Crash::Newest => false,
                    Crash::Kept => true,
                    Crash::Random(_) => rng.below(2) == 0,
                }),
                Event::Rename { from, to } => {
                    let file = names.remove(from).expect("renamed what is there");
                    names.insert(to.clone(), file);
                    name_changes.push(names.clone());
                }
                Event::Remove { path } => {
                    names.remove(path);
                    name_changes.push(names.clone());
                }
                Event::SyncDir => {
                    durable_names = names.clone();
                    name_changes.clear();
                }
            }
        }
        let kept = match crash {
            Crash::Lost => 0,
            Crash::Kept | Crash::Newest => name_changes.len(),
            Crash::Random(_) => rng.below(name_changes.len() as u64 + 1) as usize,
        };
        let names = if kept == 0 { durable_names } else { name_changes[kept - 1].clone() };
        for file in &mut files {
            let newest = file.pending.len().saturating_sub(1);
            let mut at = 0;
            file.settle_sectors(|sector| {
                at = sector.0;
                match crash {
                    Crash::Lost => false,
                    Crash::Kept => true,
                    Crash::Newest => at == newest,
                    Crash::Random(_) => rng.below(2) == 0,
                }
            });
        }
        for (path, file) in names {
            let name = path.file_name().expect("a file");
            write_sparse(&into.join(name), &files[file].durable);
        }
    }

    fn call(&self) -> Result<(), Fault> {
        let mut state = self.state.lock().unwrap();
        match state.fail {
            Some((at, fault)) if at == state.history.len() => {
                state.fail = None;
                Err(fault)
            }
            _ => Ok(()),
        }
    }

    fn note(&self, event: Event) {
        self.state.lock().unwrap().history.push(event);
    }

    fn new_file(&self, path: &Path, real: Box<dyn MediumFile>, create: bool) -> Box<dyn MediumFile> {
        let mut state = self.state.lock().unwrap();
        let file = state.files;
        state.files += 1;
        let path = path.to_owned();
        state.history.push(if create { Event::Create { path, file } } else { Event::Open { path, file } });
        drop(state);
        Box::new(SimFile { sim: self.clone(), file, real })
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Io => io::Error::other("a fault"),
        Fault::Full => io::Error::from(io::ErrorKind::StorageFull),
    }
}

impl Medium for Sim {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        self.call().map_err(error)?;
        Ok(self.new_file(path, FileMedium.create(path)?, true))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        self.call().map_err(error)?;
        Ok(self.new_file(path, FileMedium.open(path)?, false))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call().map_err(error)?;
        FileMedium.rename(from, to)?;
        self.note(Event::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call().map_err(error)?;
        FileMedium.remove(path)?;
        self.note(Event::Remove { path: path.to_owned() });
        Ok(())
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call().map_err(error)?;
        if dir == self.dir {
            self.note(Event::SyncDir);
        }
        Ok(())
    }
}

struct SimFile {
    sim: Sim,
    file: usize,
    real: Box<dyn MediumFile>,
}

impl MediumFile for SimFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.sim.call().map_err(error)?;
        self.real.allocate(bytes)?;
        self.sim.note(Event::Allocate { file: self.file, bytes });
        Ok(())
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let result = self.sim.call();
        let written = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.real.write_at(written, offset)?;
        self.sim.note(Event::Write { file: self.file, bytes: written.to_vec(), offset });
        result.map_err(error)
    }
    fn sync(&self) -> io::Result<()> {
        let result = self.sim.call();
        self.sim.note(match result {
            Ok(()) => Event::Sync { file: self.file },
            Err(_) => Event::SyncFailed { file: self.file },
        });
        result.map_err(error)
    }
}

/// A file in the model of a disk.
#[derive(Default, Clone)]
struct Image {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Image {
    fn settle(&mut self, mut keep: impl FnMut(usize) -> bool) {
        self.settle_sectors(|(write, _)| keep(write));
    }

    /// Applies of the pending changes those sectors that `keep` says, by number of the change and of the sector.
    fn settle_sectors(&mut self, mut keep: impl FnMut((usize, usize)) -> bool) {
        for (number, pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            match pending {
                Pending::Length(bytes) => {
                    if keep((number, 0)) {
                        self.durable.resize(bytes.max(self.durable.len()), 0);
                    }
                }
                Pending::Write(offset, bytes) => {
                    let mut done = 0;
                    while done < bytes.len() {
                        let start = offset + done;
                        let end = ((start / 512 + 1) * 512).min(offset + bytes.len());
                        if keep((number, start / 512)) {
                            self.durable.resize(end.max(self.durable.len()), 0);
                            self.durable[start..end].copy_from_slice(&bytes[done..end - offset]);
                        }
                        done = end - offset;
                    }
                }
            }
        }
    }
}

/// Writes a file of mostly zeros.
fn write_sparse(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).expect("created");
    file.set_len(bytes.len() as u64).expect("sized");
    for (index, page) in bytes.chunks(16384).enumerate() {
        if page != &[0; 16384][..page.len()] {
            file.write_all_at(page, index as u64 * 16384).expect("written");
        }
    }
}
