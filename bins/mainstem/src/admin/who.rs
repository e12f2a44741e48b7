//! Who asks for a change.

use std::fmt;

/// Who asks: goes with each request, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A process of this machine, by the socket; as the kernel names it.
    Process {
        /// Its user.
        uid: u32,
        /// Its number, where the system tells.
        pid: Option<i32>,
    },
    /// Whoever holds the secret, by the API's address.
    Token,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, pid: Some(pid) } => write!(f, "uid {uid} pid {pid}"),
            Self::Process { uid, pid: None } => write!(f, "uid {uid}"),
            Self::Token => f.write_str("token"),
        }
    }
}
