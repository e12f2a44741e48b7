//! The judge: from what is observed of a chain to the one reason that says how it is doing. Pure: time is an argument.
//!
//! The cause that is nearest to the log comes first: a chain whose blocks cannot be stored is not told that its lane is
//! full, and one that is paused is told nothing else.

use std::time::Duration;

use net::control::RefusalCode;
use rest::status::Reason;

/// From when on something is not as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Nothing comes although something should.
    pub stalled: Duration,
    /// Not one datagram comes over the speaker's connection.
    pub silent: Duration,
    /// Blocks are final and not durable.
    pub late: Duration,
    /// The lane is full.
    pub full: Duration,
    /// Nothing new comes, as is right.
    pub quiet: Duration,
    /// Blocks from durable to tip.
    pub behind: u64,
}

/// What is known of a chain at a moment.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Observed {
    /// The operator has paused it.
    pub paused: bool,
    /// The node has paused it.
    pub quarantined: bool,
    /// A stage of the engine gave up.
    pub failed: bool,
    /// Another chain's node decides what becomes a main block.
    pub driven: bool,
    /// Main blocks that were sealed wait to be stored.
    pub storing: bool,
    /// The stage of the engine that stands still, if one does.
    pub blamed: Option<&'static str>,
    /// The rules by which blocks are sealed hold its first ones back until more have come.
    pub held_by_rules: bool,
    /// Newest height received, newest final one, newest durable one, and the highest that may be sent.
    pub received: u64,
    pub finalized: u64,
    pub durable: u64,
    pub limit: u64,
    /// The newest height of the speaker's source, if it has told.
    pub tip: Option<u64>,
    /// For how long final blocks have waited and none has become durable.
    pub waiting: Duration,
    /// For how long nothing has arrived, or since the node started.
    pub silent: Duration,
    /// For how long the source has had more, there has been room, and nothing has arrived.
    pub owed: Duration,
    /// For how long the lane has been full, at about every look.
    pub full: Duration,
    /// Whether the distance from durable to tip has become smaller in the last seconds.
    pub gaining: bool,
    /// Whether it was far behind when it was judged last.
    pub was_behind: bool,
    /// The usual time between two arrivals at the tip, if there is one.
    pub pace: Option<Duration>,
    /// Who sends it.
    pub who: Who,
}

/// Who sends a chain's blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// A session speaks for it.
    Speaker {
        /// Since when.
        since: Duration,
        /// For how long no datagram at all has come from it.
        mute: Duration,
        /// Whether it has sent a block or told a tip.
        has_said: bool,
    },
    /// Nodes are connected, and none speaks.
    Nobody,
    /// It is refused to those that are connected, or what they sent last was refused.
    Refused(RefusalCode),
    /// None of its nodes is connected.
    Gone(Gone),
    /// Its node is, or was, connected, and did not name it.
    NotNamed,
}

/// Why none of a chain's nodes is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gone {
    /// None ever was.
    Never,
    /// The last one was refused.
    Refused(RefusalCode),
    /// The last one went.
    Left,
    /// The last connection was lost.
    Lost,
}

/// How many times as long as usual a block may take until it is overdue.
const OVERDUE_AFTER: u32 = 30;

/// Why a chain is as it is.
pub(crate) fn judge(chain: &Observed, limits: &Limits) -> Reason {
    if chain.quarantined {
        return Reason::ConflictRepeated;
    }
    if chain.paused {
        return Reason::PausedByOperator;
    }
    if chain.failed {
        return Reason::EngineFailed;
    }
    if chain.finalized > chain.durable && chain.waiting >= limits.late && !chain.held_by_rules {
        return match (chain.blamed, chain.driven, chain.storing) {
            (Some("append" | "sync"), ..) => Reason::StoreLate,
            (_, true, _) => Reason::NotDecided,
            (Some("seal"), ..) | (_, false, false) => Reason::SealLate,
            (_, false, true) => Reason::StoreLate,
        };
    }
    match chain.who {
        Who::Gone(gone) => of_absence(gone),
        Who::NotNamed => Reason::NotNamed,
        Who::Refused(code) => of_refusal(code),
        Who::Nobody => Reason::NobodySpeaks,
        Who::Speaker { since, mute, has_said } => {
            of_speaker(chain, limits, mute >= limits.silent, !has_said && since >= limits.stalled)
        }
    }
}

