//! The chains of a session against a model of what the protocol says of them.

use engine::chain::{Columns, Hash, Timestamp};
use engine::lane::LaneEnds;
use engine::quorum::FinalityRule;
use engine::state::SideChain;
use engine::sync::Doorbell;
use proptest::prelude::*;

use super::*;
use crate::control::{MESSAGE_HEADER_BYTES, MessageHeader};
use crate::frame::{FrameBuffer, FrameWriter, MAX_FRAME_BYTES};

const KEY: NodeKey = NodeKey([1; 32]);
const OTHER: NodeKey = NodeKey([2; 32]);
const CAPACITY: u64 = 8;
const CHAINS: u32 = 3;

struct Bench {
    cache: Cache,
    ends: Vec<LaneEnds>,
    chains: Chains,
}

fn bench() -> Bench {
    let (cache, mut ends) = (Cache::default(), Vec::new());
    for id in 1..=CHAINS {
        let side = SideChain {
            id: ChainId(id),
            name: "side".into(),
            first_height: Height(1),
            nodes: vec![KEY, OTHER],
            finality: FinalityRule::Single,
        };
        let (lane, end) = Lane::new(&side, Height(0), None, CAPACITY as usize, Doorbell::new().0);
        cache.insert(lane);
        ends.push(end);
    }
    let mut chains = Chains::none(SessionId(1), KEY, Arc::default());
    let ids: Vec<_> = (1..=CHAINS).map(ChainId).collect();
    assert!(chains.claim(&cache, &ids).iter().all(|entry| matches!(entry.state, EntryState::Speaker(_))));
    Bench { cache, ends, chains }
}

fn hash(height: u64) -> Hash {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&height.to_le_bytes());
    if height == 0 { Hash::ZERO } else { Hash(bytes) }
}

/// What the peer is told.
fn told(chains: &mut Chains) -> Vec<ServerMessage> {
    let mut out = Vec::new();
    chains.collect(&mut out, true);
    let (mut rest, mut messages) = (&out[..], Vec::new());
    while let Some((header, body)) = rest.split_first_chunk::<MESSAGE_HEADER_BYTES>() {
        let header = MessageHeader::parse::<ServerMessage>(header).unwrap();
        let (body, after) = body.split_at(header.body_bytes);
        messages.push(ServerMessage::decode(header.kind, body).unwrap());
        rest = after;
    }
    messages
}

#[derive(Debug, Clone)]
enum Step {
    /// A frame of the next number with sections of these chains: how far from the next height each starts, how many blocks
    /// it has, whether its parent is right.
    Frame(Vec<(u32, i64, u64, bool)>),
    Resume(u32, u64),
    Leave(u32),
    /// All that was received becomes durable.
    Persist(u32),
    /// Another node of the chain asks to speak, and gives it up again if it may.
    Rival(u32),
    Collect,
}

fn any_step() -> impl Strategy<Value = Step> {
    let chain = 1..=CHAINS;
    // Mostly right: else nothing but refusals is tried.
    let offset = prop_oneof![8 => Just(0_i64), 1 => -3_i64..4];
    let section = (chain.clone(), offset, 1..=4_u64, prop::bool::weighted(0.9));
    prop_oneof![
        6 => prop::collection::vec(section, 1..4).prop_map(Step::Frame),
        2 => (chain.clone(), 0..3_u64).prop_map(|(chain, ahead)| Step::Resume(chain, ahead)),
        1 => chain.clone().prop_map(Step::Leave),
        3 => chain.clone().prop_map(Step::Persist),
        1 => chain.prop_map(Step::Rival),
        2 => Just(Step::Collect),
    ]
}

