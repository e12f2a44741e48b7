//! Snapshots of a data directory: written while a node runs with it, checked and opened where they are restored.
//!
//! ```text
//! MANIFEST.json    every other file with its length and SHA-256; written last: without it, a snapshot is not whole
//! mainstem.toml    as in the data directory, and so the next ones, as far as they are there
//! genesis.toml
//! keys.toml
//! chains.toml
//! node.key         only if it was asked for
//! log/             the log, up to a main block that was durable
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use engine::chain::{ChainId, Hash, Height};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::LogReader;

use crate::clock::unix_millis;
use crate::data_dir::{CONFIG, DataDir};

/// Name of the file that says what a snapshot holds.
pub(crate) const MANIFEST: &str = "MANIFEST.json";

/// The version that this program writes and reads.
const VERSION: u32 = 1;

/// Longest manifest that is read: a line for each of a million segments.
const MAX_MANIFEST: u64 = 256 << 20;

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Of the snapshot's form.
    pub version: u32,
    /// The program that wrote it.
    pub software: String,
    /// When, in ms since 1970.
    pub time: u64,
    /// The main chain.
    pub main_chain: ChainId,
    /// Its genesis document.
    pub genesis_hash: Hash,
    /// The first main block in it.
    pub first_block: Height,
    /// The newest main block in it.
    pub head: Height,
    /// All files but this one.
    pub files: Vec<Entry>,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Where it is, from the snapshot's directory on.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// Why a snapshot cannot be written or restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// There is something already, or no place.
    #[error("{path} {what}", path = path.display())]
    Target {
        /// The directory to be written.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It is none, or not whole.
    #[error("{path}: {what}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer program wrote it.
    #[error(
        "{path}: the snapshot has version {found}, and this program knows {VERSION}; restore it with the version that wrote \
         it",
        path = path.display()
    )]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The log cannot be copied or opened.
    #[error(transparent)]
    Log(#[from] storage::Error),
    /// The system refuses.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl SnapshotError {
    /// Whether another directory would do.
    pub(crate) fn is_target(&self) -> bool {
        matches!(self, Self::Target { .. })
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Writes a snapshot of a data directory to `to`, which must not be there yet or be empty, whether or not a node runs
/// with it.
///
/// # Errors
/// See [`SnapshotError`]; what was written so far is removed. One that breaks off with its process has no manifest.
pub(crate) fn write(dir: &DataDir, to: &Path, with_key: bool) -> Result<Manifest, SnapshotError> {
    judge_target(dir, to)?;
    let target = Target::make(to)?;
    let written = write_files(dir, to, with_key);
    if written.is_err() {
        target.abandon();
    }
    written
}

fn write_files(dir: &DataDir, to: &Path, with_key: bool) -> Result<Manifest, SnapshotError> {
    let log = to.join("log");
    let copied = storage::copy(&dir.log, &log)?;
    let reader = LogReader::open(&log)?;
    let (main_chain, genesis_hash) = (reader.main_chain(), reader.genesis_hash());
    drop(reader);

    let config = dir.root.join(CONFIG);
    let mut small = vec![(&config, CONFIG), (&dir.genesis, "genesis.toml")];
    small.extend([(&dir.keys, "keys.toml"), (&dir.chains, "chains.toml")]);
    if with_key {
        small.push((&dir.key, "node.key"));
    }
    let mut files = Vec::new();
    for (from, name) in small {
        let bytes = match fs::read(from) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(SnapshotError::io("read", from)(error)),
        };
        let path = to.join(name);
        let mode = if name == "node.key" { 0o600 } else { 0o644 };
        write_file(&path, &bytes, mode).map_err(SnapshotError::io("write", &path))?;
        files.push(path);
    }
    files.extend(copied.files);
    let entries = files.iter().map(|path| entry(to, path)).collect::<Result<_, _>>()?;
    let manifest = Manifest {
        version: VERSION,
        software: concat!("mainstem ", env!("CARGO_PKG_VERSION")).to_owned(),
        time: unix_millis(),
        main_chain,
        genesis_hash,
        first_block: copied.first,
        head: copied.head,
        files: entries,
    };
    let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest has texts and numbers only");
    text.push(b'\n');
    let (path, unfinished) = (to.join(MANIFEST), to.join("MANIFEST.json.tmp"));
    let finish = || {
        sync_directory(to)?;
        write_file(&unfinished, &text, 0o644)?;
        fs::rename(&unfinished, &path)?;
        sync_directory(to)
    };
    finish().map_err(SnapshotError::io("write", &path))?;
    Ok(manifest)
}

/// Makes a data directory in `to`, which must not be there yet or be empty, of the snapshot in `from`. Every file is
/// checked by what was written of it.
///
/// # Errors
/// See [`SnapshotError`]; what was written so far is removed.
pub(crate) fn restore(from: &Path, to: &Path) -> Result<Manifest, SnapshotError> {
    let manifest = read_manifest(from)?;
    let target = Target::make(to)?;
    let restored = restore_files(&manifest, from, to);
    if restored.is_err() {
        target.abandon();
    }
    restored.map(|()| manifest)
}

fn restore_files(manifest: &Manifest, from: &Path, to: &Path) -> Result<(), SnapshotError> {
    let log = to.join("log");
    DirBuilder::new().mode(0o700).create(&log).map_err(SnapshotError::io("create", &log))?;
    // Nothing is a log without its file LOG: that one comes last.
    let (last, first): (Vec<_>, Vec<_>) = manifest.files.iter().partition(|entry| entry.path == "log/LOG");
    for entry in first.into_iter().chain(last) {
        restore_file(entry, from, to)?;
    }
    for directory in [&log, to] {
        sync_directory(directory).map_err(SnapshotError::io("sync", directory))?;
    }
    Ok(())
}

fn restore_file(entry: &Entry, from: &Path, to: &Path) -> Result<(), SnapshotError> {
    let (source, path) = (from.join(&entry.path), to.join(&entry.path));
    let damaged = |what: String| SnapshotError::Damaged { path: source.clone(), what };
    let mut reader = match File::open(&source) {
        Ok(file) => file.take(entry.bytes.saturating_add(1)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged("is missing".into())),
        Err(error) => return Err(SnapshotError::io("read", &source)(error)),
    };
    let mode = if entry.path == "node.key" { 0o600 } else { 0o644 };
    let mut copy = || {
        let mut file = create_new(&path, mode)?;
        if Path::new(&entry.path).extension().is_some_and(|extension| extension == "seg") && entry.bytes > 0 {
            // A disk that is too small shows here, and not when the node writes.
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, entry.bytes)?;
        }
        let (mut hash, mut copied, mut part) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            let count = reader.read(&mut part)?;
            if count == 0 {
                break;
            }
            hash.update(&part[..count]);
            file.write_all(&part[..count])?;
            copied += count as u64;
        }
        file.sync_all()?;
        Ok((copied, const_hex::encode(hash.finalize())))
    };
    let (copied, sha256) = copy().map_err(SnapshotError::io("write", &path))?;
    if copied != entry.bytes {
        let more = if copied > entry.bytes { "more than " } else { "" };
        return Err(damaged(format!(
            "has {more}{} bytes, expected {}",
            copied.min(entry.bytes),
            entry.bytes
        )));
    }
    if sha256 != entry.sha256 {
        return Err(damaged(format!("has SHA-256 {sha256}, expected {}", entry.sha256)));
    }
    Ok(())
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads and checks what a snapshot says of itself.
fn read_manifest(from: &Path) -> Result<Manifest, SnapshotError> {
    let path = from.join(MANIFEST);
    let damaged = |what: &str| SnapshotError::Damaged { path: path.clone(), what: what.to_owned() };
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(MAX_MANIFEST).read_to_end(&mut bytes).map_err(SnapshotError::io("read", &path))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged("is missing: this is no snapshot, or one that broke off"));
        }
        Err(error) => return Err(SnapshotError::io("read", &path)(error)),
    };
    // Before all else: another version may have other members.
    let Versioned { version } =
        serde_json::from_slice(&bytes).map_err(|error| damaged(&format!("is no manifest: {error}")))?;
    if version != VERSION {
        return Err(SnapshotError::Version { path, found: version });
    }
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| damaged(&format!("is no manifest: {error}")))?;
    for Entry { path: name, .. } in &manifest.files {
        // Whatever it says, nothing is written elsewhere.
        let parts: Vec<_> = Path::new(name).components().collect();
        let plain = matches!(&parts[..], [Component::Normal(_)])
            || matches!(&parts[..], [Component::Normal(folder), Component::Normal(_)] if *folder == "log");
        if !plain || name == MANIFEST {
            return Err(damaged(&format!("names the file {name:?}, which no snapshot has")));
        }
    }
    for needed in ["genesis.toml", "log/LOG"] {
        if !manifest.files.iter().any(|entry| entry.path == needed) {
            return Err(damaged(&format!("does not name the file {needed}")));
        }
    }
    Ok(manifest)
}

