//! What is said of a chain: the reason in words, with the figures.

use std::time::Duration;

use rest::status::{Reason, State};

use super::row::Row;

/// The reason in words, with the figures: one sentence, without the chain's name.
pub(super) fn text(row: &Row, now: Duration) -> String {
    let (received, durable) = (row.received, row.durable);
    let lag = row.lag_blocks().unwrap_or_else(|| received.saturating_sub(durable));
    let tip = row.tip.unwrap_or(received);
    let node = || match &row.seats.speaker {
        Some(speaker) => {
            format!("node {} at {}", &speaker.key.to_string()[..8], speaker.peer.address)
        }
        None => "its node".to_owned(),
    };
    let silent = span(row.silent(now));
    let seen = if row.last_block().is_some() { format!("for {silent}") } else { "yet".to_owned() };
    match row.reason {
        Reason::InStep if lag == 0 && durable < row.side.first_height.0 => "no block has come yet".to_owned(),
        Reason::InStep if lag == 0 => format!("durable up to {durable}, all that its node has"),
        Reason::InStep => format!("durable up to {durable}, {lag} on their way"),
        Reason::Quiet => format!("nothing new {seen}; durable up to {durable}, all that its node has"),
        Reason::Behind => {
            format!("durable up to {durable}, {lag} behind its node's {tip}, at {} blocks/s", row.rate())
        }
        Reason::HeldByRules => {
            let held = row.finalized.saturating_sub(durable);
            format!("{} waiting; by AElf's rules it begins once more than 256 do", blocks(held, "first "))
        }
        Reason::NoData => {
            let missing = tip.saturating_sub(received);
            format!("{} has {} up to {tip}, and none has come {seen}", node(), blocks(missing, "more "))
        }
        Reason::Overdue => {
            let pace = row.usual_pace().unwrap_or_default();
            format!(
                "nothing has come {seen}, where a block came every {}; received up to {received}",
                span(pace)
            )
        }
        Reason::NoAnswer => {
            let heard = row.seats.speaker.as_ref().map_or(Duration::ZERO, |speaker| speaker.heard);
            format!("not one datagram has come from {} for {}", node(), span(now.saturating_sub(heard)))
        }
        Reason::NothingSent => {
            let since = row.seats.speaker.as_ref().map_or(Duration::ZERO, |speaker| speaker.since);
            format!("{} has spoken for it for {} and sent nothing", node(), span(now.saturating_sub(since)))
        }
        Reason::NobodySpeaks => {
            let nodes = row.seats.standbys + row.seats.left;
            format!("{nodes} of its nodes connected, and none of them can send it; received up to {received}")
        }
        Reason::NeverConnected => {
            format!("{} since this node started", none_of_its_nodes(row, "has", "connected"))
        }
        Reason::NodeStopped | Reason::ConnectionLost => absence(row),
        Reason::NotNamed => passed_by(row).unwrap_or_else(|| row.reason.meaning().to_owned()),
        Reason::NoRoom => {
            let held = received.saturating_sub(durable);
            format!(
                "its lane holds {} and has no room; {lag} not durable yet, at {} blocks/s",
                blocks(held, ""),
                row.rate()
            )
        }
        Reason::SealLate | Reason::StoreLate | Reason::NotDecided => {
            let held = row.finalized.saturating_sub(durable);
            let what = match row.reason {
                Reason::SealLate => "to be sealed",
                Reason::StoreLate => "to be stored",
                _ => "for the main chain's node to decide",
            };
            let stage = stage(row, now, &["seal", "append", "sync"]);
            let held = blocks(held, "final ");
            format!("{held} waiting {what} for {}{stage}", span(row.waiting(now)))
        }
        Reason::EngineFailed => format!("a stage of this node gave up; durable up to {durable}"),
        Reason::PausedByOperator | Reason::ConflictRepeated => {
            let held = received.saturating_sub(durable);
            let why = match (&row.quarantined, row.reason) {
                (Some(why), Reason::ConflictRepeated) => format!(": {why}"),
                _ => String::new(),
            };
            format!("paused at {durable}; {} waiting in its lane{why}", blocks(held, ""))
        }
        _ => refused(row),
    }
}

/// That no node of the chain does something, or its only one does not.
pub(super) fn none_of_its_nodes(row: &Row, does: &str, what: &str) -> String {
    match row.side.nodes.len() {
        1 => format!("its registered node {does} not {what}"),
        nodes => format!("none of its {nodes} registered nodes {does} {what}"),
    }
}

/// So many blocks of a kind, in words.
pub(super) fn blocks(count: u64, kind: &str) -> String {
    format!("{count} {kind}{}", if count == 1 { "block" } else { "blocks" })
}

/// A refusal: what was said to the node.
fn refused(row: &Row) -> String {
    let reason = row.reason;
    if let Some(refusal) = row.refusal.as_ref().filter(|refusal| refusal.code.name() == reason.name()) {
        let times = if refusal.count > 1 { format!(" ({} times)", refusal.count) } else { String::new() };
        let node = &refusal.key.to_string()[..8];
        // The chain is named beside it.
        let detail = refusal.detail.split_once(": ").map_or(&*refusal.detail, |(_, rest)| rest);
        return format!("node {node} was refused{times}: {detail}");
    }
    if let Some(stranger) = row.stranger.as_ref().filter(|_| reason == Reason::UnknownKey) {
        let (node, times) = (&stranger.key.to_string()[..8], stranger.count);
        return format!(
            "none of its nodes has come; node {node}, whose key is not registered for it, named it ({times} times): its \
             own node with a wrong key, or one of another chain"
        );
    }
    match &row.gone {
        Some(gone) => format!("node {} was turned away: {}", &gone.key.to_string()[..8], gone.detail),
        None => reason.meaning().trim_end_matches('.').to_owned(),
    }
}

/// That a node of the chain has not named it, if so it is.
pub(super) fn passed_by(row: &Row) -> Option<String> {
    let (session, here) = row.passed_by()?;
    let is = if here { "is connected and does not name" } else { "was connected and did not name" };
    Some(format!(
        "its node {} {is} this chain; received up to {}",
        &session.key.to_string()[..8],
        row.received
    ))
}

fn absence(row: &Row) -> String {
    let Some(gone) = &row.gone else { return row.reason.meaning().to_owned() };
    let (node, received) = (&gone.key.to_string()[..8], row.received);
    let detail = if gone.detail.is_empty() { String::new() } else { format!(": {}", gone.detail) };
    match row.reason {
        Reason::NodeStopped => format!("node {node} ended its session; received up to {received}"),
        _ => format!("the connection to node {node} was lost{detail}; received up to {received}"),
    }
}

/// The stage that stands still, if it is one of these, as the end of a sentence.
pub(super) fn stage(row: &Row, now: Duration, of: &[&str]) -> String {
    match row.blamed {
        Some((stage, since)) if of.contains(&stage) => {
            format!("; stage {stage} has stood for {}", span(now.saturating_sub(since)))
        }
        _ => String::new(),
    }
}

/// What to do about it.
pub(super) fn next(row: &Row) -> String {
    row.reason.remedy().replace("CHAIN", &row.side.id.to_string())
}

/// Whether people should be warned of a state.
pub(super) fn is_bad(state: State) -> bool {
    !matches!(state, State::Live | State::CatchingUp | State::Paused)
}

/// A time in words: two digits or two units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_is_not_called_several() {
        assert_eq!(blocks(1, "final "), "1 final block");
        assert_eq!((blocks(0, ""), blocks(2, "more ")), ("0 blocks".into(), "2 more blocks".into()));
    }
}
