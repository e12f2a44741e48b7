use engine::chain::Timestamp;
use engine::proof::ChainProof;
use proptest::prelude::*;

use super::*;

fn bytes<M: Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// Reads one whole message, as a session does: header first, then its body.
fn read<M: Message>(bytes: &[u8]) -> Result<M, ControlError> {
    let (header, body) = bytes.split_first_chunk().ok_or(ControlError::Short {
        field: "header",
        need: 5,
        left: bytes.len(),
    })?;
    let header = MessageHeader::parse::<M>(header)?;
    if body.len() < header.body_bytes {
        return Err(ControlError::Short { field: "body", need: header.body_bytes, left: body.len() });
    }
    let (body, rest) = body.split_at(header.body_bytes);
    if !rest.is_empty() {
        return Err(ControlError::Trailing { bytes: rest.len() });
    }
    M::decode(header.kind, body)
}

fn header() -> Box<MainHeader> {
    Box::new(MainHeader {
        version: 1,
        chain_id: ChainId(9_992_731),
        height: Height(3),
        time: Timestamp::from_millis(4),
        parent: Hash([5; 32]),
        side_root: Hash([6; 32]),
        chain_count: 7,
        leaf_count: 8,
        ops_root: Hash([9; 32]),
        state_root: Hash([10; 32]),
        history_root: Hash([11; 32]),
        aelf_root: Hash([12; 32]),
    })
}

fn position(received: u64) -> Position {
    let hash = (received > 0).then_some(Hash([7; 32]));
    Position { durable: Height(received / 2), received: Height(received), hash, limit: Height(received + 9) }
}

fn tip(chain: u32, height: u64) -> Tip {
    Tip { chain: ChainId(chain), height: Height(height) }
}

fn indexed(chain: u32, steps: u8) -> ChainProof {
    ChainProof {
        chain_id: ChainId(chain),
        first_height: Height(9),
        count: 4,
        chain_root: Hash([2; 32]),
        index: 5,
        side_path: (0..steps).map(|step| Hash([step; 32])).collect(),
    }
}

fn main_messages() -> Vec<MainMessage> {
    vec![
        MainMessage::Block(Box::new(BlockStart { header: *header(), chains: 7 })),
        MainMessage::Block(Box::new(BlockStart { header: *header(), chains: 0 })),
        MainMessage::Indexed(vec![indexed(3, 0), indexed(4, 3), indexed(u32::MAX, 32)]),
    ]
}

fn client_messages() -> Vec<ClientMessage> {
    vec![
        ClientMessage::Hello(Hello {
            software: "tributary 0.1.0".into(),
            chains: vec![ChainId(1), ChainId(9)],
        }),
        ClientMessage::Hello(Hello { software: String::new(), chains: Vec::new() }),
        ClientMessage::Resume(Resume { chain: ChainId(7), frames: 12 }),
        ClientMessage::Leave(ChainId(7)),
        ClientMessage::Tips(vec![tip(3, 0), tip(4, Height::MAX.0)]),
        ClientMessage::Tips(Vec::new()),
        ClientMessage::Follow(Height(0)),
        ClientMessage::Follow(Height(12)),
    ]
}

fn server_messages() -> Vec<ServerMessage> {
    let states = [
        EntryState::Speaker(position(0)),
        EntryState::Standby(position(12)),
        EntryState::Refused(RefusalCode::UnknownChain),
    ];
    let chains =
        states.iter().zip(1..).map(|(state, id)| Entry { chain: ChainId(id), state: *state }).collect();
    let (main_chain, genesis_hash) = (ChainId(9_992_731), Hash([1; 32]));
    let ack = |chain| Ack { chain: ChainId(chain), durable: Height(5), limit: Height(6) };
    let refused =
        Refused { chain: ChainId(3), code: RefusalCode::WrongParent, detail: "nämlich …".into() };
    vec![
        ServerMessage::Welcome(Welcome { main_chain, genesis_hash, head: Some(header()), chains }),
        ServerMessage::Welcome(Welcome { main_chain, genesis_hash, head: None, chains: Vec::new() }),
        ServerMessage::Ack(vec![ack(1), ack(2)]),
        ServerMessage::Header(header()),
        ServerMessage::Refused(refused),
        ServerMessage::Position(Entry { chain: ChainId(3), state: EntryState::Speaker(position(4)) }),
    ]
}

