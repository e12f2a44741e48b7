//! The store: one file of redb in a directory of its own.
//!
//! # Format
//! ```text
//! meta      name                  -> version u16; main_chain u32 and genesis_hash[32]
//! headers   main height u64       -> header[226]
//! indexed   (chain u32, first_height u64) -> main height u64, count u32, chain_root[32], index u32, path: n x hash[32]
//! gaps      first height u64      -> last height u64: main blocks that were pruned before they could be followed
//! evidence  number u64            -> JSON, the newest 16
//! ```
//! Integers in values are little-endian; the bytes of a header are those of `docs/protocol.md`.
//!
//! # Invariants
//! - A header and all that its block has of this node's chains are written in one transaction.
//! - Between the first and the last header every height is there or in a gap.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::ChainProof;
use net::client::{Contradiction, FollowedBlock};
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("headers");
const INDEXED: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("indexed");
const GAPS: TableDefinition<'_, u64, u64> = TableDefinition::new("gaps");
const EVIDENCE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("evidence");

const FILE: &str = "main.redb";
const VERSION: u16 = 1;
/// Memory for pages that were read.
const CACHE_BYTES: usize = 16 << 20;
/// A main chain that contradicts itself again and again says nothing new.
const MAX_EVIDENCE: u64 = 16;
/// Bytes of a chain's part without its path.
const INDEXED_BYTES: usize = 8 + 4 + 32 + 4;

/// What is kept, in a directory. One program at a time.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Database,
    /// How many main blocks are kept at least; all of them without.
    keep_blocks: Option<NonZeroU64>,
    newest: Mutex<Option<MainHeader>>,
}

/// Why there is no store, or why it does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The directory or the file cannot be had.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another program has it.
    #[error("{}: another program uses it; give each tributary a directory of its own with --keep", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A newer program wrote it, or something else did.
    #[error("{}: its version is {got}; expected {VERSION}: run the version of tributary that wrote it, or give --keep another directory", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// What it says.
        got: String,
    },
    /// What is kept is of another main chain.
    #[error("{}: it keeps main chain {} with genesis {}, but this is main chain {} with genesis {}; correct --main and --main-key, or give --keep another directory", path.display(), kept.0, kept.1, met.0, met.1)]
    OtherMainChain {
        /// Which file.
        path: PathBuf,
        /// What is kept.
        kept: (ChainId, Hash),
        /// What was met.
        met: (ChainId, Hash),
    },
    /// The store cannot be read or written.
    #[error("{}: {error}", path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What redb says.
        error: Box<redb::Error>,
    },
    /// What is kept is not what was written.
    #[error("{}: {what}; the file is damaged: move it away, and what the main chain still has is fetched again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where and how.
        what: String,
    },
}

/// What a main block has of a chain, and which block it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// Height of the main block.
    pub main_height: Height,
    /// The chain's part.
    pub proof: ChainProof,
}

/// Main blocks that were pruned before they could be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The first of them.
    pub first: Height,
    /// The last of them.
    pub last: Height,
}

/// A main chain's word against its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which field.
    pub field: String,
    /// What it says and what would be right.
    pub detail: String,
    /// The header that it is about.
    pub header: MainHeader,
    /// Its hash.
    pub hash: Hash,
    /// The header that was kept before it.
    #[serde(default)]
    pub before: Option<MainHeader>,
    /// The chain's part that is wrong, if it is one.
    #[serde(default)]
    pub proof: Option<ChainProof>,
}

