//! Which keys speak for the side chains now: the registered ones, as `keys.toml` changes them.
//!
//! The genesis document, and the operation that registers a chain later on, name the registered keys for good. What changes
//! while chains live stands beside them in the data directory: keys that are good no longer, and new keys that stand for
//! registered ones.
//!
//! # Format
//! TOML, strict. At a start no file, or one that says nothing, means no changes; there may never have been any. Once
//! there are some only a file that says so takes them back, `revoked = []` if it is all of them: a file that is gone or
//! empty is more likely half of an edit, or a mistake, than the wish to let every revoked key back in.
//! ```toml
//! revoked = ["<registered or new key>"]
//!
//! [[stands_for]]
//! key = "<new key>"
//! registered = "<registered key>"
//! ```
//!
//! # Invariants
//! A key that stands for a registered one is registered nowhere itself, and stands for that one only. A revoked key is
//! registered or stands for one that is: a misspelt key would seem revoked and be let in.

mod file;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use engine::chain::{NodeKey, ParseNodeKeyError};
use engine::state::SideChain;
use net::server::KeyChanges;
use serde::Deserialize;

pub(crate) use file::{FileError, KeysFile};
pub(crate) use watch::Watch;

/// What `keys.toml` says, checked against all chains that were ever registered (`known` in what follows).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyState {
    /// Registered keys and new ones that are good no longer.
    pub revoked: BTreeSet<NodeKey>,
    /// New key -> the registered key that it stands for.
    pub stands_for: BTreeMap<NodeKey, NodeKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    revoked: Option<Vec<String>>,
    stands_for: Option<Vec<StandsFor>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StandsFor {
    key: String,
    registered: String,
}

