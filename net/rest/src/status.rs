//! How a side chain is doing, and why: one list of states and of reasons, with names that are the same in the API, on
//! the command line, in the log, in metrics and on the dashboard.

use serde::{Deserialize, Serialize};

/// What a side chain is doing. A chain is in exactly one of these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum State {
    /// All that its node has is durable here, or on its way.
    Live,
    /// Blocks come, and more of them wait at the source than a main block takes.
    CatchingUp,
    /// There is something to send, or was to be expected, and nothing comes.
    Stalled,
    /// What its nodes send, or they themselves, are refused.
    Refused,
    /// None of its nodes is connected.
    Disconnected,
    /// Its lane has no room: blocks come faster than they become durable.
    LaneFull,
    /// Blocks have waited to be sealed or stored for longer than they should.
    WaitingForSeal,
    /// The operator has paused it: what comes stays in its lane.
    Paused,
    /// It was paused by the node itself, since what it sent contradicts itself.
    Quarantined,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Live,
        Self::CatchingUp,
        Self::Stalled,
        Self::Refused,
        Self::Disconnected,
        Self::LaneFull,
        Self::WaitingForSeal,
        Self::Paused,
        Self::Quarantined,
    ];

    /// Its name, as it stands everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::CatchingUp => "catching-up",
            Self::Stalled => "stalled",
            Self::Refused => "refused",
            Self::Disconnected => "disconnected",
            Self::LaneFull => "lane-full",
            Self::WaitingForSeal => "waiting-for-seal",
            Self::Paused => "paused",
            Self::Quarantined => "quarantined",
        }
    }
}