/// Of a chain for which somebody speaks, and whose blocks become durable when they come.
fn of_speaker(chain: &Observed, limits: &Limits, mute: bool, said_nothing: bool) -> Reason {
    let (received, durable) = (chain.received, chain.durable);
    let missing = chain.tip.is_some_and(|tip| tip > received);
    if mute {
        return Reason::NoAnswer;
    }
    if received >= chain.limit
        && chain.full >= limits.full
        && !chain.gaining
        && (missing || chain.tip.is_none())
    {
        return Reason::NoRoom;
    }
    if missing && chain.owed >= limits.stalled {
        return Reason::NoData;
    }
    if said_nothing {
        return Reason::NothingSent;
    }
    let overdue = |pace: Duration| chain.silent >= limits.stalled.max(pace * OVERDUE_AFTER);
    if !missing && chain.pace.is_some_and(overdue) {
        return Reason::Overdue;
    }
    if chain.held_by_rules {
        return Reason::HeldByRules;
    }
    // Left only when it is well below, so that it does not come and go.
    let far = if chain.was_behind { limits.behind / 2 } else { limits.behind };
    if chain.tip.is_some_and(|tip| tip.saturating_sub(durable) > far) {
        return Reason::Behind;
    }
    if chain.silent >= limits.quiet { Reason::Quiet } else { Reason::InStep }
}

fn of_absence(gone: Gone) -> Reason {
    match gone {
        Gone::Never => Reason::NeverConnected,
        Gone::Refused(code) => of_refusal(code),
        Gone::Left => Reason::NodeStopped,
        Gone::Lost => Reason::ConnectionLost,
    }
}

