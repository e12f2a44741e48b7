//! Fair shares: how many blocks of each chain go into a main block.

/// Shares `max` places between chains, of which chain i has `wanted[i]` blocks: each gets what it wants up to a
/// common level, so a busy chain cannot starve a quiet one. Places left over by rounding go round from the chain
/// at `turn` on, so that no chain is always the last. Deterministic.
pub(crate) fn fair_shares(wanted: &mut [u64], max: u64, turn: u64, sorted: &mut Vec<u64>) {
    if wanted.iter().sum::<u64>() <= max {
        return;
    }
    sorted.clear();
    sorted.extend_from_slice(wanted);
    sorted.sort_unstable();
    let (mut left, mut level) = (max, 0);
    for (position, &want) in sorted.iter().enumerate() {
        let rest = (sorted.len() - position) as u64;
        level = left / rest;
        if want > level {
            break;
        }
        left -= want;
    }
    let mut more = max - wanted.iter().map(|&want| want.min(level)).sum::<u64>();
    let start = (turn % wanted.len() as u64) as usize;
    let (before, from) = wanted.split_at_mut(start);
    for want in from.iter_mut().chain(before).filter(|want| **want > level) {
        *want = level + u64::from(more > 0);
        more = more.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_are_full_fair_and_never_more_than_wanted(
            wanted in prop::collection::vec(0_u64..2000, 1..60),
            max in 1_u64..5000,
            turn in any::<u64>(),
        ) {
            let mut given = wanted.clone();
            fair_shares(&mut given, max, turn, &mut Vec::new());
            let total: u64 = wanted.iter().sum();
            prop_assert_eq!(given.iter().sum::<u64>(), total.min(max));
            let highest = given.iter().max().copied().unwrap_or(0);
            for (given, wanted) in given.iter().zip(&wanted) {
                prop_assert!(given <= wanted);
                prop_assert!(given == wanted || *given + 1 >= highest, "who gets less than wanted gets as much as any");
            }
        }
    }

    #[test]
    fn more_chains_than_places_take_turns() {
        let mut served = [0; 5];
        for turn in 0..5 {
            let mut wanted = [1; 5];
            fair_shares(&mut wanted, 2, turn, &mut Vec::new());
            for (served, given) in served.iter_mut().zip(wanted) {
                *served += given;
            }
        }
        assert_eq!(served, [2; 5]);
    }
}
