//! Which of the states that a crash may leave are tried: all of them where there are few.

use super::disk::{Choice, Names, Pending};
use crate::crash::support::Rng;

/// Every state that a crash may leave, if there are at most `most`.
pub(super) fn every(pending: &Pending, most: usize) -> Option<Vec<Choice>> {
    let names = names(pending);
    let mut count = names.len();
    for unit in &pending.units {
        count = count.checked_mul(unit.versions + 1).filter(|count| *count <= most)?;
    }
    let mut choices = Vec::with_capacity(count);
    for names in names {
        let mut units = vec![0; pending.units.len()];
        loop {
            choices.push(Choice { units: units.clone(), names });
            // Counts up, each unit being a digit with a base of its own.
            let Some(index) = (0..units.len()).find(|index| units[*index] < pending.units[*index].versions)
            else {
                break;
            };
            units[..index].fill(0);
            units[index] += 1;
        }
    }
    Some(choices)
}

/// The states that find most faults: all lost, all kept, one lost, one kept, a prefix, a suffix, with every choice
/// of names for the first two; and `random` others.
pub(super) fn telling(pending: &Pending, random: usize, rng: &mut Rng) -> Vec<Choice> {
    let newest: Vec<usize> = pending.units.iter().map(|unit| unit.versions).collect();
    let oldest = vec![0; newest.len()];
    let mut choices = Vec::new();
    for names in names(pending) {
        choices.push(Choice { units: oldest.clone(), names });
        choices.push(Choice { units: newest.clone(), names });
    }
    let names = Names::First(pending.names);
    for index in 0..newest.len() {
        for version in 0..newest[index] {
            let mut units = newest.clone();
            units[index] = version;
            choices.push(Choice { units, names });
        }
        for version in 1..=newest[index] {
            let mut units = oldest.clone();
            units[index] = version;
            choices.push(Choice { units, names });
        }
        let (before, after) = (&newest[..index], &newest[index..]);
        choices.push(Choice { units: [before, &oldest[index..]].concat(), names });
        choices.push(Choice { units: [&oldest[..index], after].concat(), names });
    }
    choices.extend((0..random).map(|_| one(pending, rng).1));
    choices
}

const KINDS: [&str; 9] =
    ["lost", "kept", "mixed", "few lost", "few kept", "one lost", "one kept", "prefix", "suffix"];

/// One state, of a kind that is drawn first: where thousands of sectors are pending, the middle of the road alone
/// would never meet the corners.
pub(super) fn one(pending: &Pending, rng: &mut Rng) -> (&'static str, Choice) {
    let count = pending.units.len() as u64;
    let at = rng.below(count.max(1)) as usize;
    let kind = rng.below(KINDS.len() as u64);
    let units = pending.units.iter().enumerate().map(|(index, unit)| {
        let any = rng.below(unit.versions as u64 + 1) as usize;
        let keep = match KINDS[kind as usize] {
            "mixed" => return any,
            "few lost" | "few kept" if rng.below(8) == 0 => return any,
            "lost" | "few kept" => false,
            "kept" | "few lost" => true,
            "one lost" => index != at,
            "one kept" => index == at,
            "prefix" => index < at,
            _ => index >= at,
        };
        if keep { unit.versions } else { 0 }
    });
    let units = units.collect();
    let all = pending.names as u64;
    let names = match rng.below(4) {
        0 => Names::First(pending.names),
        1 if all > 1 => Names::AllBut(rng.below(all) as usize),
        _ => Names::First(rng.below(all + 1) as usize),
    };
    (KINDS[kind as usize], Choice { units, names })
}

fn names(pending: &Pending) -> Vec<Names> {
    let mut names: Vec<Names> = (0..=pending.names).map(Names::First).collect();
    // All but the last one is a prefix.
    names.extend((0..pending.names.saturating_sub(1)).map(Names::AllBut));
    names
}
