//! What a client shows of itself.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Hash, Height, MainHeader};
use quinn::ConnectionError;

use super::Contradiction;
use crate::control::{ReceiveError, RefusalCode};
use crate::identity::{self, Refusal};

/// How things stand.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whether it is connected.
    pub connection: ConnectionState,
    /// Id of the main chain and hash of its genesis document, once known.
    pub main: Option<(ChainId, Hash)>,
    /// The newest durable main block, once known.
    pub head: Option<MainHeader>,
    /// Each chain, by ascending id.
    pub chains: Vec<ChainStatus>,
    /// How far the main chain's blocks are followed; none where they are not.
    pub follow: Option<FollowStatus>,
    /// Blocks handed to the connection since the start; those that had to be sent again count again.
    pub blocks: u64,
    /// Frames handed to the connection since the start.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// How often a connection was made.
    pub connections: u64,
}

/// See [`Status::connection`].
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// It tries to connect, or waits for the welcome.
    Connecting,
    /// It is connected and welcome.
    Connected {
        /// With whom.
        address: SocketAddr,
        /// Since when.
        since: Instant,
    },
    /// It waits before it tries again.
    Waiting {
        /// Why it is not connected.
        reason: Disconnect,
    },
    /// It does not try any more.
    Stopped {
        /// Why not.
        reason: String,
    },
}

/// See [`Status::follow`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowStatus {
    /// The newest main block that the sink has taken and settled.
    pub newest: Option<MainHeader>,
    /// How many it has taken since the start.
    pub blocks: u64,
    /// The main blocks that were wanted last and that the main chain had pruned: from which height to which.
    pub pruned: Option<(Height, Height)>,
    /// Why the blocks do not come at the moment.
    pub error: Option<String>,
    /// What the main chain said last that contradicts what it had said before, or itself. It stays.
    pub contradiction: Option<Arc<Contradiction>>,
}

/// One chain of a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainStatus {
    /// Which chain.
    pub chain: ChainId,
    /// What it does.
    pub state: ChainState,
    /// Newest height handed to the connection, or received by the main chain before.
    pub sent: Height,
    /// Newest height that the main chain has stored for good.
    pub durable: Height,
    /// Highest height that may be sent.
    pub limit: Height,
    /// The newest irreversible height that the source has, as far as it says. It is asked while this node speaks for the
    /// chain or stands by.
    pub tip: Option<Height>,
    /// What went wrong last and has not passed since.
    pub error: Option<String>,
}

/// What a chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainState {
    /// There is no connection.
    Offline,
    /// This node speaks for it.
    Speaking,
    /// This node does not speak for it: another one does, or may while the source fails here (see the error).
    Standby,
    /// The main chain refused it; it is tried again.
    Refused(RefusalCode),
    /// It has stopped for good: see the error.
    Stopped,
}

/// What happens. For people: everything here can also be seen in [`Status`].
#[derive(Debug, Clone)]
pub enum Event {
    /// Connected and welcome.
    Connected {
        /// With whom.
        address: SocketAddr,
        /// Id of the main chain.
        main_chain: ChainId,
    },
    /// Not connected any more, or still not.
    Disconnected {
        /// Why.
        reason: Disconnect,
        /// When it is tried again; `None` if it is not.
        retry_in: Option<Duration>,
    },
    /// This node speaks for a chain from here on.
    Speaking {
        /// Which chain.
        chain: ChainId,
        /// The height it sends next.
        next: Height,
    },
    /// Another node speaks for the chain.
    Standby {
        /// Which chain.
        chain: ChainId,
    },
    /// The main chain refused a chain.
    Refused {
        /// Which chain.
        chain: ChainId,
        /// Why.
        code: RefusalCode,
        /// Why, for people.
        text: String,
    },
    /// The side chain and what the main chain has of it went different ways; the chain has stopped.
    Fork {
        /// Which chain.
        chain: ChainId,
        /// The height at which they differ.
        height: Height,
        /// The hash that the side chain has now.
        ours: Hash,
        /// The hash that the main chain has received.
        theirs: Hash,
    },
    /// The source cannot go on with a chain. If it can never, the chain has stopped.
    SourceFailed {
        /// Which chain.
        chain: ChainId,
        /// What the source says.
        error: String,
        /// Whether it is asked again.
        retry: bool,
    },
    /// The newest durable main block.
    Head(Box<MainHeader>),
    /// The main chain has pruned main blocks that were wanted: those that come begin after them.
    Pruned {
        /// The first of them.
        first: Height,
        /// The last of them.
        last: Height,
    },
    /// The main chain's blocks cannot be followed at the moment; it is tried again.
    FollowFailed {
        /// Why not.
        error: String,
    },
    /// The main chain contradicts what it had said before, or itself.
    Contradicted(Arc<Contradiction>),
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// The code that the main chain refused us with, if that is why.
    pub code: Option<RefusalCode>,
    /// Whether it will not pass by itself.
    pub lasting: bool,
    /// For people.
    pub text: String,
    /// What the main chain said that cannot be, if that is why.
    pub contradiction: Option<Arc<Contradiction>>,
}

