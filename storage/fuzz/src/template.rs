//! [`Template`]: the log that inputs change, and [`Scratch`], the directory where it is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use engine::chain::{ChainId, Hash, MainBlock};
use storage::{Log, MIN_SEGMENT_BYTES, Options, Prepare};

use crate::edit::{Files, word};
use crate::maker::Maker;
use crate::mend::{FIRST_RECORD, Key, Mend, TRAILER, record_bytes, sum_record};

pub(crate) const MAIN: ChainId = ChainId(9_992_731);
/// A side chain that the template has no block of.
pub(crate) const NEW_CHAIN: ChainId = ChainId(77);
/// The key of every log here: inputs mean the same in every run.
const KEY: [u8; 32] = [0x5a; 32];
const ACTIVE: &str = "0000000001.seg";

pub(crate) fn options() -> Options {
    Options {
        segment_bytes: MIN_SEGMENT_BYTES,
        prepare: Prepare::AtRoll,
        ..Options::new(Hash([7; 32]), MAIN)
    }
}

/// A log of two sealed segments and an active one, written in two sessions; an older one was pruned,
/// and its file is kept to be used again.
pub(crate) struct Template {
    pub(crate) files: Files,
    pub(crate) blocks: Vec<MainBlock>,
    /// The first blocks alone, in one segment that is not sealed.
    first: Files,
    /// How many blocks those are.
    pub(crate) short: usize,
    /// The body of the last one of those.
    pub(crate) body: Vec<u8>,
}

impl Template {
    pub(crate) fn make() -> Self {
        let mut maker = Maker::new();
        let mut blocks: Vec<MainBlock> = [&[(0, 1), (1, 40)][..], &[(1, 3)], &[(0, 70), (3, 2), (4, 1)]]
            .into_iter()
            .map(|chains| maker.block(chains))
            .collect();
        let scratch = Scratch::new();
        append(&scratch, &blocks);
        let first = scratch.files();
        let short = blocks.len();
        let bytes = &first[ACTIVE];
        let (mut at, mut next) = (FIRST_RECORD, FIRST_RECORD);
        while let Some(record) = record_bytes(bytes, next) {
            at = next;
            next += record;
        }
        let body = bytes[at + 64..at + 64 + word(bytes, at + 16) as usize].to_vec();

        // A third of a segment each.
        let third = (MIN_SEGMENT_BYTES / 3 / 80) as u32;
        let more: Vec<MainBlock> =
            (0..7).map(|number| maker.block(&[(number % 3, third), (5 + number, 2), (20, 1)])).collect();
        append(&scratch, &more);
        let (mut log, reader, _) = Log::open(scratch.path(), options()).expect("the log");
        log.prune(reader.segments()[1].first).expect("pruned");
        drop((log, reader));
        let mut files = scratch.files();
        Mend::all().apply(&mut files);
        scratch.fill(&files);
        let files = scratch.files();
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        let segments = ["0000000001.spare", "0000000002.seg", "0000000003.seg", "0000000004.seg"];
        assert_eq!(names, [&segments[..], &["BASE", "LOCK", "LOG", "MARK"]].concat());
        blocks.extend(more);
        Self { files, blocks, first, short, body }
    }

