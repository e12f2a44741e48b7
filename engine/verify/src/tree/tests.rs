//! Every tree of a few dozen leaves, against trees that are built by the definition.

use alloc::vec;
use alloc::vec::Vec;

use super::*;

/// All levels of the tree over `size` leaves.
fn levels(size: u64) -> Vec<Vec<Hash>> {
    let mut levels = vec![(0..size).map(|leaf| digest(&leaf.to_le_bytes())).collect::<Vec<_>>()];
    while levels[levels.len() - 1].len() > 1 {
        let below = &levels[levels.len() - 1];
        levels.push(below.chunks(2).map(|pair| pair.iter().copied().reduce(node).unwrap()).collect());
    }
    levels
}

/// The root by RFC 9162 section 2.1.1: split at the largest power of two below n.
fn by_definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::ZERO,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node(by_definition(left), by_definition(right))
        }
    }
}

/// The proof by RFC 9162 section 2.1.4.1, word for word.
fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![by_definition(leaves)] };
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    if m <= left.len() {
        let mut proof = subproof(m, left, whole);
        proof.push(by_definition(right));
        proof
    } else {
        let mut proof = subproof(m - left.len(), right, false);
        proof.push(by_definition(left));
        proof
    }
}

#[test]
fn every_beginning_of_every_tree_is_proven_and_by_nothing_else() {
    let root = |size: u64| by_definition(&levels(size)[0]);
    for n in 0..=40_u64 {
        let levels = levels(n);
        for m in 0..=n {
            let nodes: Vec<_> = consistency_nodes(m, n)
                .map(|(level, index)| levels[level as usize][index as usize])
                .collect();
            if m > 0 {
                assert_eq!(nodes, subproof(m as usize, &levels[0], true), "{m} of {n}");
            }
            assert_eq!(verify_consistency(m, n, root(m), root(n), &nodes), Ok(()), "{m} of {n}");
            let wrong = digest(b"wrong");
            assert!(verify_consistency(m, n, wrong, root(n), &nodes).is_err(), "{m} of {n}");
            if m > 0 {
                assert!(verify_consistency(m, n, root(m), wrong, &nodes).is_err(), "{m} of {n}");
            }
            assert!(verify_consistency(m, n, root(m), root(n), &[&nodes[..], &[wrong]].concat()).is_err());
            for place in 0..nodes.len() {
                let mut changed = nodes.clone();
                changed[place] = wrong;
                assert!(verify_consistency(m, n, root(m), root(n), &changed).is_err(), "{place}: {m} of {n}");
                let mut short = nodes.clone();
                short.remove(place);
                assert!(verify_consistency(m, n, root(m), root(n), &short).is_err(), "{place}: {m} of {n}");
            }
            for other in 1..=n {
                // Sizes are not interchangeable: nodes that fit two of them lead to other roots.
                let accepted = verify_consistency(other, n, root(m), root(n), &nodes).is_ok();
                assert_eq!(accepted, other == m, "{other} for {m} of {n}");
            }
        }
        assert_eq!(
            verify_consistency(n + 1, n, root(n), root(n), &[]),
            Err(PathError::Sizes { from: n + 1, to: n })
        );
    }
}

#[test]
fn every_set_of_leaves_of_every_small_tree_is_proven_at_once() {
    for size in 1..=9_u64 {
        let levels = levels(size);
        let root = by_definition(&levels[0]);
        for set in 1_u32..1 << size {
            let indices = (0..size).filter(|index| set >> index & 1 == 1);
            let leaves: Vec<_> = indices.clone().map(|index| (index, levels[0][index as usize])).collect();
            let nodes: Vec<_> =
                many(indices, size).map(|(level, index)| levels[level as usize][index as usize]).collect();
            assert_eq!(fold_many(&mut leaves.clone(), size, &nodes), Ok(root), "{set:b} of {size}");
            for place in 0..nodes.len() {
                let mut wrong = nodes.clone();
                wrong[place] = Hash::ZERO;
                assert_ne!(fold_many(&mut leaves.clone(), size, &wrong), Ok(root), "{set:b} of {size}");
                let short = fold_many(&mut leaves.clone(), size, &nodes[..place]);
                assert_eq!(short, Err(PathError::Nodes { got: place, expected: nodes.len(), size }));
            }
            let surplus = fold_many(&mut leaves.clone(), size, &[&nodes[..], &[root]].concat());
            assert!(matches!(surplus, Err(PathError::Nodes { .. })), "{set:b} of {size}");
            for place in 1..leaves.len() {
                let mut swapped = leaves.clone();
                swapped.swap(place - 1, place);
                assert!(matches!(fold_many(&mut swapped, size, &nodes), Err(PathError::Order { .. })));
                let mut doubled = leaves.clone();
                doubled[place] = doubled[place - 1];
                assert!(matches!(fold_many(&mut doubled, size, &nodes), Err(PathError::Order { .. })));
            }
        }
    }
}

#[test]
fn one_leaf_of_many_takes_its_path() {
    for size in [1, 2, 3, 64, 65, 1000, (1 << 40) + 12_345, u64::MAX] {
        for index in [0, 1, size / 3, size / 2, size.wrapping_sub(2), size - 1]
            .into_iter()
            .filter(|index| *index < size)
        {
            let path: Vec<_> = siblings(index, size).map(|at| (at.level, at.index)).collect();
            assert_eq!(many([index].into_iter(), size).collect::<Vec<_>>(), path, "{index} of {size}");
        }
    }
}

#[test]
fn indices_that_cannot_be_take_no_nodes_and_fold_to_nothing() {
    for (indices, size) in
        [(&[][..], 5), (&[5], 5), (&[0], 0), (&[2, 2], 5), (&[3, 2], 5), (&[1, u64::MAX], 9)]
    {
        assert_eq!(many(indices.iter().copied(), size).count(), 0, "{indices:?} of {size}");
        let mut leaves: Vec<_> = indices.iter().map(|index| (*index, Hash::ZERO)).collect();
        assert!(fold_many(&mut leaves, size, &[]).is_err(), "{indices:?} of {size}");
    }
    for (m, n) in [(0, 0), (0, 9), (9, 9), (9, 8), (u64::MAX, 3), (u64::MAX, u64::MAX)] {
        assert_eq!(consistency_nodes(m, n).count(), 0, "{m} of {n}");
    }
    assert_eq!(consistency_nodes(1 << 63, u64::MAX).count(), 1);
}
