//! What a node tells of by itself: `GET /v1/events`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use verify::chain::{Hash, Height, Timestamp};

#[cfg(feature = "openapi")]
use crate::schema;
use crate::{SideChain, Stats};

/// What can be listened to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Topic {
    /// New main blocks.
    Heads,
    /// Side chains whose status changes.
    Chains,
    /// How the node is doing, each second.
    Stats,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Heads, Self::Chains, Self::Stats];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Chains => "chains",
            Self::Stats => "stats",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|topic| topic.name() == text);
        found.ok_or_else(|| {
            let text: String = text.chars().take(100).collect();
            format!("{text:?} is no topic: expected heads, chains or stats")
        })
    }
}

/// A new main block: the event `head`.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadEvent {
    /// Its height.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub height: Height,
    /// Hash of its header.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub hash: Hash,
    /// When it was sealed.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Timestamp))]
    pub time: Timestamp,
    /// How many chains have blocks in it.
    pub chain_count: u32,
    /// How many side blocks it holds.
    pub leaf_count: u64,
}

/// Something that a node tells of.
#[derive(Debug, Clone)]
pub enum Event {
    /// A main block became durable. If they come faster than they are read, some are left out.
    Head(HeadEvent),
    /// The status of a side chain changed.
    Chain(Box<SideChain>),
    /// How the node is doing.
    Stats(Box<Stats>),
    /// The node ends the stream in good order, for it stops or the stream is old: connect again.
    End(String),
}
