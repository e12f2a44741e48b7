//! From one form of a file of blocks to the other, checking all of it on the way.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use engine::chain::{ChainId, Height};

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
/// name only when it is complete.
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
    let Some((first, mut parent)) = blocks.start()? else {
        return Err(FileError::File { path: from.to_owned(), what: "it holds no block".to_owned() }.into());
    };

    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let io = |error| FileError::Io { path: partial.clone(), error };
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(io)?);
    if form == Form::Binary {
        let chain = chain.ok_or_else(|| ConvertError::WhoseBlocks(from.to_owned()))?;
        BinaryFile::write_header(&Header { chain, first, parent }, &mut out).map_err(io)?;
    }
    blocks.rewind()?;
    let mut next = first;
    while let Some(record) = blocks.next(next, parent)? {
        match form {
            Form::Json => JsonFile::write(&record, &mut out),
            Form::Binary => BinaryFile::write(&record, &mut out),
        }
        .map_err(io)?;
        parent = record.hash;
        next += 1;
    }
    out.flush().map_err(io)?;
    drop(out);
    fs::rename(&partial, to).map_err(|error| FileError::Io { path: to.to_owned(), error })?;
    Ok(Converted { form, blocks: next - first, first: Height(first), last: Height(next - 1) })
}