/// One chain, as the protocol describes it.
#[derive(Debug, Clone, Copy, Default)]
struct Model {
    silent: bool,
    heard_from: u64,
    received: u64,
    durable: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_takes_what_the_protocol_lets_it_take(steps in prop::collection::vec(any_step(), 1..60)) {
        let Bench { cache, mut ends, mut chains } = bench();
        let mut models = [Model::default(); CHAINS as usize];
        let mut number = 0;
        for step in steps {
            match step {
                Step::Frame(mut sections) => {
                    sections.sort_by_key(|section| section.0);
                    sections.dedup_by_key(|section| section.0);
                    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
                    let mut expected = Taken::default();
                    for (index, (chain, offset, count, linked)) in (0..).zip(sections) {
                        let model = &mut models[chain as usize - 1];
                        let first = (model.received + 1).saturating_add_signed(offset).max(1);
                        let mut columns = Columns::default();
                        for height in first..first + count {
                            columns.push(hash(height), Hash::ZERO, Timestamp::from_millis(height));
                        }
                        let parent = if linked { hash(first - 1) } else { Hash([0xbb; 32]) };
                        writer.push(ChainId(chain), Height(first), parent, columns.as_ref());
                        if model.silent || number < model.heard_from {
                            expected.left_out.push(index);
                            continue;
                        }
                        // Before the first block of a chain any parent will do.
                        let fits = first == model.received + 1
                            && (linked || model.received == 0)
                            && first + count - 1 <= model.durable + CAPACITY;
                        if fits {
                            model.received += count;
                            expected.blocks += count;
                        } else {
                            model.silent = true;
                            expected.refused = true;
                            expected.left_out.push(index);
                        }
                    }
                    let buffer = writer.finish();
                    let frame = Frame::parse(buffer.as_bytes()).unwrap();
                    prop_assert_eq!(chains.take(&frame, 0, number, Duration::ZERO), Ok(expected));
                    number += 1;
                }
                Step::Resume(chain, ahead) => {
                    let model = &mut models[chain as usize - 1];
                    (model.silent, model.heard_from) = (false, number + ahead);
                    let resume = Resume { chain: ChainId(chain), frames: number + ahead };
                    prop_assert_eq!(chains.resume(&cache, resume), Ok(()));
                    let received = Height(model.received);
                    let position = told(&mut chains).into_iter().find_map(|message| match message {
                        ServerMessage::Position(Entry { state: EntryState::Speaker(position), .. }) => Some(position),
                        _ => None,
                    });
                    prop_assert_eq!(position.map(|position| position.received), Some(received));
                }
                Step::Leave(chain) => {
                    models[chain as usize - 1].silent = true;
                    prop_assert!(chains.leave(ChainId(chain)).is_ok());
                }
                Step::Persist(chain) => {
                    let (model, ends) = (&mut models[chain as usize - 1], &mut ends[chain as usize - 1]);
                    ends.outlet.take(ends.outlet.available(), |_| ());
                    ends.drain.release(Height(model.received), Duration::ZERO, |_, _| ());
                    model.durable = model.received;
                }
                Step::Rival(chain) => {
                    // It may speak exactly when this session does not.
                    let lane = cache.lane(ChainId(chain)).unwrap();
                    let spoke = matches!(lane.claim(OTHER, SessionId(2)), Ok(Claim::Speaker(_)));
                    prop_assert_eq!(spoke, models[chain as usize - 1].silent);
                    lane.release(SessionId(2));
                }
                Step::Collect => {
                    for message in told(&mut chains) {
                        if let ServerMessage::Ack(acks) = message {
                            for ack in acks {
                                let model = models[ack.chain.0 as usize - 1];
                                let limit = Height(model.durable + CAPACITY);
                                prop_assert_eq!((ack.durable, ack.limit), (Height(model.durable), limit));
                            }
                        }
                    }
                    prop_assert!(told(&mut chains).is_empty(), "nothing is told twice");
                }
            }
            for (model, chain) in models.iter().zip(1..) {
                let position = cache.lane(ChainId(chain)).unwrap().position();
                prop_assert_eq!((position.received.0, position.durable.0), (model.received, model.durable));
            }
            let speaking = models.iter().filter(|model| !model.silent).count();
            prop_assert_eq!(chains.counts(), (CHAINS as usize, speaking));
        }
        chains.release();
        prop_assert!(cache.lanes().iter().all(|lane| lane.speaker().is_none()));
    }
}

