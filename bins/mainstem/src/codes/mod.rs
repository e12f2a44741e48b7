//! Error codes: each error that people meet has a number that never gets another meaning, and a page that says what it
//! means, why it happens and what to do. The pages are `docs/errors/MS-*.md`, compiled in.
//!
//! | range | what |
//! |---|---|
//! | 1xxx | configuration and start |
//! | 20nn | refusal code nn of the protocol |
//! | 21nn | connections |
//! | 30nn | reason nn of a chain's state |
//! | 4xxx | problems of the API, by kind |
//! | 5xxx | log, snapshots and storage |
//! | 6xxx | external mode |
//! | 7xxx | commands |

mod classify;

use std::fmt;

#[cfg(test)]
pub(crate) use classify::of;
#[cfg(test)]
use classify::{Exit, words};
pub(crate) use classify::{WithCode, as_storage, is_closed_output, report, say};

#[cfg(test)]
use net::control::RefusalCode;
#[cfg(test)]
use rest::status::Reason;

/// A code. Shown as `MS-1204`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Code(u16);

/// A code with what is said of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The code.
    pub code: Code,
    /// Its name: that of the problem, the reason or the refusal where it is one.
    pub name: &'static str,
    /// Its page, in Markdown.
    pub page: &'static str,
}

impl Entry {
    /// The page's headline without the code.
    pub(crate) fn title(&self) -> &'static str {
        let line = self.page.lines().next().unwrap_or_default();
        line.split_once(": ").map_or(line, |(_, title)| title)
    }
}

impl Code {
    /// The code with this number, if there is one.
    pub(crate) fn of_number(number: u16) -> Option<Self> {
        entry(number).map(|entry| entry.code)
    }

    /// Of a refusal of the protocol.
    #[cfg(test)]
    pub(crate) fn of_refusal(refusal: RefusalCode) -> Self {
        Self(2000 + refusal.number())
    }

    /// Of a reason of a chain's state.
    #[cfg(test)]
    pub(crate) fn of_reason(reason: Reason) -> Self {
        Self(3000 + reason.number())
    }

    /// Of a problem of the API, or of the external mode, by its kind.
    pub(crate) fn of_problem(kind: &str) -> Option<Self> {
        let problems = TABLE.iter().filter(|entry| matches!(entry.code.0 / 1000, 4 | 6));
        problems.filter(|entry| entry.name == kind).map(|entry| entry.code).next()
    }

    /// Its page.
    pub(crate) fn entry(self) -> &'static Entry {
        entry(self.0).expect("a code is made of the table, whose tests know all refusals and reasons")
    }

    const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MS-{:04}", self.0)
    }
}

/// All codes that a text names: `MS-1204`, `ms1204` and `1204` one, a name those that share it, by number.
///
/// # Errors
/// There is none.
pub(crate) fn named(text: &str) -> Result<Vec<&'static Entry>, NoSuchCode> {
    let upper = text.to_ascii_uppercase();
    let digits = upper.strip_prefix("MS").unwrap_or(&upper);
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    let number = digits.parse().ok().and_then(Code::of_number);
    let entries: Vec<_> = match number {
        Some(code) => vec![code.entry()],
        None => TABLE.iter().filter(|entry| entry.name == text).collect(),
    };
    if entries.is_empty() { Err(NoSuchCode(text.chars().take(80).collect())) } else { Ok(entries) }
}

/// A text that names no code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no error code: expected one such as MS-1204; `mainstem explain` lists them")]
pub(crate) struct NoSuchCode(String);

fn entry(number: u16) -> Option<&'static Entry> {
    TABLE.binary_search_by_key(&number, |entry| entry.code.0).ok().map(|position| &TABLE[position])
}

macro_rules! codes {
    ($($number:literal, $name:literal;)+) => {
        /// All codes, by number.
        pub(crate) const TABLE: &[Entry] = &[$(Entry {
            code: Code($number),
            name: $name,
            page: include_str!(concat!("../../../../docs/errors/MS-", $number, ".md")),
        },)+];
    };
}

