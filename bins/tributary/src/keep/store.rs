//! The store: one file of redb in a directory of its own.
//!
//! # Format
//! ```text
//! meta      name                  -> version u16; main_chain u32 and genesis_hash[32]
//! headers   main height u64       -> header[226]
//! indexed   (chain u32, first_height u64) -> main height u64, count u32, chain_root[32], index u32, path: n x hash[32]
//! newest    chain u32             -> the newest height that was ever indexed, also when its main block is kept no more
//! gaps      first height u64      -> last height u64: main blocks that were pruned before they could be followed
//! evidence  number u64            -> JSON, the newest 16
//! ```
//! Integers in values are little-endian; the bytes of a header are those of `docs/protocol.md`.
//!
//! # Invariants
//! - A header and all that its block has of this node's chains are written in one transaction.
//! - Between the first and the last header every height is there or in a gap.
//! - Every main block that is named by a chain's part has its header.
//!
//! # Errors of the system
//! After the first one redb refuses everything, also when a disk that was full has room again. So the file is opened anew
//! before it is used the next time, and what is newest is read again: whether a commit that failed is there after all,
//! only the file can tell.

use std::cell::Cell;
use std::fmt;
use std::fs::{self, File};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::ChainProof;
use net::client::{Contradiction, FollowedBlock};
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, StorageError, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::KeepError;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("headers");
const INDEXED: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("indexed");
const NEWEST: TableDefinition<'_, u32, u64> = TableDefinition::new("newest");
const GAPS: TableDefinition<'_, u64, u64> = TableDefinition::new("gaps");
const EVIDENCE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("evidence");

const FILE: &str = "main.redb";
pub(super) const VERSION: u16 = 1;
/// Memory for pages that were read.
const CACHE_BYTES: usize = 16 << 20;
/// A main chain that contradicts itself again and again says nothing new.
const MAX_EVIDENCE: u64 = 16;
/// Records that one transaction drops, beside as many as it adds: blocks that come wait for it.
const MAX_DROPPED: u64 = 4_096;
/// Bytes of a chain's part without its path.
const INDEXED_BYTES: usize = 8 + 4 + 32 + 4;

/// What is kept, in a directory. One program at a time.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    opener: Opener,
    /// `None` when it could not be opened anew.
    database: RwLock<Option<Database>>,
    /// The system has failed it: it has to be opened anew.
    is_broken: AtomicBool,
    /// How many main blocks are kept at least; all of them without.
    keep_blocks: Option<NonZeroU64>,
    newest: Mutex<Option<MainHeader>>,
}

type Open = dyn Fn(&mut Builder, &Path) -> Result<Database, DatabaseError> + Send + Sync;