impl KeyState {
    /// Reads the text of a file; `None` if it says nothing at all, as an empty one does. One with `revoked = []` says that
    /// no key is.
    ///
    /// # Errors
    /// It is no TOML of this shape, or names a key that cannot stand where it stands.
    pub(crate) fn parse(text: &str, known: &[SideChain]) -> Result<Option<Self>, KeysError> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            KeysError::Syntax { line: 1 + before.matches('\n').count(), reason: error.message().to_owned() }
        })?;
        if document.revoked.is_none() && document.stands_for.is_none() {
            return Ok(None);
        }
        let mut state = Self::default();
        for (position, StandsFor { key, registered }) in document.stands_for.iter().flatten().enumerate() {
            let field = |name: &str| format!("stands_for[{position}].{name}");
            let (key, registered) = (read(field("key"), key)?, read(field("registered"), registered)?);
            if state.stands_for.contains_key(&key) {
                return Err(KeysError::key(field("key"), key, "is listed twice: a key stands for one only"));
            }
            state.stand(known, registered, key, field)?;
        }
        for (position, key) in document.revoked.iter().flatten().enumerate() {
            let field = format!("revoked[{position}]");
            let key = read(field.clone(), key)?;
            if !state.knows(known, key) {
                return Err(KeysError::unknown(field, key));
            }
            if !state.revoked.insert(key) {
                return Err(KeysError::key(field, key, "is listed twice: list each key once"));
            }
        }
        Ok(Some(state))
    }

    /// A text that [`KeyState::parse`] reads back.
    pub(crate) fn document(&self) -> String {
        let mut out = String::from(
            "# Keys that changed since the genesis document. `mainstem keys revoke`, `rotate` and `restore` write it,\n\
             # and keep no comments. A node that runs follows each change within a second.\n\nrevoked = [\n",
        );
        for key in &self.revoked {
            let _ = writeln!(out, "    \"{key}\",");
        }
        out.push_str("]\n");
        for (key, registered) in &self.stands_for {
            let _ = write!(out, "\n[[stands_for]]\nkey = \"{key}\"\nregistered = \"{registered}\"\n");
        }
        out
    }

    /// What the server is told.
    pub(crate) fn changes(&self) -> KeyChanges {
        KeyChanges { revoked: self.revoked.clone(), stands_for: self.stands_for.clone() }
    }

    /// Revokes a key; false if it is revoked already.
    ///
    /// # Errors
    /// Nobody knows the key.
    pub(crate) fn revoke(&mut self, known: &[SideChain], key: NodeKey) -> Result<bool, KeysError> {
        if self.knows(known, key) {
            Ok(self.revoked.insert(key))
        } else {
            Err(KeysError::unknown("KEY".into(), key))
        }
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// The key is not revoked.
    pub(crate) fn restore(&mut self, known: &[SideChain], key: NodeKey) -> Result<(), KeysError> {
        if self.revoked.remove(&key) {
            return Ok(());
        }
        Err(if self.knows(known, key) {
            KeysError::key("KEY".into(), key, "is not revoked: there is nothing to take back")
        } else {
            KeysError::unknown("KEY".into(), key)
        })
    }

    /// Lets `new` stand for `registered`. Unless the old ones are kept, every other key that speaks as `registered`
    /// is revoked; they are what is returned.
    ///
    /// # Errors
    /// `registered` is not registered, or `new` is, is revoked, or stands for another.
    pub(crate) fn rotate(
        &mut self,
        known: &[SideChain],
        registered: NodeKey,
        new: NodeKey,
        keep_old: bool,
    ) -> Result<Vec<NodeKey>, KeysError> {
        if self.revoked.contains(&new) {
            let expected = "is revoked: take a key that never was, or `mainstem keys restore` it first";
            return Err(KeysError::key("NEW".into(), new, expected));
        }
        if let Some(other) = self.stands_for.get(&new).filter(|other| **other != registered) {
            let expected = format!("stands for {other} already: every key stands for one only");
            return Err(KeysError::key("NEW".into(), new, expected));
        }
        self.stand(known, registered, new, |name| match name {
            "key" => "NEW".to_owned(),
            _ => "REGISTERED".to_owned(),
        })?;
        if keep_old {
            return Ok(Vec::new());
        }
        let old: Vec<_> = self.speakers(registered).filter(|key| *key != new).collect();
        self.revoked.extend(&old);
        Ok(old)
    }

    /// The keys that may speak as `registered` now.
    pub(crate) fn speakers(&self, registered: NodeKey) -> impl Iterator<Item = NodeKey> {
        let new = self.stands_for.iter().filter(move |(_, of)| **of == registered).map(|(new, _)| *new);
        std::iter::once(registered).chain(new).filter(|key| !self.revoked.contains(key))
    }

    /// Those of `chains` that nobody may speak for.
    pub(crate) fn mute<'a>(&self, chains: &'a [SideChain]) -> Vec<&'a SideChain> {
        let mute = |side: &&SideChain| side.nodes.iter().all(|key| self.speakers(*key).next().is_none());
        chains.iter().filter(mute).collect()
    }

    fn knows(&self, known: &[SideChain], key: NodeKey) -> bool {
        self.stands_for.contains_key(&key) || is_registered(known, key)
    }

    fn stand(
        &mut self,
        known: &[SideChain],
        registered: NodeKey,
        new: NodeKey,
        field: impl Fn(&str) -> String,
    ) -> Result<(), KeysError> {
        if is_registered(known, new) {
            let expected = "is registered itself: expected a new key, as `tributary keys new` makes it";
            return Err(KeysError::key(field("key"), new, expected));
        }
        if !is_registered(known, registered) {
            return Err(match self.stands_for.get(&registered) {
                Some(of) => {
                    let expected = format!("only stands for {of}: expected that one, which is registered");
                    KeysError::key(field("registered"), registered, expected)
                }
                None => KeysError::unknown(field("registered"), registered),
            });
        }
        self.stands_for.insert(new, registered);
        Ok(())
    }
}

/// Those of `known` that a key is registered for.
pub(crate) fn chains_of(known: &[SideChain], key: NodeKey) -> impl Iterator<Item = &SideChain> {
    known.iter().filter(move |side| side.nodes.contains(&key))
}

/// What is wrong with a change of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeysError {
    /// It is not TOML of the right shape.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Which line, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A text that is no key.
    #[error("{field}: {error}")]
    NoKey {
        /// Where it stands.
        field: String,
        /// What is wrong with it.
        error: ParseNodeKeyError,
    },
    /// A key cannot stand where it stands.
    #[error("{field}: {key} {expected}")]
    Key {
        /// Where it stands.
        field: String,
        /// Which.
        key: NodeKey,
        /// What it is, and what would be right.
        expected: String,
    },
}

impl KeysError {
    fn key(field: String, key: NodeKey, expected: impl Into<String>) -> Self {
        Self::Key { field, key, expected: expected.into() }
    }

    fn unknown(field: String, key: NodeKey) -> Self {
        let expected = "is registered for no chain and stands for no key that is: expected one that `mainstem keys \
                        list` shows";
        Self::key(field, key, expected)
    }
}

fn read(field: String, text: &str) -> Result<NodeKey, KeysError> {
    text.parse().map_err(|error| KeysError::NoKey { field, error })
}

fn is_registered(known: &[SideChain], key: NodeKey) -> bool {
    chains_of(known, key).next().is_some()
}

#[cfg(test)]
mod tests;
