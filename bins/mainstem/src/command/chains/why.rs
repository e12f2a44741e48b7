//! `mainstem why`: why a chain is behind, step by step from its source to the log.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use engine::chain::ChainId;
use rest::status::{History, State, Why as Document};

use crate::clock::unix_millis;
use crate::codes::is_closed_output;
use crate::command::Which;
use crate::command::words::{ago, printable};

const EXAMPLES: &str = "\
Examples:
  mainstem why tDVV          why the chain tDVV is behind
  mainstem why 1866392       the same, by its number
  mainstem why tDVV --json   what GET /v1/chains/{id}/why answers

Exit codes: 0 the chain is live, 1 it is not, or is not registered, 5 no node answers. `mainstem explain MS-30nn` says more of a reason.";

/// Say why a chain is behind: what is known at each step from its source to the log, what was tried, what to do
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Why {
    /// The chain: its id in base58 or as a number
    chain: ChainId,
    #[command(flatten)]
    which: Which,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Changes that are shown.
const MAX_CHANGES: usize = 8;

impl Why {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let client = self.which.client()?;
        let why = client.why(self.chain)?;
        let code = ExitCode::from(u8::from(why.status.state != State::Live));
        let mut out = stdout().lock();
        let printed = if self.json {
            serde_json::to_writer_pretty(&mut out, &why)
                .map_err(anyhow::Error::from)
                .and_then(|()| Ok(writeln!(out)?))
        } else {
            print(&why, &client.history(self.chain)?, unix_millis(), &mut out)
        };
        match printed {
            // Whoever closed the pipe has seen enough.
            Err(error) if !is_closed_output(&error) => Err(error),
            _ => Ok(code),
        }
    }
}

fn print(why: &Document, history: &History, now: u64, out: &mut impl Write) -> Result<()> {
    let Document { chain, chain_id, name, status, steps, tried } = why;
    let name = if name.is_empty() { String::new() } else { format!(", {}", printable(name)) };
    writeln!(out, "chain {chain} ({chain_id}{name}) is {} for {}", status.state, ago(status.since, now))?;
    writeln!(out, "  reason  {} (MS-30{:02})", status.reason, status.reason.number())?;
    writeln!(out, "          {}", printable(&status.text))?;
    writeln!(out, "  next    {}", printable(&status.next))?;
    writeln!(out)?;
    for step in steps {
        let mark = match step.ok {
            Some(true) => "ok",
            Some(false) => "!!",
            None => "??",
        };
        writeln!(out, "  {:10}  {mark}  {}", step.step, printable(&step.text))?;
    }
    if !tried.is_empty() {
        writeln!(out, "\nWhat the node did about it:")?;
        for tried in tried {
            writeln!(out, "  {} ago, {}: {}", ago(tried.time, now), tried.reason, printable(&tried.text))?;
        }
    }
    if !history.changes.is_empty() {
        writeln!(out, "\nHow it was:")?;
        for change in history.changes.iter().take(MAX_CHANGES) {
            let when = format!("{} ago", ago(change.time, now));
            writeln!(out, "  {when:>16}  {} ({}): {}", change.state, change.reason, printable(&change.text))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rest::status::{Change, Reason, Status, Step, Tried};

    use super::*;

    #[test]
    fn the_chain_of_cause_is_printed_with_what_was_tried_and_what_to_do() {
        let reason = Reason::NoData;
        let why = Document {
            chain_id: 7,
            chain: "3MNX".into(),
            name: "seven\x1b".into(),
            status: Status {
                state: State::Stalled,
                reason,
                text: "nothing came".into(),
                next: "look there".into(),
                since: 1_000,
            },
            steps: vec![Step { step: "source".into(), ok: Some(false), text: "far".into() }],
            tried: vec![Tried { time: 31_000, reason, text: "asked again".into() }],
        };
        let change = Change { time: 1_000, state: State::Stalled, reason, text: "nothing came".into() };
        let mut out = Vec::new();
        print(&why, &History { changes: vec![change] }, 61_000, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "chain 3MNX (7, seven?) is stalled for 1 min 0 s\n  reason  no-data (MS-3010)\n          nothing came\n  \
             next    look there\n\n  source      !!  far\n\nWhat the node did about it:\n  30 s ago, no-data: asked \
             again\n\nHow it was:\n     1 min 0 s ago  stalled (no-data): nothing came\n"
        );
    }
}
