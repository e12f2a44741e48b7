//! The secret of those who change the node over the network.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;

/// No secret is longer.
const LONGEST: u64 = 4096;

/// A secret. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Reads a file with one line.
    ///
    /// # Errors
    /// It cannot be read, or what it holds could be guessed.
    pub(crate) fn read(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        let secret = text.trim();
        let whole = text.len() as u64 <= LONGEST;
        if whole && secret.len() >= SHORTEST && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(secret.to_owned()))
        } else {
            Err(SecretError::Weak { path: path.to_owned() })
        }
    }

    /// Whether a header `authorization` shows it, in a time that tells nothing of how much of it is right.
    pub(super) fn is_shown_by(&self, header: &str) -> bool {
        // RFC 9110, section 11.1: the name of a scheme is the same in any case.
        let bearer = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
        let (a, b) = (self.0.as_bytes(), bearer.map_or("", |(_, shown)| shown.trim_start()).as_bytes());
        a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// It cannot be read.
    #[error("api.admin_token_file: {path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It holds none.
    #[error(
        "api.admin_token_file: {path} holds no secret; expected one line of at least {SHORTEST} visible ASCII characters, such \
         as `openssl rand -hex 32` makes",
        path = path.display()
    )]
    Weak {
        /// Which.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_itself_and_nothing_else() {
        let secret = Secret("0123456789abcdef".into());
        for shown in ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "BEARER  0123456789abcdef"] {
            assert!(secret.is_shown_by(shown), "{shown}");
        }
        for other in [
            "",
            "Bearer ",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
        ] {
            assert!(!secret.is_shown_by(other), "{other}");
        }
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn what_could_be_guessed_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(Secret::read(&path), Err(SecretError::Unreadable { .. })));
        for weak in ["", "short\n", "0123456789 abcdef", &"a".repeat(5000)] {
            std::fs::write(&path, weak).unwrap();
            assert!(matches!(Secret::read(&path), Err(SecretError::Weak { .. })), "{weak}");
        }
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(Secret::read(&path).unwrap(), Secret("0123456789abcdef".into()));
    }
}