codes! {
    1001, "settings-unreadable";
    1002, "settings-syntax";
    1003, "unknown-setting";
    1004, "setting-value";
    1005, "settings-together";
    1101, "genesis-unreadable";
    1102, "genesis-invalid";
    1103, "key-missing";
    1104, "key-unusable";
    1105, "keys-file";
    1106, "chains-file";
    1107, "token-file";
    1201, "ingest-address";
    1202, "api-address";
    1203, "external-address";
    1204, "admin-socket";
    1205, "threads";
    1206, "signals";
    1207, "not-resumable";
    2001, "unknown-key";
    2002, "unknown-chain";
    2003, "wrong-version";
    2004, "bad-frame";
    2005, "bad-message";
    2006, "wrong-height";
    2007, "wrong-parent";
    2008, "conflict";
    2009, "above-limit";
    2010, "not-speaker";
    2011, "no-chain";
    2012, "too-slow";
    2013, "busy";
    2014, "superseded";
    2015, "shutting-down";
    2016, "revoked";
    2101, "node-not-reachable";
    2102, "not-a-node";
    2103, "not-allowed";
    3001, "in-step";
    3002, "quiet";
    3003, "behind";
    3004, "held-by-rules";
    3010, "no-data";
    3011, "overdue";
    3012, "no-answer";
    3013, "nothing-sent";
    3014, "nobody-speaks";
    3020, "unknown-key";
    3021, "unknown-chain";
    3022, "wrong-height";
    3023, "wrong-parent";
    3024, "conflict";
    3025, "above-limit";
    3026, "not-speaker";
    3030, "wrong-version";
    3031, "bad-frame";
    3032, "bad-message";
    3033, "no-chain";
    3034, "too-slow";
    3035, "busy";
    3036, "superseded";
    3037, "revoked";
    3040, "never-connected";
    3041, "node-stopped";
    3042, "connection-lost";
    3043, "not-named";
    3050, "no-room";
    3060, "seal-late";
    3061, "store-late";
    3062, "not-decided";
    3063, "engine-failed";
    3070, "paused-by-operator";
    3080, "conflict-repeated";
    4001, "invalid-parameter";
    4002, "invalid-body";
    4003, "not-a-proof";
    4004, "no-route";
    4005, "method-not-allowed";
    4006, "body-too-large";
    4007, "timeout";
    4008, "http";
    4009, "internal";
    4010, "busy";
    4011, "unauthorized";
    4012, "conflict";
    4013, "invalid-settings";
    4014, "not-running";
    4015, "change-failed";
    4016, "unsupported-encoding";
    4020, "unknown-chain";
    4021, "no-such-block";
    4022, "no-such-session";
    4023, "not-indexed";
    4024, "pruned";
    4025, "not-yet";
    4026, "unknown-transaction";
    4027, "proof-too-long";
    4028, "no-aelf-root";
    4029, "too-many-blocks";
    4030, "no-node-connected";
    4031, "source-too-slow";
    4032, "source-failed";
    4033, "wrong-answer";
    4034, "unsupported";
    4035, "not-traced";
    4036, "no-such-head";
    5001, "log-io";
    5002, "log-locked";
    5003, "no-log";
    5004, "log-file-lost";
    5005, "wrong-genesis";
    5006, "wrong-chain";
    5007, "segment-bytes";
    5008, "log-damaged";
    5009, "blocks-lost";
    5010, "file-missing";
    5011, "segment-length";
    5012, "segment-shrunk";
    5013, "disk-full";
    5014, "block-too-large";
    5015, "block-refused";
    5016, "indexed-before";
    5017, "no-such-height";
    5018, "irreversible";
    5019, "history-unreadable";
    5020, "log-failed";
    5021, "log-version";
    5022, "operations-lost";
    5101, "snapshot-target";
    5102, "snapshot-damaged";
    5103, "snapshot-version";
    6001, "mode-mismatch";
    6002, "external-exposed";
    6003, "unknown-parent";
    6004, "not-on-head";
    6005, "invalid-block";
    6006, "behind";
    6007, "too-deep";
    6008, "failed";
    7001, "command-failed";
    7002, "usage";
    7003, "unknown-code";
    7004, "history-rewritten";
}

#[cfg(test)]
mod tests;