/// What is kept, in figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Main chain and hash of its genesis document, once met.
    pub main: Option<(ChainId, Hash)>,
    /// Heights of the oldest and the newest header.
    pub range: Option<(Height, Height)>,
    /// How many headers.
    pub headers: u64,
    /// The newest stretches that are missing in between, at most 100.
    pub gaps: Vec<Gap>,
    /// What the main chain said against itself, newest last.
    pub evidence: Vec<Evidence>,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be had, another program has it, or it is none of ours.
    pub fn open(dir: &Path) -> Result<Self, KeepError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| KeepError::Io { path, error }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let path = dir.join(FILE);
        let is_new = !path.exists();
        let database =
            Builder::new().set_cache_size(CACHE_BYTES).create(&path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => KeepError::InUse { path: path.clone() },
                DatabaseError::UpgradeRequired(got) => {
                    KeepError::Version { path: path.clone(), got: format!("format {got} of redb") }
                }
                error => database(&path, error),
            })?;
        let store = Self { path, database, keep_blocks: None, newest: Mutex::new(None) };
        store.prepare()?;
        if is_new {
            // The file's name is in the directory's data.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))?;
        }
        let newest = store.last_header()?;
        *store.newest() = newest;
        Ok(store)
    }

    /// Keeps this many of the newest main blocks, and drops older ones now and then: when there are a sixteenth and 64
    /// more.
    #[must_use]
    pub fn keep_blocks(self, keep_blocks: Option<NonZeroU64>) -> Self {
        Self { keep_blocks, ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest header that is kept.
    pub fn newest_header(&self) -> Option<MainHeader> {
        *self.newest()
    }

    /// Notes which main chain it is, or compares.
    ///
    /// # Errors
    /// Another one is kept, or the store fails.
    pub fn meet(&self, main_chain: ChainId, genesis_hash: Hash) -> Result<(), KeepError> {
        let met = (main_chain, genesis_hash);
        match self.main()? {
            Some(kept) if kept == met => Ok(()),
            Some(kept) => Err(KeepError::OtherMainChain { path: self.path.clone(), kept, met }),
            None => self.write(|transaction| {
                let mut value = main_chain.to_le_bytes().to_vec();
                value.extend(genesis_hash.as_bytes());
                transaction.open_table(META)?.insert("main", &value[..])?;
                Ok(())
            }),
        }
    }

    /// Writes blocks, all or none; they are durable when this returns. The first one follows what is kept, or leaves a
    /// gap.
    ///
    /// # Errors
    /// The store fails.
    pub fn append(&self, blocks: &[FollowedBlock]) -> Result<(), KeepError> {
        let Some(last) = blocks.last() else { return Ok(()) };
        let mut before = self.newest_header().map(|header| header.height);
        self.write(|transaction| {
            let (mut headers, mut indexed) =
                (transaction.open_table(HEADERS)?, transaction.open_table(INDEXED)?);
            let mut gaps = transaction.open_table(GAPS)?;
            let mut value = Vec::new();
            for FollowedBlock { header, chains } in blocks {
                let height = header.height;
                if let Some(before) = before.filter(|before| before.next() < height) {
                    gaps.insert(before.next().0, height.previous().0)?;
                }
                before = Some(height);
                headers.insert(height.0, &header.encode()[..])?;
                for proof in chains {
                    encode(height, proof, &mut value);
                    indexed.insert((proof.chain_id.0, proof.first_height.0), &value[..])?;
                }
            }
            if let Some(keep) = self.keep_blocks.map(NonZeroU64::get)
                && headers.len()? > keep.saturating_add(keep / 16 + 64)
            {
                let before = last.header.height.0.saturating_sub(keep - 1);
                headers.retain_in(..before, |_, _| false)?;
                gaps.retain(|_, last| last >= before)?;
                drop_indexed(&mut indexed, before)?;
            }
            Ok(())
        })?;
        *self.newest() = Some(last.header);
        Ok(())
    }

    /// Keeps a contradiction. Of too many, the oldest go.
    ///
    /// # Errors
    /// The store fails.
    pub fn note(&self, contradiction: &Contradiction) -> Result<(), KeepError> {
        let Contradiction { field, detail, header, before, proof } = contradiction;
        let (field, detail) = ((*field).to_owned(), detail.clone());
        let evidence = Evidence {
            field,
            detail,
            header: *header,
            hash: header.hash(),
            before: *before,
            proof: proof.clone(),
        };
        let json = serde_json::to_vec(&evidence).expect("numbers, hashes and texts are JSON");
        self.write(|transaction| {
            let mut table = transaction.open_table(EVIDENCE)?;
            let last = table.last()?.map(|(number, value)| (number.value(), value.value() == json));
            let number = match last {
                // The same again: it was asked again.
                Some((_, true)) => return Ok(()),
                Some((number, false)) => number + 1,
                None => 0,
            };
            table.insert(number, &json[..])?;
            if let Some(old) = number.checked_sub(MAX_EVIDENCE) {
                table.remove(old)?;
            }
            Ok(())
        })
    }

    /// The header of a main block.
    ///
    /// # Errors
    /// The store fails.
    pub fn header(&self, height: Height) -> Result<Option<MainHeader>, KeepError> {
        let transaction = self.read()?;
        let table = transaction.open_table(HEADERS).map_err(|error| self.failed(error))?;
        let value = table.get(height.0).map_err(|error| self.failed(error))?;
        value.map(|value| self.decode_header(height.0, value.value())).transpose()
    }

    /// At most `limit` headers from a height on, ascending.
    ///
    /// # Errors
    /// The store fails.
    pub fn headers(&self, from: Height, limit: usize) -> Result<Vec<MainHeader>, KeepError> {
        let transaction = self.read()?;
        let table = transaction.open_table(HEADERS).map_err(|error| self.failed(error))?;
        let range = table.range(from.0..).map_err(|error| self.failed(error))?;
        range
            .take(limit)
            .map(|item| {
                let (height, value) = item.map_err(|error| self.failed(error))?;
                self.decode_header(height.value(), value.value())
            })
            .collect()
    }

    /// Which main block has a height of a chain.
    ///
    /// # Errors
    /// The store fails.
    pub fn find(&self, chain: ChainId, height: Height) -> Result<Option<Indexed>, KeepError> {
        let found = self.last_indexed(chain, height)?;
        Ok(found.filter(|indexed| indexed.proof.last_height() >= height))
    }

    /// The newest part of a chain that is kept.
    ///
    /// # Errors
    /// The store fails.
    pub fn newest_indexed(&self, chain: ChainId) -> Result<Option<Indexed>, KeepError> {
        self.last_indexed(chain, Height(u64::MAX))
    }

    /// At most `limit` parts of a chain, ascending, from the one that has height `from`, or the next one.
    ///
    /// # Errors
    /// The store fails.
    pub fn indexed(&self, chain: ChainId, from: Height, limit: usize) -> Result<Vec<Indexed>, KeepError> {
        // What has `from` may begin before it.
        let first = self.find(chain, from)?.map_or(from, |indexed| indexed.proof.first_height);
        let transaction = self.read()?;
        let table = transaction.open_table(INDEXED).map_err(|error| self.failed(error))?;
        let range = (chain.0, first.0)..=(chain.0, u64::MAX);
        let range = table.range(range).map_err(|error| self.failed(error))?;
        range
            .take(limit)
            .map(|item| {
                let (key, value) = item.map_err(|error| self.failed(error))?;
                self.decode_indexed(key.value(), value.value())
            })
            .collect()
    }

    /// What is kept, in figures.
    ///
    /// # Errors
    /// The store fails.
    pub fn contents(&self) -> Result<Contents, KeepError> {
        let main = self.main()?;
        let contents = || -> Result<Contents, redb::Error> {
            let transaction = self.database.begin_read()?;
            let headers = transaction.open_table(HEADERS)?;
            let end = |item: Option<(redb::AccessGuard<'_, u64>, _)>| {
                item.map(|(height, _)| Height(height.value()))
            };
            let range = end(headers.first()?).zip(end(headers.last()?));
            let mut gaps = Vec::new();
            for item in transaction.open_table(GAPS)?.iter()?.rev().take(MAX_GAPS_SHOWN) {
                let (first, last) = item?;
                gaps.push(Gap { first: Height(first.value()), last: Height(last.value()) });
            }
            gaps.reverse();
            let mut evidence = Vec::new();
            for item in transaction.open_table(EVIDENCE)?.iter()? {
                // One that cannot be read is no reason to show none of the others.
                evidence.extend(serde_json::from_slice(item?.1.value()).ok());
            }
            Ok(Contents { main, range, headers: headers.len()?, gaps, evidence })
        };
        contents().map_err(|error| self.failed(error))
    }

    fn newest(&self) -> MutexGuard<'_, Option<MainHeader>> {
        // Written in one step.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the tables of a new file, and checks the version of an older one.
    fn prepare(&self) -> Result<(), KeepError> {
        let mut found = None;
        self.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            found = meta.get("version")?.map(|value| value.value().to_vec());
            if found.is_none() {
                meta.insert("version", &VERSION.to_le_bytes()[..])?;
            }
            transaction.open_table(HEADERS)?;
            transaction.open_table(INDEXED)?;
            transaction.open_table(GAPS)?;
            transaction.open_table(EVIDENCE)?;
            Ok(())
        })?;
        match found.as_deref() {
            None => Ok(()),
            Some(version) if version == VERSION.to_le_bytes() => Ok(()),
            Some(&[low, high]) => {
                let got = u16::from_le_bytes([low, high]).to_string();
                Err(KeepError::Version { path: self.path.clone(), got })
            }
            Some(other) => Err(self.damaged(format!("its version has {} bytes", other.len()))),
        }
    }

    fn main(&self) -> Result<Option<(ChainId, Hash)>, KeepError> {
        let transaction = self.read()?;
        let table = transaction.open_table(META).map_err(|error| self.failed(error))?;
        let Some(value) = table.get("main").map_err(|error| self.failed(error))? else { return Ok(None) };
        let mut input = Input(value.value());
        match (input.take(), input.take()) {
            (Some(chain), Some(hash)) if input.0.is_empty() => {
                Ok(Some((ChainId(u32::from_le_bytes(chain)), Hash(hash))))
            }
            _ => Err(self.damaged("which main chain it is, is not 36 bytes".to_owned())),
        }
    }

    fn last_header(&self) -> Result<Option<MainHeader>, KeepError> {
        let transaction = self.read()?;
        let table = transaction.open_table(HEADERS).map_err(|error| self.failed(error))?;
        let last = table.last().map_err(|error| self.failed(error))?;
        last.map(|(height, value)| self.decode_header(height.value(), value.value())).transpose()
    }

    /// The last part of a chain that begins at `height` or before it.
    fn last_indexed(&self, chain: ChainId, height: Height) -> Result<Option<Indexed>, KeepError> {
        let transaction = self.read()?;
        let table = transaction.open_table(INDEXED).map_err(|error| self.failed(error))?;
        let range = (chain.0, 0)..=(chain.0, height.0);
        let last = table.range(range).map_err(|error| self.failed(error))?.next_back();
        let Some(last) = last else { return Ok(None) };
        let (key, value) = last.map_err(|error| self.failed(error))?;
        self.decode_indexed(key.value(), value.value()).map(Some)
    }

    fn read(&self) -> Result<ReadTransaction, KeepError> {
        self.database.begin_read().map_err(|error| self.failed(error))
    }

    /// One transaction, durable when this returns: redb syncs before it answers, by default.
    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), KeepError> {
        let whole = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            change(&transaction)?;
            Ok(transaction.commit()?)
        };
        whole().map_err(|error| self.failed(error))
    }

    fn decode_header(&self, height: u64, value: &[u8]) -> Result<MainHeader, KeepError> {
        let header = value.try_into().ok().map(MainHeader::decode);
        header
            .filter(|header| header.height.0 == height)
            .ok_or_else(|| self.damaged(format!("main block {height}: what is kept is not its header")))
    }

    fn decode_indexed(&self, (chain, first): (u32, u64), value: &[u8]) -> Result<Indexed, KeepError> {
        decode(chain, first, value).ok_or_else(|| {
            self.damaged(format!(
                "chain {}, from height {first}: what is kept is no part of it",
                ChainId(chain)
            ))
        })
    }

    fn failed(&self, error: impl Into<redb::Error>) -> KeepError {
        database(&self.path, error)
    }

    fn damaged(&self, what: String) -> KeepError {
        KeepError::Damaged { path: self.path.clone(), what }
    }
}

