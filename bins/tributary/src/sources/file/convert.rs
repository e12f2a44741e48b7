//! From one form of a file of blocks to the other, checking all of it on the way.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use engine::chain::{ChainId, Hash, Height};

use super::binary::{BinaryFile, Header};
use super::json::JsonFile;
use super::{BlockFile, FileError};

/// How blocks stand in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// One JSON object a line.
    Json,
    /// Records of 80 bytes.
    Binary,
}

/// What was converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Converted {
    /// The form of the new file.
    pub form: Form,
    /// How many blocks it has.
    pub blocks: u64,
    /// The first one's height.
    pub first: Height,
    /// The last one's height.
    pub last: Height,
}

/// Why a file was not converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The old or the new file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The new file is there.
    #[error("{}: is there already; give --force to replace it", .0.display())]
    Exists(PathBuf),
    /// The name under which the new file is written until it is complete is taken.
    #[error("{}: is there already, from a conversion that still runs or was interrupted; remove it if none runs", .0.display())]
    Partial(PathBuf),
    /// JSON lines do not say whose they are.
    #[error("{}: JSON lines do not say whose blocks they are, and the binary form does; give --chain", .0.display())]
    WhoseBlocks(PathBuf),
    /// It says another chain.
    #[error("{}: it holds blocks of chain {has}, not of {wanted}", path.display())]
    OtherChain {
        /// Which file.
        path: PathBuf,
        /// Whose blocks they are.
        has: ChainId,
        /// What was said.
        wanted: ChainId,
    },
}

/// Writes the blocks of `from` to `to` in the form `form`, by default the other one. The new file appears under its
/// name only when it is complete; until then it is `to` with `.partial` at its end, which an error removes.
pub fn convert(
    from: &Path,
    to: &Path,
    form: Option<Form>,
    chain: Option<ChainId>,
    force: bool,
) -> Result<Converted, ConvertError> {
    if !force && to.exists() {
        return Err(ConvertError::Exists(to.to_owned()));
    }
    let mut blocks = BlockFile::open(from, false)?;
    let (old, chain) = match (&blocks, chain) {
        (BlockFile::Json(_), chain) => (Form::Json, chain),
        (BlockFile::Binary(file), Some(wanted)) if file.chain() != wanted => {
            return Err(ConvertError::OtherChain { path: from.to_owned(), has: file.chain(), wanted });
        }
        (BlockFile::Binary(file), _) => (Form::Binary, Some(file.chain())),
    };
    let form = form.unwrap_or(if old == Form::Json { Form::Binary } else { Form::Json });
    let Some((first, parent)) = blocks.start()? else {
        return Err(FileError::File { path: from.to_owned(), what: "it holds no block".to_owned() }.into());
    };
    let header = match (form, chain) {
        (Form::Json, _) => None,
        (Form::Binary, Some(chain)) => Some(Header { chain, first, parent }),
        (Form::Binary, None) => return Err(ConvertError::WhoseBlocks(from.to_owned())),
    };

    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    // Never what is there already: it may be somebody's, and even the file that is read.
    let file = File::create_new(&partial).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => ConvertError::Partial(partial.clone()),
        _ => FileError::Io { path: partial.clone(), error }.into(),
    })?;
    let next = write(&mut blocks, first, parent, header, file, &partial).and_then(|next| {
        fs::rename(&partial, to).map_err(|error| FileError::Io { path: to.to_owned(), error })?;
        Ok(next)
    });
    if next.is_err() {
        // What went wrong is worth more to the caller than that this went wrong too.
        let _ = fs::remove_file(&partial);
    }
    let next = next?;
    Ok(Converted { form, blocks: next - first, first: Height(first), last: Height(next - 1) })
}

/// Writes all blocks from `first` on, which follows `parent`: in the binary form if there is a header for it, or else
/// as JSON. Returns the height after the last.
fn write(
    blocks: &mut BlockFile,
    first: u64,
    mut parent: Hash,
    header: Option<Header>,
    file: File,
    path: &Path,
) -> Result<u64, FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    if let Some(header) = &header {
        BinaryFile::write_header(header, &mut out).map_err(io)?;
    }
    blocks.rewind()?;
    let mut next = first;
    while let Some(record) = blocks.next(next, parent)? {
        if header.is_some() {
            BinaryFile::write(&record, &mut out).map_err(io)?;
        } else {
            JsonFile::write(&record, &mut out).map_err(io)?;
        }
        parent = record.hash;
        next += 1;
    }
    out.flush().map_err(io)?;
    Ok(next)
}
