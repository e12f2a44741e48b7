//! What is valid, what is not and by which field, and what is judged again.

use std::time::Duration;

use engine::chain::{ChainId, ColumnsRef, Hash, Height, MainBlock, MainHeader, Timestamp};
use engine::external::{ExternalError, Limits, PendingProposals, Proposal, ProposedSection, Verdict};
use engine::store::BlockReader;
use mainstem_engine as engine;

use super::{ALL, Node, Rng, config, genesis};

/// Two nodes with the same lanes, and the same two blocks committed; a third block is on top of the first.
fn nodes() -> (Node, Node, MainBlock) {
    let genesis = genesis(3);
    let (one, other) = (Node::new(&genesis, config(100)), Node::new(&genesis, config(100)));
    let send = |height: u64| {
        for chain in 1..=3 {
            one.send(chain, height + u64::from(chain));
            other.send(chain, height + u64::from(chain));
        }
    };
    send(5);
    let first = one.candidate();
    one.clock.advance(50);
    for node in [&one, &other] {
        node.commit(&first);
    }
    send(9);
    let second = one.candidate();
    for node in [&one, &other] {
        node.commit(&second);
    }
    send(12);
    let fork = one.external.candidate(first.hash, ALL).unwrap();
    assert_eq!(fork.header.leaf_count, 3 * 7, "what the second block has, and what came later");
    (one, other, fork)
}

#[test]
fn a_candidate_is_valid_on_another_node_and_not_after_any_single_change() {
    let (one, other, block) = nodes();
    let valid = Proposal::of(&block);
    assert_eq!(other.external.validate(&valid).unwrap(), Verdict::Valid);
    let check = |expected: &str, change: &dyn Fn(&mut Proposal)| {
        let mut changed = valid.clone();
        change(&mut changed);
        assert_ne!(changed, valid, "{expected}");
        for node in [&one, &other] {
            match node.external.validate(&changed).unwrap() {
                Verdict::Invalid { field, got, expected: right } => {
                    assert_eq!(field, expected);
                    assert_ne!(got, right);
                }
                verdict => panic!("{expected}: {verdict:?}"),
            }
            // And none of it changes what is said of others.
            assert_eq!(node.external.validate(&valid).unwrap(), Verdict::Valid);
        }
    };
    let other_hash = Hash([9; 32]);
    check("header.version", &|p| p.header.version = 2);
    check("header.chain_id", &|p| p.header.chain_id = ChainId(7));
    check("header.height", &|p| p.header.height = Height(3));
    check("header.time", &|p| p.header.time = Timestamp::from_millis(1_699_999_999_999));
    check("header.side_root", &|p| p.header.side_root = other_hash);
    check("header.chain_count", &|p| p.header.chain_count += 1);
    check("header.leaf_count", &|p| p.header.leaf_count -= 1);
    check("header.ops_root", &|p| p.header.ops_root = other_hash);
    check("header.state_root", &|p| p.header.state_root = other_hash);
    check("header.history_root", &|p| p.header.history_root = other_hash);
    check("header.aelf_root", &|p| p.header.aelf_root = Hash::ZERO);
    for section in 0..3 {
        let field = |name: &str| format!("sections[{section}].{name}");
        let last = if section == 2 { field("count") } else { "sections[2].count".into() };
        check(&field("chain_id"), &|p| p.sections[section].chain = ChainId(1_000_000));
        check(&field("first_height"), &|p| p.sections[section].first_height.0 += 1);
        check(&field("first_height"), &|p| p.sections[section].first_height.0 = 0);
        check(&field("first_height"), &|p| p.sections[section].first_height.0 = u64::MAX);
        check(&field("parent"), &|p| p.sections[section].parent = Hash::ZERO);
        check(&last, &|p| p.sections[section].count += 1);
        check(&last, &|p| p.sections[section].count -= 1);
        check(&field("count"), &|p| p.sections[section].count = 0);
        check(&field("count"), &|p| p.sections[section].count = u32::MAX);
        for block in [0, 3, 6] {
            let place = section * 7 + block;
            check(&field(&format!("hashes[{block}]")), &|p| p.hashes[place].0[31] ^= 1);
            check(&field(&format!("tx_roots[{block}]")), &|p| p.tx_roots[place].0[0] ^= 128);
        }
    }
    // Other splits of the same columns: the first block of the second chain is taken for one of the first.
    check("sections[0].hashes[6]", &|p| p.hashes.swap(6, 7));
    check("sections[1].chain_id", &|p| p.sections.swap(0, 1));
    check("sections[1].chain_id", &|p| p.sections[1].chain = ChainId(1));
    check("header.chain_count", &|p| p.sections.truncate(2));
    check("header.leaf_count", &|p| p.hashes.truncate(20));
    check("tx_roots", &|p| p.tx_roots.truncate(20));
    check("tx_roots", &|p| p.tx_roots.push(Hash::ZERO));
    check("sections", &|p| {
        p.header = MainHeader { chain_count: 0, leaf_count: 0, ..p.header };
        (p.sections, p.hashes, p.tx_roots) = Default::default();
    });
    // One section less, with all that counts it.
    check("header.side_root", &|p| {
        p.header = MainHeader { chain_count: 2, leaf_count: 14, ..p.header };
        p.sections.truncate(2);
        p.hashes.truncate(14);
        p.tx_roots.truncate(14);
    });
    for parent in [Hash::ZERO, other_hash] {
        let header = MainHeader { parent, ..valid.header };
        let verdict = one.external.validate(&Proposal { header, ..valid.clone() }).unwrap();
        assert_eq!(verdict, Verdict::UnknownParent { parent, irreversible: Height(0), head: Height(2) });
    }
    // A later time is as good: whoever seals says what time it is. The block is another one then.
    // But no more than a minute ahead of our clock, unless the main chain has agreed on it.
    let at = |millis| {
        let header = MainHeader { time: Timestamp::from_millis(millis), ..valid.header };
        Proposal { header, ..valid.clone() }
    };
    assert_eq!(other.external.validate(&at(1_700_000_060_000)).unwrap(), Verdict::Valid);
    let verdict = other.external.validate(&at(1_700_000_060_001)).unwrap();
    assert!(matches!(&verdict, Verdict::Invalid { field, .. } if field == "header.time"), "{verdict:?}");
    assert!(matches!(other.external.validate(&at(u64::MAX)).unwrap(), Verdict::Invalid { .. }));
    other.external.rollback(Height(1)).unwrap();
    other.external.commit(&at(1_700_000_060_001)).unwrap();
}