/// The reason with the name of a refusal.
pub(crate) fn of_refusal(code: RefusalCode) -> Reason {
    match code {
        RefusalCode::UnknownKey => Reason::UnknownKey,
        RefusalCode::UnknownChain => Reason::UnknownChain,
        RefusalCode::WrongVersion => Reason::WrongVersion,
        RefusalCode::BadFrame => Reason::BadFrame,
        RefusalCode::BadMessage => Reason::BadMessage,
        RefusalCode::WrongHeight => Reason::WrongHeight,
        RefusalCode::WrongParent => Reason::WrongParent,
        RefusalCode::Conflict => Reason::Conflict,
        RefusalCode::AboveLimit => Reason::AboveLimit,
        RefusalCode::NotSpeaker => Reason::NotSpeaker,
        RefusalCode::NoChain => Reason::NoChain,
        RefusalCode::TooSlow => Reason::TooSlow,
        RefusalCode::Busy => Reason::Busy,
        RefusalCode::Superseded => Reason::Superseded,
        RefusalCode::Revoked => Reason::Revoked,
        // We were about to end, and did not: the connection is gone.
        RefusalCode::ShuttingDown => Reason::ConnectionLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const LIMITS: Limits =
        Limits { stalled: s(10), silent: s(45), late: s(10), full: s(5), quiet: s(60), behind: 256 };

    const WELL: Observed = Observed {
        paused: false,
        quarantined: false,
        failed: false,
        driven: false,
        storing: false,
        blamed: None,
        held_by_rules: false,
        received: 100,
        finalized: 100,
        durable: 98,
        limit: 1_122,
        tip: Some(100),
        waiting: Duration::ZERO,
        silent: Duration::ZERO,
        owed: Duration::ZERO,
        full: Duration::ZERO,
        gaining: false,
        was_behind: false,
        pace: Some(s(1)),
        who: SPEAKS,
    };

    const SPEAKS: Who = Who::Speaker { since: s(100), mute: Duration::ZERO, has_said: true };
    const FULL: Observed = Observed { received: 1_122, tip: Some(9_000), full: s(5), ..WELL };

    /// Every reason, from what brings it about.
    #[test]
    fn every_reason_comes_about_and_none_but_by_its_cause() {
        let late = Observed { waiting: s(10), ..WELL };
        let owed = Observed { tip: Some(101), owed: s(10), silent: s(10), ..WELL };
        let who = |who| Observed { who, ..WELL };
        let mute = Who::Speaker { since: s(100), mute: s(45), has_said: true };
        let dumb = Who::Speaker { since: s(10), mute: s(0), has_said: false };
        let fresh = Observed { received: 0, finalized: 0, durable: 0, tip: None, pace: None, ..WELL };
        let mut cases = vec![
            (WELL, Reason::InStep),
            (Observed { silent: s(60), pace: None, ..WELL }, Reason::Quiet),
            (Observed { tip: Some(355), ..WELL }, Reason::Behind),
            (owed, Reason::NoData),
            (Observed { silent: s(30), ..WELL }, Reason::Overdue),
            (who(mute), Reason::NoAnswer),
            (Observed { who: dumb, ..fresh }, Reason::NothingSent),
            (who(Who::Nobody), Reason::NobodySpeaks),
            (who(Who::Gone(Gone::Never)), Reason::NeverConnected),
            (who(Who::Gone(Gone::Left)), Reason::NodeStopped),
            (who(Who::Gone(Gone::Lost)), Reason::ConnectionLost),
            (who(Who::NotNamed), Reason::NotNamed),
            (FULL, Reason::NoRoom),
            (late, Reason::SealLate),
            (Observed { storing: true, ..late }, Reason::StoreLate),
            (Observed { blamed: Some("sync"), driven: true, ..late }, Reason::StoreLate),
            (Observed { blamed: Some("seal"), storing: true, ..late }, Reason::SealLate),
            (Observed { held_by_rules: true, ..late }, Reason::HeldByRules),
            (Observed { held_by_rules: true, who: Who::Gone(Gone::Lost), ..late }, Reason::ConnectionLost),
            (Observed { driven: true, storing: true, ..late }, Reason::NotDecided),
            (Observed { failed: true, ..late }, Reason::EngineFailed),
            (Observed { paused: true, failed: true, ..late }, Reason::PausedByOperator),
            (Observed { quarantined: true, paused: true, ..late }, Reason::ConflictRepeated),
        ];
        for code in RefusalCode::ALL.iter().filter(|code| **code != RefusalCode::ShuttingDown) {
            cases.push((who(Who::Refused(*code)), of_refusal(*code)));
            cases.push((who(Who::Gone(Gone::Refused(*code))), of_refusal(*code)));
        }
        for (observed, reason) in &cases {
            assert_eq!(judge(observed, &LIMITS), *reason, "{observed:?}");
        }
        for reason in Reason::ALL {
            assert!(cases.iter().any(|(_, found)| found == reason), "{reason} does not come about");
        }
    }

    #[test]
    fn nothing_is_said_a_moment_too_early() {
        let before = Duration::from_millis(9_999);
        let owed = Observed { tip: Some(101), owed: before, silent: before, ..WELL };
        for well in [
            Observed { waiting: before, ..WELL },
            Observed { waiting: s(100), finalized: 98, ..WELL },
            owed,
            Observed { silent: Duration::from_millis(29_999), ..WELL },
            Observed { silent: s(59), pace: None, ..WELL },
            Observed { tip: Some(354), ..WELL },
            Observed { who: Who::Speaker { since: s(9), mute: s(44), has_said: false }, ..WELL },
            Observed { full: s(4), tip: None, ..FULL },
        ] {
            assert_eq!(judge(&well, &LIMITS), Reason::InStep, "{well:?}");
        }
    }

    #[test]
    fn a_lane_that_is_full_while_the_distance_shrinks_is_catching_up() {
        assert_eq!(judge(&Observed { gaining: true, ..FULL }, &LIMITS), Reason::Behind);
        let unknown = Observed { tip: None, ..FULL };
        assert_eq!(judge(&unknown, &LIMITS), Reason::NoRoom, "more comes than goes, as far as one can see");
        let all_there = Observed { tip: Some(FULL.received), ..FULL };
        assert_eq!(judge(&all_there, &LIMITS), Reason::Behind, "nobody waits for room");
    }

    #[test]
    fn catching_up_does_not_come_and_go() {
        let close = Observed { tip: Some(98 + 200), ..WELL };
        assert_eq!(judge(&close, &LIMITS), Reason::InStep);
        assert_eq!(judge(&Observed { was_behind: true, ..close }, &LIMITS), Reason::Behind);
        let closer = Observed { tip: Some(98 + 128), was_behind: true, ..WELL };
        assert_eq!(judge(&closer, &LIMITS), Reason::InStep);
    }

    #[test]
    fn a_chain_that_makes_few_blocks_is_overdue_by_its_own_pace() {
        let slow = Observed { pace: Some(s(60)), silent: s(1_799), ..WELL };
        assert_eq!(judge(&slow, &LIMITS), Reason::Quiet);
        assert_eq!(judge(&Observed { silent: s(1_800), ..slow }, &LIMITS), Reason::Overdue);
    }

    #[test]
    fn refusals_and_reasons_have_the_same_names() {
        for code in RefusalCode::ALL {
            if *code != RefusalCode::ShuttingDown {
                assert_eq!(of_refusal(*code).name(), code.name());
            }
        }
    }
}