/// How the file is opened: tests put a disk of their own under it.
pub(super) struct Opener(pub(super) Box<Open>);

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
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
        Self::open_with(dir, Opener(Box::new(|builder, path| builder.create(path))))
    }

    pub(super) fn open_with(dir: &Path, opener: Opener) -> Result<Self, KeepError> {
        let store = Self {
            path: dir.join(FILE),
            opener,
            database: RwLock::new(None),
            is_broken: AtomicBool::new(false),
            keep_blocks: None,
            newest: Mutex::new(None),
        };
        drop(store.database()?);
        Ok(store)
    }

    /// Keeps this many of the newest main blocks, and drops older ones now and then: when there are a sixteenth and 64
    /// more. Of very many that are too many, only some go with each write.
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
        self.write(|transaction| {
            let (mut headers, mut indexed) =
                (transaction.open_table(HEADERS)?, transaction.open_table(INDEXED)?);
            let (mut newest, mut gaps) = (transaction.open_table(NEWEST)?, transaction.open_table(GAPS)?);
            let mut before = headers.last()?.map(|(height, _)| Height(height.value()));
            let (mut value, mut added) = (Vec::new(), 0);
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
                    newest.insert(proof.chain_id.0, proof.last_height().0)?;
                }
                added += 1 + chains.len() as u64;
            }
            let too_many = |keep: u64| keep.saturating_add(keep / 16 + 64);
            if let Some(keep) = self.keep_blocks.map(NonZeroU64::get)
                && headers.len()? > too_many(keep)
            {
                drop_oldest(&mut headers, &mut indexed, &mut gaps, keep, MAX_DROPPED + added)?;
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
        self.header_in(&self.read()?, height)
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
        self.find_in(&self.read()?, chain, height)
    }

    /// As [`find`](Self::find), with the header of that block.
    ///
    /// # Errors
    /// The store fails.
    pub fn locate(
        &self,
        chain: ChainId,
        height: Height,
    ) -> Result<Option<(MainHeader, ChainProof)>, KeepError> {
        // Of one moment: the block may be dropped in the next.
        let transaction = self.read()?;
        let Some(Indexed { main_height, proof }) = self.find_in(&transaction, chain, height)? else {
            return Ok(None);
        };
        let header = self.header_in(&transaction, main_height)?;
        let header = header.ok_or_else(|| {
            self.damaged(format!("main block {main_height} is named by chain {chain} and missing"))
        })?;
        Ok(Some((header, proof)))
    }

    /// The newest height of a chain that was ever indexed in a block that came here, whether that is still kept or not.
    ///
    /// # Errors
    /// The store fails.
    pub fn newest_indexed(&self, chain: ChainId) -> Result<Option<Height>, KeepError> {
        let transaction = self.read()?;
        let table = transaction.open_table(NEWEST).map_err(|error| self.failed(error))?;
        let height = table.get(chain.0).map_err(|error| self.failed(error))?;
        Ok(height.map(|height| Height(height.value())))
    }

    /// At most `limit` parts of a chain, ascending, from the one that has height `from`, or the next one.
    ///
    /// # Errors
    /// The store fails.
    pub fn indexed(&self, chain: ChainId, from: Height, limit: usize) -> Result<Vec<Indexed>, KeepError> {
        let transaction = self.read()?;
        // What has `from` may begin before it.
        let first =
            self.find_in(&transaction, chain, from)?.map_or(from, |indexed| indexed.proof.first_height);
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
        let transaction = self.read()?;
        let contents = || -> Result<Contents, redb::Error> {
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

    /// The file, opened anew if the system has failed it.
    fn database(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, KeepError> {
        loop {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            // Acquire and Release: by the lock; a flag that is seen late is seen the next time.
            if database.is_some() && !self.is_broken.load(Ordering::Relaxed) {
                return Ok(database);
            }
            drop(database);
            // Waits for whoever writes or begins to read; what reads already fails or ends well.
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if database.is_none() || self.is_broken.swap(false, Ordering::Relaxed) {
                // The lock of the file goes with it.
                *database = None;
                let (opened, newest) = self.open_file()?;
                *self.newest() = newest;
                *database = Some(opened);
                self.is_broken.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Opens the file, or makes it. With the newest header in it.
    fn open_file(&self) -> Result<(Database, Option<MainHeader>), KeepError> {
        let path = &self.path;
        let dir = path.parent().unwrap_or(path);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| KeepError::Io { path, error }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let is_new = !path.exists();
        let (mut builder, shown) = (Builder::new(), Cell::new(String::new()));
        let file = path.clone();
        builder.set_cache_size(CACHE_BYTES).set_repair_callback(move |repair| {
            let percent = format!("{:.0}", repair.progress() * 100.0);
            if shown.replace(percent.clone()) != percent {
                info!(file = %file.display(), %percent, "the program did not end well; what is kept is looked through");
            }
        });
        let database = (self.opener.0)(&mut builder, path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => KeepError::InUse { path: path.clone() },
            DatabaseError::UpgradeRequired(got) => {
                KeepError::Version { path: path.clone(), got: format!("format {got} of redb") }
            }
            error => KeepError::database(path, error),
        })?;
        self.prepare(&database)?;
        if is_new {
            // The file's name is in the directory's data.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))?;
        }
        let newest = self.last_header(&database)?;
        Ok((database, newest))
    }

    /// Checks the version of a file, and makes the tables that it does not have.
    fn prepare(&self, database: &Database) -> Result<(), KeepError> {
        let found = version(database).map_err(|error| KeepError::database(&self.path, error))?;
        match found {
            // All is there, and a disk that is full does not matter.
            Some((version, true)) if version == VERSION.to_le_bytes() => return Ok(()),
            None => {}
            Some((version, false)) if version == VERSION.to_le_bytes() => {}
            Some((version, _)) => {
                return Err(match version[..] {
                    [low, high] => {
                        let got = u16::from_le_bytes([low, high]).to_string();
                        KeepError::Version { path: self.path.clone(), got }
                    }
                    _ => self.damaged(format!("its version has {} bytes", version.len())),
                });
            }
        }
        let make = |transaction: &WriteTransaction| {
            transaction.open_table(META)?.insert("version", &VERSION.to_le_bytes()[..])?;
            transaction.open_table(HEADERS)?;
            transaction.open_table(GAPS)?;
            transaction.open_table(EVIDENCE)?;
            fill_newest(&transaction.open_table(INDEXED)?, &mut transaction.open_table(NEWEST)?)
        };
        commit(database, make).map_err(|error| KeepError::database(&self.path, error))
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

    fn last_header(&self, database: &Database) -> Result<Option<MainHeader>, KeepError> {
        let failed = |error: redb::Error| KeepError::database(&self.path, error);
        let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
        let table = transaction.open_table(HEADERS).map_err(|error| failed(error.into()))?;
        let last = table.last().map_err(|error| failed(error.into()))?;
        last.map(|(height, value)| self.decode_header(height.value(), value.value())).transpose()
    }

    fn header_in(
        &self,
        transaction: &ReadTransaction,
        height: Height,
    ) -> Result<Option<MainHeader>, KeepError> {
        let table = transaction.open_table(HEADERS).map_err(|error| self.failed(error))?;
        let value = table.get(height.0).map_err(|error| self.failed(error))?;
        value.map(|value| self.decode_header(height.0, value.value())).transpose()
    }

    fn find_in(
        &self,
        transaction: &ReadTransaction,
        chain: ChainId,
        height: Height,
    ) -> Result<Option<Indexed>, KeepError> {
        let table = transaction.open_table(INDEXED).map_err(|error| self.failed(error))?;
        // The last part that begins at it or before it.
        let range = (chain.0, 0)..=(chain.0, height.0);
        let last = table.range(range).map_err(|error| self.failed(error))?.next_back();
        let Some(last) = last else { return Ok(None) };
        let (key, value) = last.map_err(|error| self.failed(error))?;
        let found = self.decode_indexed(key.value(), value.value())?;
        Ok(Some(found).filter(|indexed| indexed.proof.last_height() >= height))
    }

    fn read(&self) -> Result<ReadTransaction, KeepError> {
        let database = self.database()?;
        let database = database.as_ref().expect("it was opened");
        database.begin_read().map_err(|error| self.failed(error))
    }

    /// One transaction, durable when this returns.
    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), KeepError> {
        let database = self.database()?;
        commit(database.as_ref().expect("it was opened"), change).map_err(|error| self.failed(error))
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
        let error = error.into();
        if matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed) {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        KeepError::database(&self.path, error)
    }

    fn damaged(&self, what: String) -> KeepError {
        KeepError::Damaged { path: self.path.clone(), what }
    }
}

/// One transaction: redb syncs before it answers, by default.
fn commit(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // A program that does not end well would look through the whole file at the next start.
    transaction.set_quick_repair(true);
    change(&transaction)?;
    Ok(transaction.commit()?)
}

/// What the file says its version is, and whether it has all tables.
fn version(database: &Database) -> Result<Option<(Vec<u8>, bool)>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(version) = meta.get("version")?.map(|value| value.value().to_vec()) else {
        return Ok(None);
    };
    let whole = match transaction.open_table(NEWEST) {
        Ok(_) => true,
        Err(redb::TableError::TableDoesNotExist(_)) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(Some((version, whole)))
}

/// What is newest of each chain, in a file of a program that did not note it.
fn fill_newest(
    indexed: &Table<'_, (u32, u64), &'static [u8]>,
    newest: &mut Table<'_, u32, u64>,
) -> Result<(), redb::Error> {
    let mut end = (u32::MAX, u64::MAX);
    while let Some(item) = indexed.range(..=end)?.next_back() {
        let (key, value) = item?;
        let (chain, first) = key.value();
        if let Some(found) = decode(chain, first, value.value()) {
            newest.insert(chain, found.proof.last_height().0)?;
        }
        let Some(before) = chain.checked_sub(1) else { break };
        end = (before, u64::MAX);
    }
    Ok(())
}

/// Drops the oldest main blocks until `keep` are left, at most `budget` records at once: first the parts of chains, so
/// that each that is there has its header.
fn drop_oldest(
    headers: &mut Table<'_, u64, &'static [u8]>,
    indexed: &mut Table<'_, (u32, u64), &'static [u8]>,
    gaps: &mut Table<'_, u64, u64>,
    keep: u64,
    budget: u64,
) -> Result<(), StorageError> {
    let old = headers.len()?.saturating_sub(keep).min(budget);
    let Some(first) = headers.iter()?.nth(old as usize).transpose()?.map(|(height, _)| height.value()) else {
        return Ok(());
    };
    if drop_indexed(indexed, first, budget)? {
        headers.retain_in(..first, |_, _| false)?;
        gaps.retain_in(..first, |_, _| false)?;
    }
    Ok(())
}

/// Drops the parts of main blocks below `before`, at most `budget`, and says whether that was all. Those of a chain
/// ascend, so only what goes is read.
fn drop_indexed(
    indexed: &mut Table<'_, (u32, u64), &'static [u8]>,
    before: u64,
    mut budget: u64,
) -> Result<bool, StorageError> {
    let is_old = |value: &[u8]| value.first_chunk().is_none_or(|height| u64::from_le_bytes(*height) < before);
    let mut from = (0, 0);
    loop {
        let Some((key, old)) =
            indexed.range(from..)?.next().transpose()?.map(|(k, v)| (k.value(), is_old(v.value())))
        else {
            return Ok(true);
        };
        if !old {
            let Some(next) = key.0.checked_add(1) else { return Ok(true) };
            from = (next, 0);
        } else if budget == 0 {
            return Ok(false);
        } else {
            indexed.remove(key)?;
            budget -= 1;
            from = key;
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
