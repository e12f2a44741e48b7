//! [`Log`]: opens a directory as a log.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use engine::chain::{ChainId, Hash};
use engine::store::Operations;

use crate::error::Error;
use crate::files::{Context, Lock, Spares};
use crate::format::{Key, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use crate::medium::{FileMedium, Medium};
use crate::reader::LogReader;
use crate::recover::{self, Recovery};
use crate::segments;
use crate::writer::LogWriter;

/// What a log must be, and how to write it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Hash of the genesis document. A log of another one is refused.
    pub genesis_hash: Hash,
    /// The main chain. A log of another one is refused.
    pub main_chain: ChainId,
    /// Size of a segment file of a new log, in bytes: a multiple of 4096 from [`MIN_SEGMENT_BYTES`] to
    /// [`MAX_SEGMENT_BYTES`]; 256 MiB by default. A block must fit one, and a segment in the making takes one more.
    /// A log keeps the size that it was made with.
    pub segment_bytes: u64,
    /// When the next segment is made.
    pub prepare: Prepare,
    /// Whether durable blocks of a new log may be taken back, down to the one that is said to be irreversible
    /// ([`LogWriter::rollback`]). Not so by default: a durable block is final. A log stays what it was made as.
    pub reversible: bool,
    /// How many of the newest blocks are kept, at least; older segments are removed when a new one is begun. All
    /// by default.
    pub keep_blocks: Option<NonZeroU64>,
    /// How much disk all segments may take, spare ones included, by default any: as `keep_blocks`, when a segment is full,
    /// and whichever of the two asks for more removes more. At least one sealed segment stays, and two after it.
    pub keep_bytes: Option<NonZeroU64>,
    /// How many files of removed segments are kept to be written again, which is several times faster than new
    /// ones. 2 by default.
    pub spare_segments: usize,
    /// How many bytes of the newest sealed segments stay in the kernel's page cache while the log grows; 1 GiB by
    /// default. The blocks of older ones are read from the disk when they are asked for.
    pub cached_bytes: u64,
}

/// When the next segment file is made and its space reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prepare {
    /// By a thread, as soon as the one before is begun: no append waits for it.
    #[default]
    Ahead,
    /// By the append that needs it: all calls to the medium come in one order, as tests want them.
    AtRoll,
}

impl Options {
    /// The defaults for a main chain.
    pub fn new(genesis_hash: Hash, main_chain: ChainId) -> Self {
        Self {
            genesis_hash,
            main_chain,
            segment_bytes: 256 << 20,
            prepare: Prepare::default(),
            reversible: false,
            keep_blocks: None,
            keep_bytes: None,
            spare_segments: 2,
            cached_bytes: 1 << 30,
        }
    }
}

/// The operations of the log in `dir`, whether or not it is being written; those of a block that is not durable yet may be
/// among them. Reads two small files; no log has none.
pub fn operations(dir: impl AsRef<Path>) -> Result<Operations, Error> {
    match Context::read(dir.as_ref()) {
        Err(Error::NoLog { .. }) => Ok(Operations::default()),
        context => context?.read_operations(),
    }
}

/// An append-only log of main blocks in a directory of its own.
#[derive(Debug)]
pub struct Log;

impl Log {
    /// Opens the log in `dir` for writing, making it where there is none, and recovers what a crash left.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<(LogWriter, LogReader, Recovery), Error> {
        Self::open_on(Arc::new(FileMedium), dir, options)
    }

    /// The same, writing by way of `medium`. Its files must be found in `dir` by [`std::fs`] too.
    pub fn open_on(
        medium: Arc<dyn Medium>,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<(LogWriter, LogReader, Recovery), Error> {
        let dir = dir.as_ref();
        let Options { genesis_hash, main_chain, segment_bytes, reversible, .. } = options;
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&segment_bytes)
            || !segment_bytes.is_multiple_of(4096)
        {
            return Err(Error::SegmentBytes { bytes: segment_bytes });
        }
        let lock = Lock::take(dir, &*medium)?;
        let spares = Spares::up_to(options.spare_segments);
        let (mut context, created) = match Context::read(dir) {
            Err(Error::NoLog { .. }) => {
                let (dir, key, spares) = (dir.to_owned(), random_key()?, Spares::default());
                let share = None;
                let fresh =
                    Context { dir, genesis_hash, main_chain, segment_bytes, reversible, key, share, spares };
                fresh.sweep(&*medium)?;
                (fresh.create(&*medium)?, true)
            }
            found => (found?, false),
        };
        context.expect(genesis_hash, main_chain)?;
        segments::refuse_newer(&context)?;
        context.sweep(&*medium)?;
        context.spares = spares;
        context.find_spares(&*medium)?;
        let context = Arc::new(context);
        let recovered = recover::recover(&context, &*medium)?;
        let recovery = Recovery { created, ..recovered.recovery.clone() };
        if let Some(cut) = &recovery.cut {
            tracing::warn!(
                file = %cut.file.display(), offset = cut.offset, record = cut.record, bytes = cut.bytes,
                "cut a torn write at the end of the log: {}", cut.flaw,
            );
        }
        let writer = LogWriter::new(recovered, context, medium, &options, lock)?;
        let reader = writer.reader();
        Ok((writer, reader, recovery))
    }
}

fn random_key() -> Result<Key, Error> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| Error::io("read", Path::new("the system's random source"))(error.into()))?;
    Ok(Key(key))
}
