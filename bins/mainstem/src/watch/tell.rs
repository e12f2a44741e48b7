//! Log lines about chains: one for each change, and one for many that change alike within a second.

use std::collections::BTreeMap;

use engine::chain::ChainId;
use rest::status::{Reason, State};

use super::board::Changed;
use super::words::is_bad;

/// Changes that wait to be told.
#[derive(Debug, Default)]
pub(super) struct Teller(BTreeMap<Reason, Pending>);

#[derive(Debug, Default)]
struct Pending {
    /// The first ones, with what they were before and their words.
    first: Vec<(ChainId, Reason, String)>,
    count: usize,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) reason: Reason,
    /// None where it stands for many.
    pub(super) chain: Option<ChainId>,
    pub(super) count: usize,
    pub(super) text: String,
    /// Whether it is for those who look closely.
    pub(super) is_detail: bool,
}

/// So many alike have a line each.
const MAX_LINES: usize = 4;

impl Teller {
    pub(super) fn hear(&mut self, changes: Vec<Changed>) {
        for Changed { chain, before, change } in changes {
            let pending = self.0.entry(change.reason).or_default();
            pending.count += 1;
            if pending.first.len() < MAX_LINES {
                pending.first.push((chain, before, change.text));
            }
        }
    }

    /// The lines for all that was heard.
    pub(super) fn lines(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (reason, Pending { first, count }) in std::mem::take(&mut self.0) {
            let (state, next) = (reason.state(), reason.remedy());
            if count <= MAX_LINES {
                for (chain, before, text) in first {
                    // How fast a chain is, is no news each time.
                    let is_detail = is_pace(state) && is_pace(before.state());
                    let next = if is_bad(state) { format!("; {next}") } else { String::new() };
                    let next = next.replace("CHAIN", &chain.to_string());
                    let text = format!("chain {chain} is {state} ({reason}): {text}{next}");
                    lines.push(Line { reason, chain: Some(chain), count: 1, text, is_detail });
                }
            } else {
                let is_detail = is_pace(state) && first.iter().all(|(_, before, _)| is_pace(before.state()));
                let named: Vec<_> = first.iter().map(|(chain, ..)| chain.to_string()).collect();
                let text = format!(
                    "{count} chains are {state} ({reason}): {} and {} more. {}",
                    named.join(", "),
                    count - first.len(),
                    reason.meaning()
                );
                lines.push(Line { reason, chain: None, count, text, is_detail });
            }
        }
        lines
    }

    /// Writes them.
    pub(super) fn tell(&mut self) {
        for Line { reason, chain, count, text, is_detail } in self.lines() {
            let (state, chain) = (reason.state().name(), chain.map(|chain| chain.to_string()));
            let reason_name = reason.name();
            if is_detail {
                tracing::debug!(chain, state, reason = reason_name, chains = count, "{text}");
            } else if is_bad(reason.state()) {
                tracing::warn!(chain, state, reason = reason_name, chains = count, "{text}");
            } else {
                tracing::info!(chain, state, reason = reason_name, chains = count, "{text}");
            }
        }
    }
}

fn is_pace(state: State) -> bool {
    matches!(state, State::Live | State::CatchingUp)
}

#[cfg(test)]
mod tests {
    use rest::status::Change;

    use super::*;

    fn changes(count: u32, before: Reason, reason: Reason) -> Vec<Changed> {
        let change = Change { time: 1, state: reason.state(), reason, text: "words".into() };
        (1..=count).map(|id| Changed { chain: ChainId(id), before, change: change.clone() }).collect()
    }

    #[test]
    fn a_few_changes_have_a_line_each_and_many_share_one() {
        let mut teller = Teller::default();
        teller.hear(changes(4, Reason::InStep, Reason::NoData));
        let lines = teller.lines();
        assert_eq!(lines.len(), 4);
        let chain = ChainId(1);
        assert!(lines[0].text.starts_with(&format!("chain {chain} is stalled (no-data): words; see")));

        teller.hear(changes(5_000, Reason::InStep, Reason::ConnectionLost));
        teller.hear(changes(5_000, Reason::InStep, Reason::ConnectionLost));
        let lines = teller.lines();
        assert_eq!((lines.len(), lines[0].count, lines[0].chain), (1, 10_000, None));
        assert!(lines[0].text.contains("and 9996 more. The connection to"), "{lines:?}");
        assert!(teller.lines().is_empty(), "told once");
    }

    #[test]
    fn how_fast_a_chain_is_is_told_to_those_who_look_closely() {
        let mut teller = Teller::default();
        teller.hear(changes(1, Reason::Behind, Reason::InStep));
        assert!(teller.lines()[0].is_detail);
        teller.hear(changes(1, Reason::NeverConnected, Reason::InStep));
        assert!(!teller.lines()[0].is_detail);
    }
}
