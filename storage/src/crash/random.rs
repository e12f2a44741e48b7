//! Long histories, drawn from seeds: session after session, crash after crash.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use super::disk::{Disk, Image};
use super::history::{Action, Planned, Truth, run};
use super::sim::{Fault, Stage};
use super::support::Rng;
use super::verify::{Flop, verify};
use super::{Budget, Tally, choose, options};
use crate::Options;

#[test]
fn crash_after_crash_loses_nothing_and_revives_nothing() {
    let budget = Budget::from_env();
    let tally = Tally::new("random histories");
    if let Some(seed) = budget.replay {
        tally.run(|thread, _| if thread == 0 { history(seed, &mut Stage::new(), &tally) } else { Ok(()) });
        return;
    }
    tally.run(|thread, threads| {
        let mut stage = Stage::new();
        let mut index = thread as u64;
        while tally.states.load(Ordering::Relaxed) < budget.states && !tally.over() {
            let seed = Rng(budget.seed.wrapping_mul(0x1_0000_0001).wrapping_add(index)).next();
            let done = catch_unwind(AssertUnwindSafe(|| history(seed, &mut stage, &tally)));
            let done = done.unwrap_or_else(|_| Err(Flop::new("a panic, see above")));
            done.map_err(|flop| {
                flop.because(&format!("seed {seed:#x}; again: cargo xtask crash --replay {seed:#x}"))
            })?;
            index += threads as u64;
        }
        Ok(())
    });
}

fn history(seed: u64, stage: &mut Stage, tally: &Tally) -> Result<(), Flop> {
    let mut rng = Rng(seed);
    let mut image = Image::new();
    let mut truths = vec![Truth::new()];
    let options = Options {
        reversible: rng.below(2) == 0,
        spare_segments: rng.below(3) as usize,
        keep_blocks: NonZeroU64::new(rng.below(4) * 5),
        ..options()
    };
    tally.histories.fetch_add(1, Ordering::Relaxed);
    for _ in 0..6 {
        let actions = actions(&mut rng, options.reversible);
        let planned = fault(&mut rng);
        let session = run(stage, options, &image, truths.clone(), &actions, rng.next(), planned)?;
        let mut disk = Disk::new(&image);
        let mut tried = 0;
        for calls in 0..=session.events.len() {
            let call = calls.checked_sub(1).map(|last| &session.events[last]);
            call.into_iter().for_each(|event| disk.apply(event));
            let pending = disk.pending();
            let certain = pending.units.is_empty() && pending.names == 0;
            // Where nothing is pending there is one state, which many calls share.
            let tries = if certain { u64::from(rng.below(3) == 0) } else { 1 + rng.below(4) };
            for _ in 0..tries {
                if tally.over() {
                    return Ok(());
                }
                let (kind, choice) = choose::one(&pending, &mut rng);
                let crashed = disk.crashed(&pending, &choice);
                let may_hold = session.truths(calls);
                let thorough = rng.below(8) == 0;
                tally.count(call.map_or("nothing", |event| event.kind()), kind);
                verify(stage, options, &crashed, &may_hold, thorough)
                    .map_err(|flop| flop.because(&format!("{kind}: {choice}")).at(&session, calls))?;
                tried += 1;
                if rng.below(tried) == 0 {
                    (image, truths) = (crashed, may_hold);
                }
            }
        }
    }
    Ok(())
}

/// What a session does. Sizes repeat, so that places do: what an earlier session left lies where a record goes.
fn actions(rng: &mut Rng, reversible: bool) -> Vec<Action> {
    let large = (options().segment_bytes / 72 * 2 / 5) as u32;
    let sizes: [BTreeMap<u32, u32>; 6] = [
        [(1, 1)].into(),
        [(1, 40)].into(),
        [(1, 10), (2, 30)].into(),
        BTreeMap::new(),
        [(2, large / 4)].into(),
        [(1, large)].into(),
    ];
    let mut actions = Vec::new();
    let group = 1 + rng.below(4);
    for _ in 0..=rng.below(14) {
        actions.push(match rng.below(20) {
            0 => Action::Reopen,
            1 => Action::Close,
            2 => Action::Prune(rng.below(12)),
            3 => Action::Settle(rng.below(4)),
            4..=6 if reversible => Action::Rollback(rng.below(8)),
            _ => Action::Append(sizes[rng.below(sizes.len() as u64) as usize].clone()),
        });
        if rng.below(group) == 0 {
            actions.push(Action::Sync);
        }
    }
    actions
}

/// In some sessions a call fails.
fn fault(rng: &mut Rng) -> Planned {
    let faults = [Fault::Io, Fault::Full, Fault::Short];
    (rng.below(3) == 0).then(|| (rng.below(40) as usize, faults[rng.below(3) as usize]))
}