/// Whether a snapshot can be written there, as far as that shows beforehand.
///
/// # Errors
/// [`SnapshotError::Target`].
pub(crate) fn judge_target(dir: &DataDir, to: &Path) -> Result<(), SnapshotError> {
    let target = |what: &str| SnapshotError::Target { path: to.to_owned(), what: what.to_owned() };
    if is_within(to, &dir.log) {
        return Err(target(
            "is in the directory of the log, which is the node's alone: name one outside of it",
        ));
    }
    match fs::read_dir(to).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(target(NOT_EMPTY)),
        // Whoever writes it finds out.
        _ => Ok(()),
    }
}

const NOT_EMPTY: &str = "is not empty: name a directory that does not exist yet";

/// A directory that was empty, or was not there: all that is in it from now on is ours.
struct Target<'a> {
    path: &'a Path,
    /// Whether the directory itself is ours too.
    made: bool,
}

impl<'a> Target<'a> {
    fn make(path: &'a Path) -> Result<Self, SnapshotError> {
        let target = |what: &str| SnapshotError::Target { path: path.to_owned(), what: what.to_owned() };
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => Ok(Self { path, made: true }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match fs::read_dir(path).map(Iterator::count) {
                    Ok(0) => fs::set_permissions(path, Permissions::from_mode(0o700))
                        .map(|()| Self { path, made: false })
                        .map_err(|error| target(&format!("cannot be written: {error}"))),
                    Ok(_) => Err(target(NOT_EMPTY)),
                    Err(error) => Err(target(&format!("cannot be used: {error}"))),
                }
            }
            Err(error) => Err(target(&format!("cannot be made: {error}"))),
        }
    }

    /// Removes what is ours: half of it is of no use, links to segments keep the log's space taken, and the next try could
    /// not have this name.
    fn abandon(self) {
        let Self { path, made } = self;
        let removed = if made { fs::remove_dir_all(path) } else { empty(path) };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "what was written in vain cannot be removed");
        }
    }
}