impl Disconnect {
    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self { code: None, lasting: false, text: text.into(), contradiction: None }
    }

    pub(super) fn lasting(text: impl Into<String>) -> Self {
        Self { lasting: true, ..Self::passing(text) }
    }

    pub(super) fn contradicted(contradiction: Arc<Contradiction>) -> Self {
        let text = contradiction.to_string();
        Self { contradiction: Some(contradiction), ..Self::lasting(text) }
    }

    fn refused(code: RefusalCode, text: &str) -> Self {
        Self { code: Some(code), lasting: code.is_lasting(), ..Self::passing(clean(text)) }
    }
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.code else { return f.write_str(&self.text) };
        write!(f, "refused by the main chain ({code}): {}", self.text)?;
        let remedy = code.remedy();
        // Where there is nothing to do, or the text says it, nobody has to read it.
        if remedy.starts_with("nothing") || self.text.contains(remedy) {
            return Ok(());
        }
        write!(f, "; {remedy}")
    }
}

impl From<&ConnectionError> for Disconnect {
    fn from(error: &ConnectionError) -> Self {
        if let ConnectionError::ApplicationClosed(close) = error {
            let text = String::from_utf8_lossy(&close.reason);
            return match RefusalCode::from_number(close.error_code.into_inner()) {
                Some(code) => Self::refused(code, &text),
                None => Self::passing(format!(
                    "the main chain closed the connection (code {}): {}",
                    close.error_code,
                    clean(&text)
                )),
            };
        }
        if let ConnectionError::LocallyClosed = error {
            // The only reason for which we close one that we listen on.
            return Self::passing("the main chain stopped reading a data stream");
        }
        match identity::refusal(error) {
            Some(refusal @ (Refusal::KeyNotRegistered | Refusal::NoCertificate)) => {
                Self::refused(RefusalCode::UnknownKey, &refusal.to_string())
            }
            Some(refusal @ Refusal::OtherProtocol) => {
                Self::refused(RefusalCode::WrongVersion, &refusal.to_string())
            }
            Some(refusal) => Self::lasting(clean(&refusal.to_string())),
            None => Self::passing(clean(&error.to_string())),
        }
    }
}

impl From<ReceiveError> for Disconnect {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Stream(quinn::ReadError::ConnectionLost(error)) => Self::from(&error),
            error => Self::passing(format!("the main chain breaks the protocol: {error}")),
        }
    }
}

/// Text of the other side, as it may be shown: no control characters, which could move a terminal's cursor.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_said_once_and_only_where_there_is_one() {
        let told = |code, text: &str| Disconnect::refused(code, text).to_string();
        let busy = told(RefusalCode::Busy, "too many");
        assert!(busy.contains("(busy): too many; ") && busy.ends_with(RefusalCode::Busy.remedy()), "{busy}");
        assert_eq!(told(RefusalCode::Busy, RefusalCode::Busy.remedy()).matches("later").count(), 1);
        assert_eq!(
            told(RefusalCode::ShuttingDown, "restarting"),
            "refused by the main chain (shutting-down): restarting"
        );
    }
}