#[test]
fn every_flipped_bit_of_a_header_is_refused_but_for_other_times_that_may_be() {
    let (one, _, block) = nodes();
    let valid = Proposal::of(&block);
    let parent = one.reader.block(Height(1)).unwrap().unwrap();
    let parent = Proposal::of(&parent);
    let bytes = valid.header.encode();
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes;
        changed[bit / 8] ^= 1 << (bit % 8);
        let header = MainHeader::decode(&changed);
        let latest = Timestamp::from_millis(1_700_000_000_050 + 60_000);
        let may_be = (parent.header.time..=latest).contains(&header.time);
        let verdict = one.external.validate(&Proposal { header, ..valid.clone() }).unwrap();
        match verdict {
            Verdict::Valid => {
                assert_eq!(MainHeader { time: valid.header.time, ..header }, valid.header, "bit {bit}");
                assert!(may_be, "bit {bit}");
            }
            Verdict::Invalid { .. } | Verdict::UnknownParent { .. } => {
                assert!(!may_be || header.time == valid.header.time, "bit {bit}: {verdict:?}");
            }
            Verdict::Behind { .. } => panic!("bit {bit}"),
        }
    }
}

#[test]
fn random_nonsense_is_refused_and_nothing_breaks() {
    let (one, _, block) = nodes();
    let valid = Proposal::of(&block);
    let mut rng = Rng(5);
    for _ in 0..3000 {
        let mut changed = valid.clone();
        for _ in 0..=rng.below(3) {
            let section = rng.below(changed.sections.len().max(1) as u64) as usize;
            match rng.below(8) {
                0 => changed.hashes.truncate(rng.below(30) as usize),
                1 => changed.tx_roots.resize(rng.below(30) as usize, Hash::ZERO),
                2 => changed.header.leaf_count = rng.next() >> rng.below(64),
                3 => changed.header.chain_count = rng.below(6) as u32,
                4 => changed.sections.truncate(section),
                5 => changed.sections.push(ProposedSection {
                    chain: ChainId(rng.below(6) as u32),
                    count: (rng.next() >> rng.below(64)) as u32,
                    first_height: Height(rng.next() >> rng.below(64)),
                    parent: Hash::ZERO,
                }),
                6 if !changed.sections.is_empty() => {
                    changed.sections[section].count = (rng.next() >> rng.below(64)) as u32;
                }
                _ if !changed.sections.is_empty() => {
                    changed.sections[section].first_height = Height(rng.next() >> rng.below(64));
                }
                _ => {}
            }
        }
        let verdict = one.external.validate(&changed).unwrap();
        assert_eq!(verdict == Verdict::Valid, changed == valid, "{verdict:?}");
    }
    assert_eq!(one.external.validate(&valid).unwrap(), Verdict::Valid);
}