/// Whether a path, which need not be there yet, is a directory or in it.
fn is_within(path: &Path, dir: &Path) -> bool {
    let there = path.ancestors().find_map(|part| fs::canonicalize(part).ok());
    let dir = fs::canonicalize(dir).ok();
    there.zip(dir).is_some_and(|(path, dir)| path.starts_with(dir))
}

fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn entry(root: &Path, path: &Path) -> Result<Entry, SnapshotError> {
    let hash = || {
        let (mut file, mut hash, mut bytes, mut part) =
            (File::open(path)?, Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            let count = file.read(&mut part)?;
            if count == 0 {
                return Ok((bytes, const_hex::encode(hash.finalize())));
            }
            hash.update(&part[..count]);
            bytes += count as u64;
        }
    };
    let (bytes, sha256) = hash().map_err(SnapshotError::io("read", path))?;
    let name = path.strip_prefix(root).unwrap_or(path);
    Ok(Entry { path: name.to_string_lossy().into_owned(), bytes, sha256 })
}

fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = create_new(path, mode)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_fails_leaves_nothing_behind_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::plain(&dir.path().join("no-data"));
        let (new, old, full) = (dir.path().join("new"), dir.path().join("old"), dir.path().join("full"));
        fs::create_dir(&old).unwrap();
        fs::create_dir(&full).unwrap();
        fs::write(full.join("precious"), "x").unwrap();
        for _ in 0..2 {
            assert!(!write(&data, &new, false).unwrap_err().is_target(), "there is no log");
            assert!(!new.exists());
            assert!(!write(&data, &old, false).unwrap_err().is_target());
            assert_eq!(fs::read_dir(&old).unwrap().count(), 0);
        }
        assert!(write(&data, &full, false).unwrap_err().is_target());
        assert_eq!(fs::read(full.join("precious")).unwrap(), b"x");
    }

    #[test]
    fn nothing_is_written_into_the_directory_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::plain(dir.path());
        fs::create_dir(&data.log).unwrap();
        fs::create_dir(data.root.join("x")).unwrap();
        for to in [data.log.clone(), data.log.join("new"), data.root.join("x/../log/new")] {
            assert!(write(&data, &to, false).unwrap_err().is_target(), "{}", to.display());
        }
        assert_eq!(fs::read_dir(&data.log).unwrap().count(), 0);
    }
}