fn reads_back_and_every_truncation_is_refused<M: Message + PartialEq + std::fmt::Debug>(messages: &[M]) {
    for message in messages {
        let whole = bytes(message);
        assert_eq!(read::<M>(&whole).as_ref(), Ok(message));
        for end in 0..whole.len() {
            assert!(read::<M>(&whole[..end]).is_err(), "{message:?} cut at {end}");
            // The same cut, with a header that agrees with it.
            if let Some(length) = end.checked_sub(MESSAGE_HEADER_BYTES) {
                let mut short = whole[..end].to_vec();
                short[1..5].copy_from_slice(&(length as u32).to_le_bytes());
                assert!(read::<M>(&short).is_err(), "{message:?} cut short at {end}");
            }
        }
        let mut long = whole;
        long.push(0);
        let length = (long.len() - MESSAGE_HEADER_BYTES) as u32;
        long[1..5].copy_from_slice(&length.to_le_bytes());
        assert!(read::<M>(&long).is_err(), "{message:?} with a byte more");
    }
}

#[test]
fn messages_read_back_and_every_truncation_is_refused() {
    reads_back_and_every_truncation_is_refused(&client_messages());
    reads_back_and_every_truncation_is_refused(&server_messages());
    reads_back_and_every_truncation_is_refused(&main_messages());
}

