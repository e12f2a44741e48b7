//! The chain of cause: what is known at each step from a chain's source to the log.

use std::time::Duration;

use rest::status::{Reason, State, Step, Why};

use super::row::Row;
use super::words::{blocks, none_of_its_nodes, passed_by, span, stage};

/// What is known of a chain, step by step.
pub(super) fn why(row: &Row, now: Duration) -> Why {
    let step = |step: &str, (ok, text): (Option<bool>, String)| Step { step: step.to_owned(), ok, text };
    Why {
        chain_id: row.side.id.0,
        chain: row.side.id.to_string(),
        name: row.side.name.clone(),
        status: row.status(now),
        steps: vec![
            step("source", source(row, now)),
            step("tributary", tributary(row)),
            step("connection", connection(row, now)),
            step("lane", lane(row, now)),
            step("seal", seal(row, now)),
            step("store", store(row, now)),
        ],
        tried: row.tried(),
    }
}

type Known = (Option<bool>, String);

fn source(row: &Row, now: Duration) -> Known {
    let Some(tip) = row.tip else { return (None, "it has not told how far it is".to_owned()) };
    let last = if row.seats.speaker.is_some() { "" } else { ", when it was last heard of" };
    // What has come since counts, though it tells only once a second.
    let text = format!("its newest irreversible block is {}{last}", tip.max(row.received));
    match row.reason {
        Reason::Overdue => {
            let silent = span(row.silent(now));
            (Some(false), format!("{text}; it has made none for {silent}, as far as one can see"))
        }
        _ => (last.is_empty().then_some(true), text),
    }
}

fn tributary(row: &Row) -> Known {
    let seats = &row.seats;
    if let Some(speaker) = &seats.speaker {
        let software = if speaker.peer.software.is_empty() {
            "software that does not say its name"
        } else {
            &speaker.peer.software
        };
        let others = match (seats.standbys, seats.left) {
            (0, 0) => String::new(),
            (standbys, 0) => format!("; {standbys} stand by"),
            (standbys, left) => format!("; {standbys} stand by, {left} have given it up"),
        };
        let text = format!("node {} speaks for it, {software}{others}", &speaker.key.to_string()[..8]);
        return match row.refusal.as_ref().filter(|_| row.reason.state() == State::Refused) {
            Some(refusal) => {
                (Some(false), format!("{text}; refused {} times: {}", refusal.count, refusal.detail))
            }
            None => (Some(true), text),
        };
    }
    let refusal = row.refusal.as_ref().map_or_else(String::new, |refusal| {
        format!(
            "; node {} was refused {} times: {}",
            &refusal.key.to_string()[..8],
            refusal.count,
            refusal.detail
        )
    });
    if seats.standbys + seats.left > 0 {
        let (standbys, left) = (seats.standbys, seats.left);
        return (
            Some(false),
            format!("nobody speaks for it: {standbys} stand by, {left} have given it up{refusal}"),
        );
    }
    if seats.refused.is_some() {
        return (Some(false), format!("the nodes that name it are refused{refusal}"));
    }
    let stranger = row.stranger.as_ref().map_or_else(String::new, |stranger| {
        let (node, times) = (&stranger.key.to_string()[..8], stranger.count);
        format!("; node {node}, whose key is not registered for it, named it {times} times")
    });
    let none = match row.passed_by() {
        Some((session, true)) => {
            format!("node {} is here and has not named it", &session.key.to_string()[..8])
        }
        _ => none_of_its_nodes(row, "is", "here"),
    };
    (Some(false), format!("{none}{refusal}{stranger}"))
}

fn connection(row: &Row, now: Duration) -> Known {
    if let Some(speaker) = &row.seats.speaker {
        let heard = span(now.saturating_sub(speaker.heard));
        let since = span(now.saturating_sub(speaker.since));
        let text = format!("{} since {since}; something came {heard} ago", speaker.peer.address);
        return (Some(row.reason != Reason::NoAnswer), text);
    }
    match &row.gone {
        None if row.seats.standbys + row.seats.left > 0 || row.seats.refused.is_some() => {
            (Some(true), "nodes that named it are connected".to_owned())
        }
        None => (
            Some(false),
            passed_by(row).unwrap_or_else(|| "there was none since this node started".to_owned()),
        ),
        Some(gone) => {
            let node = &gone.key.to_string()[..8];
            let how = if gone.detail.is_empty() { "ended by it, in order" } else { &gone.detail };
            (Some(false), format!("the last one, of node {node}: {how}"))
        }
    }
}

fn lane(row: &Row, now: Duration) -> Known {
    let held = row.received.saturating_sub(row.durable);
    let places = row.limit.saturating_sub(row.durable);
    let paused = if row.lane.is_paused() { "; paused" } else { "" };
    let last = match row.last_block() {
        Some(_) => format!("the last block came {} ago", span(row.silent(now))),
        None => "no block came since this node started".to_owned(),
    };
    let evidence =
        row.evidence.as_ref().map_or_else(String::new, |evidence| format!("; evidence: {evidence}"));
    let ok = !matches!(row.reason.state(), State::LaneFull | State::Paused | State::Quarantined);
    let text = format!(
        "received up to {}, {held} of {places} places taken{paused}; {last}{evidence}{}",
        row.received,
        stage(row, now, &["ingest"])
    );
    (Some(ok), text)
}

fn seal(row: &Row, now: Duration) -> Known {
    let waits = row.finalized.saturating_sub(row.durable);
    let ok = !matches!(row.reason, Reason::SealLate | Reason::NotDecided | Reason::EngineFailed);
    if waits == 0 {
        return (Some(ok), "nothing waits to be sealed or stored".to_owned());
    }
    let waits = blocks(waits, "final ");
    // The clock of what waits stands still then.
    if matches!(row.reason.state(), State::Paused | State::Quarantined) {
        return (Some(ok), format!("{waits} waiting, and none is sealed as long as it is paused"));
    }
    (
        Some(ok),
        format!(
            "{waits} waiting to be sealed or stored, none of them moved for {}{}",
            span(row.waiting(now)),
            stage(row, now, &["seal"])
        ),
    )
}

fn store(row: &Row, now: Duration) -> Known {
    let ok = !matches!(row.reason, Reason::StoreLate | Reason::EngineFailed);
    let lag = match (row.lag_blocks(), row.lag_seconds(now)) {
        (Some(lag), Some(seconds)) if lag > 0 => {
            format!(", {lag} blocks and {seconds:.1} s behind its source")
        }
        _ => String::new(),
    };
    let stage = stage(row, now, &["append", "sync"]);
    (Some(ok), format!("durable up to {}{lag}, at {} blocks/s{stage}", row.durable, row.rate()))
}
