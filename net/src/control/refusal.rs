//! Why something was refused: one list of codes for a chain, a connection and the close of QUIC.

use std::fmt;

use engine::lane;
use quinn::VarInt;

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $remedy:literal;)+) => {
        /// Why a chain or a connection was refused. Numbers and names are fixed; `docs/protocol.md` lists them.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum RefusalCode {
            $($(#[$doc])* $variant = $number,)+
        }

        impl RefusalCode {
            /// All codes, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code with this number.
            pub fn from_number(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Its name: stable, for logs, metrics and scripts.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$variant => $remedy,)+
                }
            }
        }
    };
}

refusals! {
    /// The key is not registered, at all or for the chain.
    UnknownKey = 1, "unknown-key",
        "have the main chain's operator let this node's key stand for one that is registered for the chain (`mainstem keys \
         rotate --keep-old REGISTERED NEW`), or remove the chain and add it again with this key; or run with a \
         registered key";
    /// The main chain does not index this chain.
    UnknownChain = 2, "unknown-chain",
        "check the chain id; the main chain's operator must register the chain first";
    /// The peer speaks another version of the protocol.
    WrongVersion = 3, "wrong-version",
        "run versions of tributary and mainstem that speak the same protocol";
    /// A frame breaks the format.
    BadFrame = 4, "bad-frame",
        "this is a fault of the sending program: update it, or report it";
    /// A message on the control stream breaks the format or comes at the wrong moment.
    BadMessage = 5, "bad-message",
        "this is a fault of the sending program: update it, or report it";
    /// A section does not start at the next height.
    WrongHeight = 6, "wrong-height",
        "resume the chain: it goes on at the height after the one that the main chain has received";
    /// A section does not follow the block received before it.
    WrongParent = 7, "wrong-parent",
        "the side chain and what the main chain received went different ways: see whether the side chain's node is \
         on the right fork";
    /// Another hash was received for a height: evidence of equivocation.
    Conflict = 8, "conflict",
        "two blocks of one height were sent: see whether the side chain's nodes agree, and whether its blocks were \
         irreversible";
    /// A section goes above the limit that was granted.
    AboveLimit = 9, "above-limit",
        "this is a fault of the sending program, which must stop at the limit: update it, or report it";
    /// Another session speaks for the chain.
    NotSpeaker = 10, "not-speaker",
        "nothing: another node speaks for the chain, this one stands by and takes over when that one ends";
    /// Not one chain of the hello can be served.
    NoChain = 11, "no-chain",
        "see why each chain was refused";
    /// The peer takes too long: over a hello, over a frame, or to read what it is sent.
    TooSlow = 12, "too-slow",
        "see whether the network carries this much, and whether the machine is overloaded";
    /// A limit on sessions, streams or memory is reached.
    Busy = 13, "busy",
        "try again later; the main chain's operator may raise the limits";
    /// A newer session of the same key took this one's place.
    Superseded = 14, "superseded",
        "use a key of its own for every tributary: too many run with this one";
    /// The server is being shut down.
    ShuttingDown = 15, "shutting-down",
        "nothing: connect again, it will be back";
    /// The key was struck off while it was connected, or stands for another one now.
    Revoked = 16, "revoked",
        "ask the main chain's operator to register the new key of this node, and run with that one";
}

impl RefusalCode {
    /// Its number, on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The application error code that closes a QUIC connection for this reason.
    pub fn close_code(self) -> VarInt {
        VarInt::from_u32(u32::from(self.number()))
    }

    /// Whether it will not pass by itself: someone has to change a key, a registry or a program.
    pub fn is_lasting(self) -> bool {
        matches!(
            self,
            Self::UnknownKey
                | Self::UnknownChain
                | Self::WrongVersion
                | Self::BadFrame
                | Self::BadMessage
                | Self::NoChain
                | Self::Revoked
        )
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<&lane::Refusal> for RefusalCode {
    fn from(refusal: &lane::Refusal) -> Self {
        match refusal {
            lane::Refusal::UnknownKey { .. } => Self::UnknownKey,
            lane::Refusal::NotSpeaker { .. } => Self::NotSpeaker,
            lane::Refusal::WrongHeight { .. } => Self::WrongHeight,
            lane::Refusal::WrongParent { .. } => Self::WrongParent,
            lane::Refusal::Conflict { .. } => Self::Conflict,
            lane::Refusal::AboveLimit { .. } => Self::AboveLimit,
            // As if it had never been: the node asks again, and gets it when it is registered anew.
            lane::Refusal::Removed { .. } => Self::UnknownChain,
        }
    }
}

/// The code of a close without a fault.
pub const CLOSE_DONE: VarInt = VarInt::from_u32(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_read_back() {
        for (position, code) in RefusalCode::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), position + 1, "no gaps: a number is never used again");
            assert_eq!(RefusalCode::from_number(u64::from(code.number())), Some(*code));
            assert!(RefusalCode::ALL.iter().filter(|other| other.name() == code.name()).count() == 1);
        }
        assert_eq!(RefusalCode::from_number(0), None);
        assert_eq!(RefusalCode::from_number(RefusalCode::ALL.len() as u64 + 1), None);
    }

    #[test]
    fn the_document_lists_every_code() {
        let document = include_str!("../../../docs/protocol.md");
        for code in RefusalCode::ALL {
            let row = format!("| {} | `{}` |", code.number(), code.name());
            assert!(document.contains(&row), "docs/protocol.md lacks the row {row}");
        }
    }
}