fn database(path: &Path, error: impl Into<redb::Error>) -> KeepError {
    KeepError::Database { path: path.to_owned(), error: Box::new(error.into()) }
}

/// Drops the parts of main blocks below `before`. Those of a chain ascend, so only what goes is read.
fn drop_indexed(
    indexed: &mut Table<'_, (u32, u64), &'static [u8]>,
    before: u64,
) -> Result<(), redb::StorageError> {
    let is_old = |value: &[u8]| value.first_chunk().is_none_or(|height| u64::from_le_bytes(*height) < before);
    let mut from = (0, 0);
    loop {
        let Some((key, old)) =
            indexed.range(from..)?.next().transpose()?.map(|(k, v)| (k.value(), is_old(v.value())))
        else {
            return Ok(());
        };
        if old {
            indexed.remove(key)?;
            from = key;
        } else {
            let Some(next) = key.0.checked_add(1) else { return Ok(()) };
            from = (next, 0);
        }
    }
}

fn encode(main_height: Height, proof: &ChainProof, out: &mut Vec<u8>) {
    out.clear();
    out.extend(main_height.0.to_le_bytes());
    out.extend(proof.count.to_le_bytes());
    out.extend(proof.chain_root.as_bytes());
    out.extend(proof.index.to_le_bytes());
    debug_assert_eq!(out.len(), INDEXED_BYTES);
    proof.side_path.iter().for_each(|sibling| out.extend(sibling.as_bytes()));
}

fn decode(chain: u32, first: u64, value: &[u8]) -> Option<Indexed> {
    let mut input = Input(value);
    let main_height = Height(u64::from_le_bytes(input.take()?));
    let count = u32::from_le_bytes(input.take()?);
    let chain_root = Hash(input.take()?);
    let index = u32::from_le_bytes(input.take()?);
    let mut side_path = Vec::with_capacity(input.0.len() / 32);
    while !input.0.is_empty() {
        side_path.push(Hash(input.take()?));
    }
    let proof = ChainProof {
        chain_id: ChainId(chain),
        first_height: Height(first),
        count,
        chain_root,
        index,
        side_path,
    };
    Some(Indexed { main_height, proof })
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }
}

const MAX_GAPS_SHOWN: usize = 100;