#[test]
fn the_golden_bytes_of_hello_and_ack_stand() {
    let hello =
        ClientMessage::Hello(Hello { software: "x".into(), chains: vec![ChainId(2), ChainId(0x0102)] });
    let expected = [&[0x01, 16, 0, 0, 0][..], &[1, 0], &[1, b'x'], &[2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 0, 0]];
    assert_eq!(bytes(&hello), expected.concat());
    let ack = ServerMessage::Ack(vec![Ack { chain: ChainId(2), durable: Height(3), limit: Height(1024) }]);
    let expected = [
        &[0x82, 24, 0, 0, 0][..],
        &[1, 0, 0, 0],
        &[2, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[0, 4, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(bytes(&ack), expected.concat());
}

#[test]
fn the_longest_messages_fit() {
    let chains: Vec<_> = (0..MAX_CHAINS as u32).map(ChainId).collect();
    let hello =
        ClientMessage::Hello(Hello { software: "s".repeat(MAX_SOFTWARE_BYTES), chains: chains.clone() });
    assert_eq!(read(&bytes(&hello)), Ok(hello));
    let entry = |chain: &ChainId| Entry { chain: *chain, state: EntryState::Speaker(position(8)) };
    let welcome = ServerMessage::Welcome(Welcome {
        main_chain: ChainId(1),
        genesis_hash: Hash::ZERO,
        head: Some(header()),
        chains: chains.iter().map(entry).collect(),
    });
    assert_eq!(read(&bytes(&welcome)), Ok(welcome));
    let ack = |chain: &ChainId| Ack { chain: *chain, durable: Height(1), limit: Height(2) };
    let acks = ServerMessage::Ack(chains.iter().map(ack).collect());
    assert_eq!(read(&bytes(&acks)), Ok(acks));
    let tips = ClientMessage::Tips((0..MAX_CHAINS as u32).map(|chain| tip(chain, 1)).collect());
    assert_eq!(read(&bytes(&tips)), Ok(tips));
    let proofs = (0..MAX_INDEXED as u32).map(|chain| indexed(chain, 32)).collect();
    let proofs = MainMessage::Indexed(proofs);
    assert_eq!(read(&bytes(&proofs)), Ok(proofs));
}

#[test]
fn lengths_and_counts_are_refused_before_anything_is_allocated() {
    let mut header = [0x82, 0xff, 0xff, 0xff, 0xff];
    let error = MessageHeader::parse::<ServerMessage>(&header);
    assert!(matches!(error, Err(ControlError::Length { kind: 0x82, .. })), "{error:?}");
    header[0] = 0x01;
    let error = MessageHeader::parse::<ServerMessage>(&header);
    assert!(matches!(error, Err(ControlError::Kind { got: 0x01, .. })), "a client's message: {error:?}");

    let error = ServerMessage::decode(0x82, &16_384_u32.to_le_bytes());
    assert_eq!(error, Err(ControlError::Short { field: "acks", need: 327_680, left: 0 }));
    let error = ServerMessage::decode(0x82, &16_385_u32.to_le_bytes());
    assert!(matches!(error, Err(ControlError::Value { field: "acks", got: 16_385, .. })), "{error:?}");
}

#[test]
fn values_that_cannot_be_are_named() {
    let refuse = |message: &ServerMessage, at: usize, patch: &[u8]| {
        let mut wrong = bytes(message);
        wrong[at..at + patch.len()].copy_from_slice(patch);
        match read::<ServerMessage>(&wrong) {
            Err(ControlError::Value { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    let entry = |state| ServerMessage::Position(Entry { chain: ChainId(1), state });
    let speaker = entry(EntryState::Speaker(position(4)));
    let refused = entry(EntryState::Refused(RefusalCode::UnknownKey));
    assert_eq!(refuse(&speaker, 9, &[0]), "state");
    assert_eq!(refuse(&speaker, 10, &[1]), "code");
    assert_eq!(refuse(&speaker, 12, &[5]), "received");
    assert_eq!(refuse(&speaker, 19, &[0x80]), "durable");
    assert_eq!(refuse(&refused, 10, &[0]), "code");
    assert_eq!(refuse(&refused, 10, &[0xff, 0xff]), "code");
    assert_eq!(refuse(&refused, 60, &[1]), "limit");

    let hello = Hello { software: "x".into(), chains: vec![ChainId(4), ChainId(5)] };
    let mut wrong = bytes(&ClientMessage::Hello(hello));
    wrong[17] = 4;
    let error = read::<ClientMessage>(&wrong);
    assert!(matches!(error, Err(ControlError::Value { field: "chain_id", got: 4, .. })), "{error:?}");
    wrong[8] = 0xff;
    assert_eq!(read::<ClientMessage>(&wrong), Err(ControlError::Text { field: "software" }));
    let value = |bytes: &[u8]| match read::<MainMessage>(bytes) {
        Err(ControlError::Value { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let mut wide = bytes(&main_messages()[0]);
    *wide.last_mut().unwrap() = 1;
    assert_eq!(value(&wide), "chains", "more than the header has");
    let mut deep = bytes(&MainMessage::Indexed(vec![indexed(1, 2)]));
    deep[5 + 4 + 52] = 33;
    assert_eq!(value(&deep), "steps");
    assert_eq!(value(&[0x92, 4, 0, 0, 0, 0, 0, 0, 0]), "indexed");
    wrong[5] = 2;
    assert_eq!(read::<ClientMessage>(&wrong), Err(ControlError::Version { got: 2 }), "whatever follows");
}

#[test]
fn texts_are_shortened_between_characters() {
    assert_eq!(shorten("näh".into(), 2), "n");
    assert_eq!(shorten("näh".into(), 3), "nä");
    assert_eq!(shorten("näh".into(), 99), "näh");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics_and_what_is_accepted_is_canonical(
        kind in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Ok(message) = ClientMessage::decode(kind, &body) {
            prop_assert_eq!(&bytes(&message)[MESSAGE_HEADER_BYTES..], &body);
        }
        if let Ok(message) = ServerMessage::decode(kind, &body) {
            prop_assert_eq!(&bytes(&message)[MESSAGE_HEADER_BYTES..], &body);
        }
        if let Ok(message) = MainMessage::decode(kind, &body) {
            prop_assert_eq!(&bytes(&message)[MESSAGE_HEADER_BYTES..], &body);
        }
    }

    #[test]
    fn a_changed_message_is_refused_or_canonical(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let messages = [
            server_messages().iter().map(bytes).collect::<Vec<_>>(),
            client_messages().iter().map(bytes).collect(),
            main_messages().iter().map(bytes).collect(),
        ];
        for (direction, messages) in messages.iter().enumerate() {
            let mut changed = which.get(messages).clone();
            for (index, byte) in &edits {
                *index.get_mut(&mut changed) = *byte;
            }
            let again = match direction {
                0 => read::<ServerMessage>(&changed).as_ref().map(bytes).ok(),
                1 => read::<ClientMessage>(&changed).as_ref().map(bytes).ok(),
                _ => read::<MainMessage>(&changed).as_ref().map(bytes).ok(),
            };
            prop_assert!(again.is_none_or(|again| again == changed));
        }
    }
}