#[test]
fn a_proposal_ahead_of_our_lanes_is_no_refusal_and_is_judged_again_when_they_catch_up() {
    let genesis = genesis(3);
    let (one, other) = (Node::new(&genesis, config(100)), Node::new(&genesis, config(100)));
    for chain in 1..=3 {
        one.send(chain, 10);
    }
    other.send(1, 4);
    other.send(3, 10);
    let proposal = Proposal::of(&one.candidate());
    let behind = |chain, received| Verdict::Behind {
        chain: ChainId(chain),
        wanted: Height(10),
        received: Height(received),
    };
    assert_eq!(other.external.validate(&proposal).unwrap(), behind(1, 4));
    let refused = other.external.commit(&proposal);
    assert_eq!(refused, Err(ExternalError::NotValid(behind(1, 4))));

    let ms = Duration::from_millis;
    let mut pending = PendingProposals::new(2, usize::MAX);
    let mut judge = |ticket, until| pending.judge(&other.external, proposal.clone(), ticket, until).unwrap();
    assert_eq!(judge("first", ms(100)), None);
    assert_eq!(judge("hurry", ms(50)), None);
    assert_eq!(judge("no room", ms(100)), Some(("no room", behind(1, 4))));
    assert_eq!((pending.len(), pending.due()), (2, Some(ms(50))));
    assert_eq!(pending.judge_again(&other.external, ms(49)).unwrap(), []);
    other.waiter.hear();
    other.send(1, 10);
    assert!(other.waiter.hear(), "a lane rings");
    assert_eq!(pending.judge_again(&other.external, ms(50)).unwrap(), [("hurry", behind(2, 2))]);
    other.send(2, 9);
    assert_eq!(pending.judge_again(&other.external, ms(51)).unwrap(), []);
    // Blocks that come and go beside it change nothing for it.
    other.commit(&other.candidate());
    assert_eq!(pending.judge_again(&other.external, ms(51)).unwrap(), []);
    other.external.rollback(Height(0)).unwrap();
    assert_eq!(pending.judge_again(&other.external, ms(51)).unwrap(), []);
    other.send(2, 12);
    assert_eq!(pending.judge_again(&other.external, ms(52)).unwrap(), [("first", Verdict::Valid)]);
    assert!(pending.is_empty() && pending.due().is_none());
    other.external.commit(&proposal).unwrap();
}

