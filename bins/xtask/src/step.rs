//! Steps: named pieces of work, run one after the other with a banner each and a table at the end.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Result;

/// One step of a chore.
pub(crate) struct Step {
    /// Short name, as in the table.
    pub(crate) name: &'static str,
    /// What it shows, one line, for the banner.
    pub(crate) about: &'static str,
    /// What it does.
    pub(crate) work: Work,
    /// What to do when it fails.
    pub(crate) hint: &'static str,
}

/// What a step does.
pub(crate) enum Work {
    /// Another program, whose exit code is the step's.
    Program(Command),
    /// Our own code; an error is exit code 1, unless it is [`Unavailable`].
    Own(fn() -> Result<()>),
    /// Nothing, for this reason, which the table shows.
    LeftOut(&'static str),
}

/// The error of our own code that what it needs cannot be had here, say because no registry is reached: its step is left out
/// for this reason, as one that is known beforehand not to be possible. Where `CI=true` it fails: there everything is to be had.
#[derive(Debug)]
pub(crate) struct Unavailable(pub(crate) String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

enum Outcome {
    Ok(Duration),
    Failed(u8, Duration),
    LeftOut(Cow<'static, str>),
    NotRun,
}

/// Runs the steps in order up to the first failure; the exit code is that step's, or 0.
pub(crate) fn run(steps: Vec<Step>) -> ExitCode {
    let of = steps.len();
    let mut outcomes = Vec::with_capacity(of);
    let mut failed = None;
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    for (before, step) in steps.into_iter().enumerate() {
        let Step { name, about, work, hint } = step;
        if failed.is_some() {
            outcomes.push((name, Outcome::NotRun));
            continue;
        }
        println!("\n==== {}/{of} {name}: {about}", before + 1);
        let outcome = run_one(work, ci);
        if let Outcome::Failed(code, _) = outcome {
            failed = Some((name, code, hint));
        }
        outcomes.push((name, outcome));
    }
    if of > 1 {
        println!("\n{}", table(&outcomes));
    }
    let Some((name, code, hint)) = failed else { return ExitCode::SUCCESS };
    eprintln!("error: step `{name}` failed with exit code {code}");
    if !hint.is_empty() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(code)
}

fn run_one(work: Work, ci: bool) -> Outcome {
    let start = Instant::now();
    let code = match work {
        Work::LeftOut(reason) => {
            println!("     LEFT OUT: {reason}");
            return Outcome::LeftOut(reason.into());
        }
        Work::Own(work) => match work() {
            Ok(()) => 0,
            Err(error) if !ci && error.is::<Unavailable>() => {
                let reason = format!("{error:#}");
                println!("     LEFT OUT: {reason}");
                return Outcome::LeftOut(reason.into());
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                1
            }
        },
        Work::Program(mut command) => {
            println!("     {}", shown(&command));
            match command.status() {
                Ok(status) => exit_code(status),
                Err(error) => {
                    eprintln!("error: {} does not start: {error}", command.get_program().display());
                    127
                }
            }
        }
    };
    if code == 0 { Outcome::Ok(start.elapsed()) } else { Outcome::Failed(code, start.elapsed()) }
}

/// The command as one would type it: variables that we set, program, arguments.
fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.display(), quoted(value)));
        }
    }
    let program = Path::new(command.get_program());
    words.push(quoted(program.file_name().unwrap_or(program.as_os_str())));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

/// In quotes where a shell would take the word apart.
fn quoted(word: &OsStr) -> String {
    let word = word.display().to_string();
    if word.contains(['*', ' ']) { format!("'{word}'") } else { word }
}

/// The exit code as a shell gives it: 128 + n for a process ended by signal n.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    // A code outside 0..=255 does not exist on Unix; if it did, it must not become a success.
    u8::try_from(code).unwrap_or(1)
}

fn table(outcomes: &[(&str, Outcome)]) -> String {
    let mut text = format!("{:<12} {:<14} {:>8}\n", "step", "result", "seconds");
    let mut total = Duration::ZERO;
    for (name, outcome) in outcomes {
        let (result, took) = match outcome {
            Outcome::Ok(took) => ("ok".to_owned(), Some(*took)),
            Outcome::Failed(code, took) => (format!("FAILED ({code})"), Some(*took)),
            Outcome::LeftOut(reason) => (format!("LEFT OUT: {reason}"), None),
            Outcome::NotRun => ("not run".to_owned(), None),
        };
        total += took.unwrap_or_default();
        let seconds = took.map(|took| format!("{:.1}", took.as_secs_f64())).unwrap_or_default();
        let line = format!("{name:<12} {result:<14} {seconds:>8}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = write!(text, "{:<12} {:<14} {:>8.1}", "total", "", total.as_secs_f64());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(work: Work) -> Step {
        Step { name: "s", about: "a", work, hint: "" }
    }

    fn shell(script: &str) -> Work {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Work::Program(command)
    }

    #[test]
    fn exit_code_of_the_first_failing_step_is_ours() {
        assert_eq!(
            run(vec![step(shell("exit 0")), step(shell("exit 7")), step(shell("exit 8"))]),
            ExitCode::from(7)
        );
    }

    #[test]
    fn steps_after_a_failure_do_not_run() {
        fn never() -> Result<()> {
            panic!("must not run")
        }
        assert_eq!(run(vec![step(shell("exit 3")), step(Work::Own(never))]), ExitCode::from(3));
    }

    #[test]
    fn step_ended_by_a_signal_fails_as_in_a_shell() {
        assert!(matches!(run_one(shell("kill -9 $$"), true), Outcome::Failed(137, _)));
    }

    #[test]
    fn program_that_is_not_there_fails_as_in_a_shell() {
        let work = Work::Program(Command::new("no-such-program-here"));
        assert!(matches!(run_one(work, true), Outcome::Failed(127, _)));
    }

    #[test]
    fn own_step_that_errs_fails_with_one() {
        assert!(matches!(run_one(Work::Own(|| anyhow::bail!("no")), false), Outcome::Failed(1, _)));
    }

    #[test]
    fn step_that_lacks_what_it_fetches_is_left_out_with_the_reason_but_fails_in_ci() {
        fn offline() -> Result<()> {
            Err(Unavailable("no registry".into()).into())
        }
        let Outcome::LeftOut(reason) = run_one(Work::Own(offline), false) else { panic!("it is left out") };
        assert_eq!(reason, "no registry");
        assert!(matches!(run_one(Work::Own(offline), true), Outcome::Failed(1, _)));
    }

    #[test]
    fn shown_command_can_be_typed() {
        let mut command = Command::new("/some/where/cargo");
        command.args(["test", "--bench", "*"]).env("RUSTDOCFLAGS", "-D warnings").env_remove("GONE");
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo test --bench '*'");
    }

    #[test]
    fn table_tells_every_outcome_and_the_total() {
        let second = Duration::from_secs(1);
        let text = table(&[
            ("fmt", Outcome::Ok(second)),
            ("peers", Outcome::LeftOut("--fast".into())),
            ("test", Outcome::Failed(101, second)),
            ("loom", Outcome::NotRun),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "fmt          ok                  1.0");
        assert_eq!(lines[2], "peers        LEFT OUT: --fast");
        assert_eq!(lines[3], "test         FAILED (101)        1.0");
        assert_eq!(lines[4], "loom         not run");
        assert_eq!(lines[5], "total                            2.0");
    }
}
