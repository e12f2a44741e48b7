//! How a side chain is doing, and why: one list of states and of reasons, with names that are the same in the API, on
//! the command line, in the log, in metrics and on the dashboard.

use std::fmt;

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
    /// None of its nodes is connected, or none of those that are names it.
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! reasons {
    ($($variant:ident = $number:literal, $name:literal, $state:ident, $meaning:literal, $remedy:literal;)+) => {
        /// Why a side chain is in its state. Numbers and names are fixed; what the protocol refuses has the protocol's
        /// name.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[repr(u16)]
        pub enum Reason {
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl Reason {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name, as it stands everywhere.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The state that it is a reason for.
            pub const fn state(self) -> State {
                match self {
                    $(Self::$variant => State::$state,)+
                }
            }

            /// What it means: a sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                }
            }

            /// What to do about it; begins with `nothing` where there is nothing to do.
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$variant => $remedy,)+
                }
            }
        }
    };
}

reasons! {
    InStep = 1, "in-step", Live,
        "All that its node has is durable here, or on its way.",
        "nothing: all is well";
    Quiet = 2, "quiet", Live,
        "Nothing new has come for a while, and its node says that there is nothing new.",
        "nothing, if the side chain makes few blocks; else see whether it still makes any";
    Behind = 3, "behind", CatchingUp,
        "Its node has many more blocks than are durable here, and they come.",
        "nothing: it catches up; a larger cache.lane_blocks and seal.max_per_chain let it do so faster";
    HeldByRules = 4, "held-by-rules", Live,
        "Its first blocks wait, as AElf's rules want it (seal.rules), until 256 more have come.",
        "nothing: it begins by itself, once more than 256 of its blocks wait";
    NoData = 10, "no-data", Stalled,
        "Its node has newer blocks and may send them, and none comes.",
        "see what tributary logs there: whether its source answers, and whether the network carries anything";
    Overdue = 11, "overdue", Stalled,
        "A block was to be expected by the pace so far, and none comes.",
        "see whether the side chain still makes irreversible blocks, and whether tributary's source answers";
    NoAnswer = 12, "no-answer", Stalled,
        "The connection stands, and nothing at all has come over it for a while.",
        "see whether tributary still runs and its machine answers: it may be stopped, frozen or cut off";
    NothingSent = 13, "nothing-sent", Stalled,
        "Its node is connected and has sent neither a block nor how far its source is.",
        "see what tributary logs there: it may not reach its source";
    NobodySpeaks = 14, "nobody-speaks", Stalled,
        "Its nodes are connected, and all of them have given the chain up for now.",
        "see what tributary logs there: its source fails, or has gone another way than what is indexed";
    UnknownKey = 20, "unknown-key", Refused,
        "What wants to send it holds a key that is not registered for it.",
        "have the node use a key that is registered, or let its key stand for one (`mainstem keys rotate --keep-old REGISTERED NEW`), or `mainstem chains remove CHAIN` and `mainstem chains add` it with the key";
    UnknownChain = 21, "unknown-chain", Refused,
        "Its node named it when it was not registered here, and has not asked again.",
        "nothing: tributary asks again by itself within a minute; else restart it";
    WrongHeight = 22, "wrong-height", Refused,
        "What its node sent does not start at the next height.",
        "nothing, if it passes: tributary resumes at the next height; else see what its source offers";
    WrongParent = 23, "wrong-parent", Refused,
        "What its node sent does not follow the block that was received before.",
        "see whether the side chain's node is on the right fork: what is indexed is never taken back";
    Conflict = 24, "conflict", Refused,
        "Its node sent another hash for a height than was received before: evidence of equivocation.",
        "see whether the side chain's nodes agree, and whether what they send is irreversible";
    AboveLimit = 25, "above-limit", Refused,
        "Its node sent more than it was granted.",
        "this is a fault of the sending program: update it, or report it";
    NotSpeaker = 26, "not-speaker", Refused,
        "A node that does not speak for it has sent, and none that does.",
        "nothing, if it passes: tributary asks for its place again; else restart it";
    WrongVersion = 30, "wrong-version", Refused,
        "Its nodes were turned away: they speak another version of the protocol.",
        "run versions of tributary and mainstem that speak the same protocol";
    BadFrame = 31, "bad-frame", Refused,
        "Its node was turned away: a frame of it breaks the format.",
        "this is a fault of the sending program: update it, or report it";
    BadMessage = 32, "bad-message", Refused,
        "Its node was turned away: a message of it breaks the format or came at the wrong moment.",
        "this is a fault of the sending program: update it, or report it";
    NoChain = 33, "no-chain", Refused,
        "Its node was turned away: not one chain that it named can be served.",
        "see why each chain was refused: `mainstem peers --refused`";
    TooSlow = 34, "too-slow", Refused,
        "Its node was turned away: it takes too long to send or to read.",
        "see whether the network carries this much, and whether the node's machine is overloaded";
    Busy = 35, "busy", Refused,
        "Its node was turned away: a limit on sessions, streams or memory is reached here.",
        "raise the limit that the text names (`mainstem config show` has ingest.*), or connect fewer nodes";
    Superseded = 36, "superseded", Refused,
        "Its node was turned away: a newer session of its key took its place.",
        "use a key of its own for every tributary: too many run with this one";
    Revoked = 37, "revoked", Refused,
        "Its node was turned away: its key was struck off, or stands for another one now.",
        "register the new key of the node (`mainstem keys`), and have it run with that one";
    NeverConnected = 40, "never-connected", Disconnected,
        "None of its nodes has connected since this node was started.",
        "start tributary at its node, with the address and the key that `mainstem peers` names; see firewalls (UDP)";
    NodeStopped = 41, "node-stopped", Disconnected,
        "Its last node has ended its session in order.",
        "start tributary again at its node, if it was not meant to stop";
    ConnectionLost = 42, "connection-lost", Disconnected,
        "The connection to its last node was lost.",
        "see whether tributary runs there and the network between carries UDP; it connects again by itself";
    NotNamed = 43, "not-named", Disconnected,
        "A node of it has connected and did not name it: it sends other chains alone.",
        "have tributary at its node send this chain too (`--chain`), or start another one for it there; or, if that key shall not send it, `mainstem chains remove CHAIN`";
    NoRoom = 50, "no-room", LaneFull,
        "Its lane is full: its node has more, and waits until blocks become durable.",
        "raise cache.lane_blocks (and cache.bytes), or see with `mainstem profile` what holds sealing or storing up";
    SealLate = 60, "seal-late", WaitingForSeal,
        "Its blocks are final, and have waited to be sealed for longer than they should.",
        "see `mainstem profile`: sealing has more to do than it can; seal.max_leaves and seal.max_per_chain bound a block";
    StoreLate = 61, "store-late", WaitingForSeal,
        "Its blocks were sealed, and have waited to be stored for longer than they should.",
        "see whether the disk keeps up and has room: `mainstem doctor`";
    NotDecided = 62, "not-decided", WaitingForSeal,
        "Its blocks wait until the main chain's node decides on them.",
        "see whether the main chain's node runs and makes blocks: it drives this one (main.mode = \"external\")";
    EngineFailed = 63, "engine-failed", WaitingForSeal,
        "A stage of this node gave up: nothing is indexed any more.",
        "see the log for what failed, most often the disk, and start the node again";
    PausedByOperator = 70, "paused-by-operator", Paused,
        "The operator has paused it: what comes stays in its lane.",
        "mainstem chains resume CHAIN, when it shall go on";
    ConflictRepeated = 80, "conflict-repeated", Quarantined,
        "Its nodes contradicted what they had sent, again and again: it was paused until the operator has looked.",
        "see which of its nodes is on the right fork, strike off the others, then mainstem chains resume CHAIN";
}