    /// The short log with another body of its last block; sealed behind it, if asked for. `None`: no room.
    pub(crate) fn with_last_body(&self, body: &[u8], sealed: bool) -> Option<Files> {
        let mut files = self.first.clone();
        let key = Key(KEY);
        let file = files.get_mut(ACTIVE)?;
        let mut offsets = Vec::new();
        let mut at = FIRST_RECORD;
        while let Some(bytes) = record_bytes(file, at) {
            offsets.push(at as u32);
            at += bytes;
        }
        let last = *offsets.last()? as usize;
        let end = last + 64 + body.len().next_multiple_of(64);
        let (chains, runs, mut tables) = index_of(&self.blocks[..self.short]);
        tables.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
        let index = file.len() - TRAILER - tables.len().next_multiple_of(64);
        if end > index {
            return None;
        }
        file[last + 64..at].fill(0);
        file[last + 16..last + 20].copy_from_slice(&(body.len() as u32).to_le_bytes());
        file[last + 64..last + 64 + body.len()].copy_from_slice(body);
        sum_record(&key, 1, last, &mut file[last..end]);
        if sealed {
            file[index..index + tables.len()].copy_from_slice(&tables);
            let trailer = file.len() - TRAILER;
            let known = [(16, 1), (24, 1), (32, 1), (40, 1)];
            let counts = [(56, offsets.len()), (60, chains), (64, runs), (68, end), (72, index)];
            file[trailer + 8..trailer + 16].copy_from_slice(b"MAINSEAL");
            for (at, value) in known.into_iter().chain(counts) {
                file[trailer + at..trailer + at + 4].copy_from_slice(&(value as u32).to_le_bytes());
            }
            let next = vec![0; file.len()];
            let header = file[..FIRST_RECORD].to_vec();
            let next = files.entry("0000000002.seg".into()).or_insert(next);
            next[..FIRST_RECORD].copy_from_slice(&header);
            next[24] = 2;
            Mend::all().apply(&mut files);
        }
        Some(files)
    }
}

/// The tables of chains and runs of a first segment with these blocks, and how many entries they have.
fn index_of(blocks: &[MainBlock]) -> (usize, usize, Vec<u8>) {
    let mut runs = BTreeMap::<u32, Vec<(u64, u32, u32)>>::new();
    for (record, block) in blocks.iter().enumerate() {
        for section in &block.sections {
            let run = (section.first_height.0, section.count, record as u32);
            runs.entry(section.chain.0).or_default().push(run);
        }
    }
    let (mut chains, mut bytes, mut count) = (Vec::new(), Vec::new(), 0);
    for (chain, runs) in &runs {
        count += runs.len();
        let head = runs.last().map_or(0, |run| run.0 + u64::from(run.1) - 1);
        chains.extend([chain.to_le_bytes(), (count as u32).to_le_bytes()].concat());
        chains.extend(head.to_le_bytes());
        for (first, count, record) in runs {
            bytes.extend(first.to_le_bytes());
            bytes.extend([count.to_le_bytes(), record.to_le_bytes()].concat());
        }
    }
    (runs.len(), count, [chains, bytes].concat())
}

/// Writes blocks in a session of its own.
fn append(scratch: &Scratch, blocks: &[MainBlock]) {
    let (mut log, _, _) = Log::open(scratch.path(), options()).expect("a log");
    for block in blocks {
        log.append(block).expect("appended");
        log.sync().expect("synced");
    }
    drop(log);
    let mut files = scratch.files();
    files.get_mut("LOG").expect("every log has one")[64..96].copy_from_slice(&KEY);
    Mend::all().apply(&mut files);
    scratch.fill(&files);
}

/// A directory in memory.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("mainstem-fuzz").tempdir_in("/dev/shm");
        Self(dir.or_else(|_| tempfile::tempdir()).expect("a directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn entries(&self) -> impl Iterator<Item = PathBuf> {
        std::fs::read_dir(self.path()).expect("a directory").map(|entry| entry.expect("readable").path())
    }

    fn files(&self) -> Files {
        let named = |path: PathBuf| {
            let name = path.file_name().expect("a file").to_str().expect("our names").to_owned();
            (name, std::fs::read(path).expect("readable"))
        };
        self.entries().map(named).collect()
    }

    /// Makes the directory hold these files and no others. Pages of zeros are left as holes.
    pub(crate) fn fill(&self, files: &Files) {
        let kept: BTreeSet<PathBuf> = files.keys().map(|name| self.path().join(name)).collect();
        for path in self.entries().filter(|path| !kept.contains(path)) {
            std::fs::remove_file(path).expect("removed");
        }
        for (path, bytes) in kept.iter().zip(files.values()) {
            let file = File::create(path).expect("created");
            file.set_len(bytes.len() as u64).expect("sized");
            for (number, page) in bytes.chunks(4096).enumerate() {
                if page.iter().any(|byte| *byte != 0) {
                    file.write_all_at(page, number as u64 * 4096).expect("written");
                }
            }
        }
    }
}
