//! Which code and which exit code an error has, by its type; or by what the place that made it says.

use std::fmt;
use std::io::{self, Write as _, stderr};

use super::Code;
use crate::admin::{ClientError, PausedError, SecretError, SocketError};
use crate::keys::FileError;
use crate::settings::{ConfigError, Problem};
use crate::snapshot::SnapshotError;

/// How the process ends: `docs/errors/README.md` has the table, with those that commands have of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// It failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Data is damaged.
    Damaged = 3,
    /// Data is of another version.
    Upgrade = 4,
    /// No node answers.
    Unreachable = 5,
}

impl Exit {
    /// What an error with this code ends with.
    pub(crate) fn of(code: Code) -> Self {
        match code.number() {
            1001..=1005 | 1101..=1107 | 4013 | 7002 | 7003 => Self::Usage,
            5004 | 5008..=5012 | 5019 | 5022 | 5102 => Self::Damaged,
            5021 | 5103 => Self::Upgrade,
            2101 | 2102 => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

/// An error whose place knows its code. It says what the error within it says.
#[derive(Debug)]
struct Coded {
    code: Code,
    error: anyhow::Error,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With its causes: they are not told again, since it has no source of its own.
        f.write_str(&words(&self.error))
    }
}

impl std::error::Error for Coded {}

/// Says the code of an error where it is made.
pub(crate) trait WithCode<T> {
    /// With the code of this number, unless the error knows a more exact one.
    fn code(self, number: u16) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithCode<T> for Result<T, E> {
    fn code(self, number: u16) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            match Code::of_number(number) {
                Some(code) if known(&error).is_none() => Coded { code, error }.into(),
                _ => error,
            }
        })
    }
}

/// An error that says more of one of the log, with that one's code.
pub(crate) fn as_storage(of: &storage::Error, error: anyhow::Error) -> anyhow::Error {
    Coded { code: of_storage(of), error }.into()
}

/// The code of an error; that of a command that failed where nothing better is known.
pub(crate) fn of(error: &anyhow::Error) -> Code {
    known(error).unwrap_or(Code(7001))
}

fn known(error: &anyhow::Error) -> Option<Code> {
    // The outermost that has one: it knows best what was tried. `Context` hides what it is put on from `chain`.
    let top = error.downcast_ref::<Coded>().map(|coded| coded.code);
    top.or_else(|| error.chain().find_map(one)).or_else(|| {
        let storage = error.downcast_ref::<storage::Error>().map(of_storage);
        storage.or_else(|| error.downcast_ref::<ConfigError>().and_then(of_settings))
    })
}

fn one(error: &(dyn std::error::Error + 'static)) -> Option<Code> {
    let code = |number| Some(Code(number));
    if let Some(coded) = error.downcast_ref::<Coded>() {
        return Some(coded.code);
    }
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return of_settings(error);
    }
    if let Some(error) = error.downcast_ref::<storage::Error>() {
        return Some(of_storage(error));
    }
    if let Some(error) = error.downcast_ref::<rest::Error>() {
        return match error {
            rest::Error::Unreachable { .. } => code(2101),
            rest::Error::Problem(problem) => Code::of_problem(problem.kind()),
            _ => code(2102),
        };
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return match error {
            ClientError::NotReachable { .. } => code(2101),
            ClientError::NotANode { .. } => code(2102),
            ClientError::NotAllowed { .. } => code(2103),
            ClientError::Problem { kind, .. } => Code::of_problem(kind),
        };
    }
    if error.is::<SocketError>() {
        return code(1204);
    }
    if error.is::<SecretError>() {
        return code(1107);
    }
    if error.is::<FileError>() {
        return code(1105);
    }
    if error.is::<PausedError>() {
        return code(1106);
    }
    if let Some(error) = error.downcast_ref::<SnapshotError>() {
        return match error {
            SnapshotError::Target { .. } | SnapshotError::Io { .. } => code(5101),
            SnapshotError::Damaged { .. } => code(5102),
            SnapshotError::Version { .. } => code(5103),
            SnapshotError::Log(error) => Some(of_storage(error)),
        };
    }
    if error.is::<net::identity::IdentityError>() {
        return code(1104);
    }
    None
}

fn of_settings(error: &ConfigError) -> Option<Code> {
    error.problems.first().map(of_problem)
}

fn of_problem(problem: &Problem) -> Code {
    Code(match problem {
        Problem::Unreadable { .. } => 1001,
        Problem::Syntax { .. } => 1002,
        Problem::Unknown { .. } => 1003,
        Problem::Value { .. } => 1004,
    })
}

fn of_storage(error: &storage::Error) -> Code {
    use storage::Error;
    Code(match error {
        Error::Io { source, .. } if is_full(source) => 5013,
        Error::Io { .. } => 5001,
        Error::Locked { .. } => 5002,
        Error::NoLog { .. } => 5003,
        Error::LogFileLost { .. } => 5004,
        Error::WrongGenesis { .. } => 5005,
        Error::WrongChain { .. } => 5006,
        Error::SegmentBytes { .. } => 5007,
        Error::Damaged { .. } if error.other_version().is_some() => 5021,
        Error::Damaged { .. } => 5008,
        // Of a segment that a newer program wrote, too.
        Error::Lost { cause, .. } => match of_storage(cause) {
            Code(5021) => 5021,
            _ => 5009,
        },
        Error::Missing { .. } => 5010,
        Error::SegmentLength { .. } => 5011,
        Error::Shrunk { .. } => 5012,
        Error::DiskFull { .. } => 5013,
        Error::TooLarge { .. } => 5014,
        Error::Refused { .. } => 5015,
        Error::Indexed { .. } => 5016,
        Error::NoSuchBlock { .. } => 5017,
        Error::Irreversible { .. } => 5018,
        Error::History(_) => 5019,
        Error::Failed { .. } => 5020,
        Error::Operations { .. } => 5022,
    })
}

/// Whether the disk, or what may be used of it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An error with its causes, each told once: many errors tell their own cause already.
pub(super) fn words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    // What a node says to those who ask over HTTP.
    for (route, command) in [("GET /v1/chains", "`mainstem chains`"), ("GET /v1/peers", "`mainstem peers`")] {
        text = text.replace(&format!("{route} lists"), &format!("{command} lists"));
    }
    text
}

/// Whether standard output takes no more. Errors of what else can be closed are of types of their own.
pub(crate) fn is_closed_output(error: &anyhow::Error) -> bool {
    let plain = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let json = || error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    plain.or_else(json) == Some(io::ErrorKind::BrokenPipe)
}

/// Says an error on standard error, with its code, and gives how the process ends by it.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    Exit::of(say(error))
}

/// Says an error on standard error, with its code, for those that go on or end in a way of their own.
pub(crate) fn say(error: &anyhow::Error) -> Code {
    let code = of(error);
    let mut text = Vec::new();
    // What is wrong with a configuration is told at once, each with its own code.
    if let Some(settings) = error.downcast_ref::<ConfigError>() {
        for problem in &settings.problems {
            let _ = writeln!(text, "error[{}]: {problem}", of_problem(problem));
        }
    } else {
        for (position, line) in words(error).lines().enumerate() {
            let start = if position == 0 { format!("error[{code}]:") } else { " ".to_owned() };
            let _ = writeln!(text, "{start} {line}");
        }
    }
    // Whoever closed standard error has the exit code.
    let _ = stderr().write_all(&text);
    code
}