impl Reason {
    /// Its number, as in the code of its page: `MS-30nn`.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a side chain is doing now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// What it does.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The same in words, with the figures.
    pub text: String,
    /// What to do.
    pub next: String,
    /// Since when it is in this state for this reason, in ms since 1970.
    pub since: u64,
}

/// How far a side chain is, and who sends it: further members of an element of `GET /v1/chains`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// How it is doing.
    pub status: Status,
    /// The newest irreversible height of the source of the node that speaks for it, as far as that has told.
    pub tip: Option<u64>,
    /// From the durable height to the tip.
    pub lag_blocks: Option<u64>,
    /// For how long the oldest block that is not durable has been here or is known to be missing; 0 if there is none.
    pub lag_seconds: Option<f64>,
    /// Blocks made durable a second, over the last 10 s.
    pub rate: f64,
    /// When its last blocks arrived, in ms since 1970; none since the node was started: null.
    pub last_block: Option<u64>,
    /// Where the node is that speaks for it.
    pub speaker_address: Option<String>,
    /// What that node says it runs.
    pub speaker_software: Option<String>,
}

/// `GET /v1/chains/{id}/history`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct History {
    /// The last changes of its status, newest first.
    pub changes: Vec<Change>,
}

/// A change of a chain's status.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    /// When, in ms since 1970.
    pub time: u64,
    /// What it did from then on.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The same in words.
    pub text: String,
}

/// `GET /v1/chains/{id}/why`: what is known at each step from the chain's source to the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Why {
    /// The chain, by number.
    pub chain_id: u32,
    /// The chain, as it is written.
    pub chain: String,
    /// Its name.
    pub name: String,
    /// How it is doing.
    pub status: Status,
    /// From the source to the store, in order. The first that is not well is the cause of what follows.
    pub steps: Vec<Step>,
    /// What the node did about it by itself, newest first.
    pub tried: Vec<Tried>,
}

/// One step of [`Why`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Step {
    /// `source`, `tributary`, `connection`, `lane`, `seal` or `store`.
    pub step: String,
    /// Whether it is well; null where nothing is known of it.
    pub ok: Option<bool>,
    /// What is known of it.
    pub text: String,
}

/// Something that the node did about a chain by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tried {
    /// When, in ms since 1970.
    pub time: u64,
    /// For which reason.
    pub reason: Reason,
    /// What it did.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_the_same_everywhere() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
            assert_eq!(Reason::from_name(reason.name()), Some(*reason));
            assert!(Reason::ALL[..place].iter().all(|other| other.number() < reason.number()), "{reason}");
            assert!((1..100).contains(&reason.number()));
            assert!(reason.meaning().ends_with('.') && !reason.remedy().ends_with('.'), "{reason}");
        }
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert!(Reason::ALL.iter().any(|reason| reason.state() == state), "{state} has no reason");
        }
    }
}