#[test]
fn a_session_that_stood_by_is_told_when_it_speaks() {
    let Bench { cache, chains: mut first, .. } = bench();
    let mut second = Chains::none(SessionId(2), OTHER, Arc::default());
    let entries = second.claim(&cache, &[ChainId(1), ChainId(2)]);
    assert!(entries.iter().all(|entry| matches!(entry.state, EntryState::Standby(_))));
    assert_eq!(second.refusal(), None, "standing by is no refusal");
    assert!(told(&mut second).is_empty());
    assert_eq!(first.leave(ChainId(2)), Ok(true));
    let messages = told(&mut second);
    let [ServerMessage::Position(entry)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(entry.chain, ChainId(2));
    assert!(matches!(entry.state, EntryState::Speaker(_)));
    assert_eq!((first.counts(), second.counts()), ((3, 2), (2, 1)));
    first.release();
    assert_eq!(told(&mut second).len(), 1, "of chain 1");
}

#[test]
fn who_stands_by_with_newer_blocks_takes_a_silent_speakers_place_and_that_one_is_told() {
    let Bench { chains: mut first, cache, .. } = bench();
    let mut second = Chains::none(SessionId(2), OTHER, Arc::default());
    second.claim(&cache, &[ChainId(1), ChainId(2)]);
    let (at, patience) = (Duration::from_secs, Duration::from_secs(2));
    let tip = |chain, height| Tip { chain: ChainId(chain), height: Height(height) };
    assert_eq!(second.take_over(at(0), patience), (0, None), "it has said nothing");
    assert_eq!(first.tips(&[tip(1, 5)]), Ok(false), "it speaks, so nothing is to be done");
    assert_eq!(second.tips(&[tip(1, 5)]), Ok(true));
    assert_eq!(second.take_over(at(10), patience), (0, Some(at(2))), "the speaker may only just have heard");
    assert_eq!(second.take_over(at(11), patience), (0, Some(at(1))));
    assert_eq!(
        second.take_over(at(12), patience),
        (0, Some(at(2))),
        "a speaker is heard when it is asked for"
    );
    assert_eq!(second.take_over(at(14), patience), (1, None));

    let messages = told(&mut second);
    let [ServerMessage::Position(entry)] = &messages[..] else { panic!("{messages:?}") };
    assert!(entry.chain == ChainId(1) && matches!(entry.state, EntryState::Speaker(_)));
    let messages = told(&mut first);
    let [ServerMessage::Refused(refused)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((refused.chain, refused.code), (ChainId(1), RefusalCode::NotSpeaker));
    assert_eq!((first.counts(), second.counts()), ((3, 2), (2, 1)));

    // It asks again and stands by.
    first.resume(&cache, Resume { chain: ChainId(1), frames: 0 }).unwrap();
    let messages = told(&mut first);
    let [ServerMessage::Position(entry)] = &messages[..] else { panic!("{messages:?}") };
    assert!(matches!(entry.state, EntryState::Standby(_)));
    assert!(told(&mut first).is_empty() && told(&mut second).is_empty());
    let fault = second.tips(&[tip(9, 1)]).unwrap_err();
    assert_eq!(fault.0, RefusalCode::BadMessage, "{}", fault.1);
}

#[test]
fn a_speaker_that_sends_keeps_its_place_however_far_others_are() {
    let Bench { chains: mut first, cache, .. } = bench();
    let mut second = Chains::none(SessionId(2), OTHER, Arc::default());
    second.claim(&cache, &[ChainId(1)]);
    second.tips(&[Tip { chain: ChainId(1), height: Height::MAX }]).unwrap();
    let patience = Duration::from_secs(2);
    for turn in 1..=CAPACITY {
        let now = Duration::from_secs(turn);
        let lane = cache.lane(ChainId(1)).unwrap();
        let mut columns = Columns::default();
        columns.push(hash(turn), Hash::ZERO, Timestamp::default());
        lane.push(SessionId(1), Height(turn), hash(turn - 1), columns.as_ref(), now).unwrap();
        assert_eq!(second.take_over(now, patience).0, 0);
    }
    // Now the lane is full, which is not its fault.
    assert_eq!(second.take_over(Duration::from_secs(999), patience), (0, None));
    assert_eq!(first.counts(), (3, 3));
    assert!(told(&mut first).is_empty());
}

#[test]
fn what_no_chain_of_a_hello_can_be_served_for_is_said() {
    let Bench { cache, .. } = bench();
    let refusal = |key, ids: &[u32]| {
        let mut chains = Chains::none(SessionId(9), key, Arc::default());
        let ids: Vec<_> = ids.iter().copied().map(ChainId).collect();
        let entries = chains.claim(&cache, &ids);
        assert!(entries.iter().all(|entry| matches!(entry.state, EntryState::Refused(_))));
        chains.refusal().unwrap().0
    };
    let stranger = NodeKey([9; 32]);
    assert_eq!(refusal(KEY, &[]), RefusalCode::NoChain);
    assert_eq!(refusal(KEY, &[7, 8]), RefusalCode::UnknownChain);
    assert_eq!(refusal(stranger, &[1, 2]), RefusalCode::UnknownKey);
    assert_eq!(refusal(stranger, &[1, 7]), RefusalCode::NoChain);
}

/// What is written down: the chains and codes, and how many of each entry.
fn written(chains: &mut Chains) -> Vec<(u32, RefusalCode, u64)> {
    chains
        .take_refusals()
        .map(|(refusal, times, _)| {
            assert!(refusal.detail.starts_with("chain "), "{}", refusal.detail);
            (refusal.chain.unwrap().0, refusal.code, times)
        })
        .collect()
}

#[test]
fn whatever_is_refused_is_written_down_once() {
    let Bench { cache, mut chains, .. } = bench();
    assert!(written(&mut chains).is_empty());
    // In a hello that names others too, and when it is asked for again.
    let mut second = Chains::none(SessionId(2), OTHER, Arc::default());
    second.claim(&cache, &[1, 7, 8].map(ChainId));
    assert_eq!(second.refusal(), None);
    let unknown = RefusalCode::UnknownChain;
    assert_eq!(written(&mut second), [(7, unknown, 1), (8, unknown, 1)]);
    second.resume(&cache, Resume { chain: ChainId(8), frames: 0 }).unwrap();
    assert_eq!(written(&mut second), [(8, unknown, 1)]);
    let mut stranger = Chains::none(SessionId(3), NodeKey([9; 32]), Arc::default());
    stranger.claim(&cache, &[ChainId(2)]);
    assert_eq!(written(&mut stranger), [(2, RefusalCode::UnknownKey, 1)]);

    // Another one took over.
    let patience = Duration::ZERO;
    second.tips(&[Tip { chain: ChainId(1), height: Height(5) }]).unwrap();
    assert_eq!(second.take_over(Duration::ZERO, patience).0, 1);
    told(&mut chains);
    assert_eq!(written(&mut chains), [(1, RefusalCode::NotSpeaker, 1)]);

    // Each section of a frame.
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    for chain in [2, 3] {
        let mut columns = Columns::default();
        columns.push(hash(6), Hash::ZERO, Timestamp::default());
        writer.push(ChainId(chain), Height(6), hash(5), columns.as_ref());
    }
    let buffer = writer.finish();
    let frame = Frame::parse(buffer.as_bytes()).unwrap();
    assert_eq!(
        chains.take(&frame, 0, 0, Duration::ZERO),
        Ok(Taken { blocks: 0, refused: true, left_out: vec![0, 1] })
    );
    let code = RefusalCode::WrongHeight;
    assert_eq!(written(&mut chains), [(2, code, 1), (3, code, 1)]);
    assert!(written(&mut chains).is_empty() && written(&mut second).is_empty());
}

#[test]
fn of_many_refusals_few_are_kept_and_all_are_counted() {
    let Bench { cache, .. } = bench();
    let mut chains = Chains::none(SessionId(2), OTHER, Arc::default());
    let ids: Vec<_> = (1..=1_000).map(ChainId).collect();
    chains.claim(&cache, &ids);
    let refusals: Vec<_> = chains.take_refusals().collect();
    assert_eq!(refusals.len(), refusals::MAX_FIRST + 1);
    let refused = 1_000 - u64::from(CHAINS);
    assert_eq!(refusals.iter().map(|(_, times, _)| times).sum::<u64>(), refused);
    let (last, _, in_all) = refusals.last().unwrap();
    assert_eq!((last.chain, *in_all), (Some(ChainId(1_000)), refused));
    chains.resume(&cache, Resume { chain: ChainId(9), frames: 0 }).unwrap();
    assert_eq!(chains.take_refusals().next().unwrap().2, refused + 1, "counted on");
}

#[test]
fn no_session_holds_the_memory_of_a_removed_chain_whatever_it_was_to_it() {
    let Bench { cache, ends, chains: mut first } = bench();
    let mut second = Chains::none(SessionId(2), OTHER, Arc::default());
    second.claim(&cache, &[ChainId(1), ChainId(2), ChainId(3)]);
    // The first one speaks for chain 1, has lost chain 2 and left chain 3; the second one stands by, or has taken over.
    first.depose(ChainId(2));
    first.leave(ChainId(3)).unwrap();
    told(&mut first);
    told(&mut second);
    let lanes = cache.lanes();
    let weak: Vec<_> = lanes.iter().map(Arc::downgrade).collect();
    lanes.iter().for_each(|lane| lane.close());
    drop((lanes, cache, ends));
    assert!(weak.iter().all(|lane| lane.strong_count() > 0), "the sessions hold them");
    assert!(first.stirred(true) && second.stirred(true));
    let refused = |messages: Vec<ServerMessage>| {
        let codes = messages.into_iter().filter_map(|message| match message {
            ServerMessage::Refused(Refused { chain, code, .. }) => Some((chain.0, code)),
            _ => None,
        });
        codes.collect::<Vec<_>>()
    };
    let removed = RefusalCode::from(&Refusal::Removed { chain: ChainId(1) });
    assert_eq!(refused(told(&mut first)), [(1, removed)]);
    assert_eq!(refused(told(&mut second)), [(1, removed), (2, removed), (3, removed)]);
    assert!(weak.iter().all(|lane| lane.strong_count() == 0));
}