#[test]
fn waiting_proposals_have_so_many_bytes_together_and_what_does_not_fit_is_answered_at_once() {
    let genesis = genesis(1);
    let (one, other) = (Node::new(&genesis, config(100)), Node::new(&genesis, config(100)));
    one.send(1, 90);
    let proposal = |max_leaves| {
        let limits = Limits { max_leaves, ..ALL };
        Proposal::of(&one.external.candidate(Hash::ZERO, limits).unwrap())
    };
    let until = Duration::from_secs(1);
    // As many bytes as a large one has, found out by one that has room for it.
    let mut roomy = PendingProposals::new(9, usize::MAX);
    assert_eq!(roomy.judge(&other.external, proposal(80), 0, until).unwrap(), None);
    let budget = roomy.bytes();
    assert!((80 * 64..80 * 64 + 1024).contains(&budget), "{budget}");

    let mut pending = PendingProposals::new(9, budget);
    let (small, large) = (proposal(1), proposal(80));
    assert_eq!(pending.judge(&other.external, small, 1, until).unwrap(), None);
    let held = pending.bytes();
    let Some((2, Verdict::Behind { .. })) = pending.judge(&other.external, large.clone(), 2, until).unwrap()
    else {
        panic!("there is no room for it")
    };
    assert_eq!((pending.len(), pending.bytes()), (1, held), "it is not kept");
    // Whoever is answered gives its bytes back.
    assert_eq!(pending.judge_again(&other.external, until).unwrap().len(), 1);
    assert_eq!((pending.len(), pending.bytes()), (0, 0));
    assert_eq!(pending.judge(&other.external, large, 3, until).unwrap(), None);
    assert_eq!(pending.bytes(), budget);
}

#[test]
fn what_is_wrong_is_refused_though_our_lanes_are_behind() {
    let genesis = genesis(3);
    let (one, other) = (Node::new(&genesis, config(100)), Node::new(&genesis, config(100)));
    for chain in 1..=3 {
        one.send(chain, 10);
        other.send(chain, u64::from(chain) + 3);
    }
    let block = one.candidate();
    let (mut early, mut late) = (Proposal::of(&block), Proposal::of(&block));
    // The first blocks of the third chain, and its last one, which has not come yet: chain 3 begins at 1.
    let third = block.sections[2].leaves();
    early.hashes[third.start + 5] = Hash::ZERO;
    late.hashes[third.end - 1] = Hash::ZERO;
    for (proposal, expected) in [(early, "sections[2].hashes[5]"), (late, "header.side_root")] {
        let verdict = other.external.validate(&proposal).unwrap();
        assert!(matches!(&verdict, Verdict::Invalid { field, .. } if field == expected), "{verdict:?}");
    }
}

#[test]
fn a_proposal_that_had_to_wait_is_refused_when_other_blocks_come_than_it_names() {
    let genesis = genesis(1);
    let (one, other) = (Node::new(&genesis, config(100)), Node::new(&genesis, config(100)));
    one.send(1, 9);
    other.send(1, 9);
    // The two hear of different blocks: one of the chain's nodes lies.
    let lane = one.external.cache().lane(ChainId(1)).unwrap();
    let (parent, lie, time) = (lane.position().hash.unwrap(), Hash([6; 32]), Timestamp::default());
    let columns = ColumnsRef { hashes: &[lie], tx_roots: &[lie], times: &[time] };
    lane.push(super::SESSION, Height(10), parent, columns, Duration::ZERO).unwrap();
    let proposal = Proposal::of(&one.candidate());
    assert_eq!(one.external.validate(&proposal).unwrap(), Verdict::Valid);
    let mut pending = PendingProposals::new(1, usize::MAX);
    let until = Duration::from_secs(1);
    assert_eq!(pending.judge(&other.external, proposal, (), until).unwrap(), None);
    other.send(1, 10);
    let decided = pending.judge_again(&other.external, Duration::ZERO).unwrap();
    let [((), Verdict::Invalid { field, got, .. })] = &decided[..] else { panic!("{decided:?}") };
    assert_eq!((field, got), (&"sections[0].hashes[8]".to_owned(), &lie.to_string()));
}

