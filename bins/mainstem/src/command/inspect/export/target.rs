//! [`Target`]: where an export goes.

use std::fs::Permissions;
use std::io::{self, BufWriter, IsTerminal, Write, stdout};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// Standard output, or a file that appears under its name when it is whole. Until then it stands beside it under a name
/// of its own, and goes with this value.
pub(super) enum Target {
    Stdout,
    File { partial: NamedTempFile, name: PathBuf, force: bool },
}

impl Target {
    pub(super) fn new(out: Option<&Path>, force: bool, binary: bool) -> Result<Self> {
        let Some(name) = out else {
            if binary && stdout().is_terminal() {
                bail!("Parquet is not for terminals: give --out FILE, or a pipe");
            }
            return Ok(Self::Stdout);
        };
        if !force && name.exists() {
            return Err(taken(name));
        }
        let dir = match name.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let partial = tempfile::Builder::new()
            .prefix(name.file_name().with_context(|| format!("{} names no file", name.display()))?)
            .suffix(".partial")
            // As of any new file; the umask is taken off.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .with_context(|| format!("no file can be made in {}", dir.display()))?;
        Ok(Self::File { partial, name: name.to_owned(), force })
    }

    /// Where to write.
    pub(super) fn writer(&self) -> Result<Box<dyn Write + Send>> {
        const BUFFER: usize = 256 << 10;
        Ok(match self {
            Self::Stdout => Box::new(BufWriter::with_capacity(BUFFER, stdout())),
            Self::File { partial, .. } => {
                Box::new(BufWriter::with_capacity(BUFFER, partial.as_file().try_clone()?))
            }
        })
    }

    /// Gives the file its name, once all of it is written and durable.
    pub(super) fn finish(self) -> Result<()> {
        let Self::File { partial, name, force } = self else { return Ok(()) };
        partial.as_file().sync_all().with_context(|| format!("{} cannot be synced", name.display()))?;
        let named = if force { partial.persist(&name) } else { partial.persist_noclobber(&name) };
        match named {
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(taken(&name)),
            named => {
                named.with_context(|| format!("{} cannot be named", name.display()))?;
                Ok(())
            }
        }
    }
}

fn taken(name: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} is there already; give --force to replace it", name.display())
}