#[test]
fn a_waiting_proposal_whose_parent_is_taken_back_is_judged_by_that() {
    let genesis = genesis(1);
    let (one, other) = (Node::new(&genesis, config(100)), Node::new(&genesis, config(100)));
    one.send(1, 5);
    other.send(1, 5);
    let first = one.candidate();
    one.commit(&first);
    other.commit(&first);
    one.send(1, 8);
    let proposal = Proposal::of(&one.candidate());
    let mut pending = PendingProposals::new(1, usize::MAX);
    let until = Duration::from_secs(1);
    assert_eq!(pending.judge(&other.external, proposal, (), until).unwrap(), None);
    other.waiter.hear();
    other.external.rollback(Height(0)).unwrap();
    assert!(other.waiter.hear(), "a rollback rings");
    let decided = pending.judge_again(&other.external, Duration::ZERO).unwrap();
    let unknown = Verdict::UnknownParent { parent: first.hash, irreversible: Height(0), head: Height(0) };
    assert_eq!(decided, [((), unknown)]);
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_what_can() {
    let node = Node::new(&genesis(2), config(100));
    node.send(1, 20);
    node.send(2, 20);
    let error = |result: Result<MainBlock, ExternalError>| result.unwrap_err().to_string();
    let limits = |max_leaves, max_per_chain| Limits { max_leaves, max_per_chain, ..ALL };
    for (wrong, expected) in [
        (limits(0, 1), "max_leaves: 0 is out of range: expected 1 to 4096"),
        (limits(4097, 1), "max_leaves: 4097 is out of range: expected 1 to 4096"),
        (limits(1, 0), "max_per_chain: 0 is out of range: expected 1 to 18446744073709551615"),
    ] {
        assert_eq!(error(node.external.candidate(Hash::ZERO, wrong)), expected);
    }
    let counts = |limits| -> Vec<u32> {
        let block = node.external.candidate(node.head_hash(), limits).unwrap();
        block.sections.iter().map(|section| section.count).collect()
    };
    assert_eq!(counts(ALL), [19, 18], "chain 1 begins at 2, chain 2 at 3");
    assert_eq!(counts(limits(4096, 5)), [5, 5]);
    assert_eq!(counts(limits(7, 100)), [4, 3]);
    assert_eq!(counts(limits(1, 100)), [1]);
    let parent = Hash([5; 32]);
    assert_eq!(
        error(node.external.candidate(parent, ALL)),
        format!("parent: {parent} is no block from 0, which is irreversible, to 0, the head")
    );
    let heights: Vec<_> = (0..3)
        .map(|_| {
            let block = node.external.candidate(node.head_hash(), limits(4, 2)).unwrap();
            node.commit(&block).header.height.0
        })
        .collect();
    assert_eq!(heights, [1, 2, 3]);
    node.external.finalize(Height(1)).unwrap();
    for result in [node.external.rollback(Height(0)).map(drop), node.external.rollback(Height(4)).map(drop)] {
        assert!(matches!(result, Err(ExternalError::NoSuchBlock { first: Height(1), last: Height(3), .. })));
    }
    assert!(matches!(node.external.finalize(Height(4)), Err(ExternalError::NoSuchBlock { .. })));
    node.external.finalize(Height(0)).unwrap();
    assert_eq!(node.external.rollback(Height(3)).unwrap().unwrap().hash, node.head_hash());
    assert_eq!(node.external.status().irreversible, Height(1));
}

#[test]
fn only_so_many_blocks_can_wait_to_be_final_and_a_block_is_committed_once() {
    let config = engine::external::ExternalConfig { max_reversible: 2, ..config(100) };
    let node = Node::new(&genesis(1), config);
    node.send(1, 20);
    let one = Limits { max_leaves: 1, ..ALL };
    let next = || node.external.candidate(node.head_hash(), one).unwrap();
    let first = next();
    node.commit(&first);
    assert_eq!(node.commit(&first).hash, node.head_hash(), "again, by a driver that missed the answer");
    assert_eq!(node.head(), 1);
    node.commit(&next());
    let third = Proposal::of(&next());
    assert_eq!(node.external.commit(&third), Err(ExternalError::TooDeep { most: 2 }));
    let refused = node.external.commit(&Proposal::of(&first));
    assert!(matches!(refused, Err(ExternalError::NotOnHead { height: Height(2), .. })), "{refused:?}");
    node.external.finalize(Height(1)).unwrap();
    node.external.commit(&third).unwrap();
    assert_eq!(node.head(), 3);
}
