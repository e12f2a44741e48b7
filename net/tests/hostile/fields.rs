//! Every field out of its range, on the wire: each on a connection of its own, each answered with the documented code.

use engine::chain::{ChainId, Height};
use mainstem_net::control::{ClientMessage, Hello, Message, RefusalCode};
use quinn::VarInt;

use crate::by_hand::*;
use crate::scene::{NODES, Scene, closed};

/// What is sent, and what the answer has to be: its code, and a part of its reason.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    code: RefusalCode,
    reason: &'static str,
}

fn case(name: &'static str, bytes: &[u8], code: RefusalCode, reason: &'static str) -> Case {
    Case { name, bytes: bytes.to_vec(), code, reason }
}

/// A frame of two sections with `value` at `at`, its checksum mended.
fn frame_with(at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = frame(&[section(1, 1, 2), section(2, 1, 1)]);
    bytes[at..at + value.len()].copy_from_slice(value);
    if !(8..16).contains(&at) {
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[16..]);
        bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

fn frames() -> Vec<Case> {
    let bad =
        |name, at, value: &[u8], reason| case(name, &frame_with(at, value), RefusalCode::BadFrame, reason);
    let second = 16 + 48 + 2 * 72;
    vec![
        bad("no length", 0, &[0; 4], "frame length is 0"),
        bad("a length of 4 GiB", 0, &[0xff; 4], "frame length is 4294967295"),
        bad("a length above the greatest", 0, &((1 << 20) - 15_u32).to_le_bytes(), "frame length is 1048561"),
        bad("a length too short for its sections", 0, &239_u32.to_le_bytes(), "frame length is 239"),
        bad("no sections", 4, &[0, 0], "frame sections is 0"),
        bad("too many sections", 4, &4_097_u16.to_le_bytes(), "frame sections is 4097"),
        bad("65,535 sections", 4, &[0xff; 2], "frame sections is 65535"),
        bad("fewer sections than there are", 4, &[1, 0], "after its 1 sections"),
        bad("more sections than there are", 4, &[3, 0], "frame length is"),
        bad("version 0", 6, &[0], "frame version is 0"),
        bad("version 2", 6, &[2], "frame version is 2"),
        bad("version 255", 6, &[255], "frame version is 255"),
        bad("a flag", 7, &[1], "frame flags are 0x01"),
        bad("all flags", 7, &[255], "frame flags are 0xff"),
        bad("another checksum", 8, &[0; 8], "frame checksum is"),
        bad("no blocks", 20, &[0; 4], "count is 0"),
        bad("too many blocks", 20, &4_097_u32.to_le_bytes(), "count is 4097"),
        bad("4 G blocks", 20, &[0xff; 4], "count is 4294967295"),
        bad("more blocks than there are", 20, &[4, 0], "bytes left"),
        bad("height 0", 24, &[0; 8], "first_height is 0"),
        bad("the greatest u64 as height", 24, &[0xff; 8], "first_height is 18446744073709551615"),
        bad("a last height above the greatest", 24, &Height::MAX.0.to_le_bytes(), "first_height is"),
        bad("the same chain twice", second, &[1, 0, 0, 0], "is of chain"),
        bad("chains that descend", second, &[0, 0, 0, 0], "is of chain"),
        case(
            "a chain that the hello did not name",
            &frame_with(second, &[3, 0, 0, 0]),
            RefusalCode::UnknownChain,
            "which the hello did not",
        ),
    ]
}

/// A message with any body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_le_bytes()[..], body].concat()
}

fn announced(kind: u8, length: u32) -> Vec<u8> {
    [&[kind], &length.to_le_bytes()[..]].concat()
}

fn tips(items: &[(u32, u64)]) -> Vec<u8> {
    let mut body = (items.len() as u32).to_le_bytes().to_vec();
    for (chain, height) in items {
        body.extend(chain.to_le_bytes());
        body.extend(height.to_le_bytes());
    }
    message(4, &body)
}

/// What may not come after a hello.
fn messages() -> Vec<Case> {
    let bad = |name, bytes: &[u8], reason| case(name, bytes, RefusalCode::BadMessage, reason);
    let unnamed = "which the hello did not";
    vec![
        bad("type 0", &message(0, &[]), "message type is 0x00"),
        bad("type 6", &message(6, &[]), "message type is 0x06"),
        bad("a server's message", &message(0x82, &[0; 4]), "message type is 0x82"),
        bad("type 255", &message(255, &[]), "message type is 0xff"),
        bad("a hello of 4 GiB", &announced(1, u32::MAX), "length is 4294967295"),
        bad("tips of 4 GiB", &announced(4, u32::MAX), "length is 4294967295"),
        bad("tips longer than any", &announced(4, 4 + 16_384 * 12 + 1), "length is 196613"),
        bad("a long resume", &announced(2, 13), "length is 13"),
        bad("a long leave", &announced(3, 5), "length is 5"),
        bad("a long follow", &announced(5, 9), "length is 9"),
        bad("a short resume", &message(2, &[0; 11]), "frames needs 8 bytes"),
        bad("a short leave", &message(3, &[0; 3]), "chain_id needs 4 bytes"),
        bad("a short follow", &message(5, &[0; 7]), "from needs 8 bytes"),
        bad("an empty message", &message(2, &[]), "chain_id needs 4 bytes"),
        bad("tips that are not there", &message(4, &[1, 0, 0, 0]), "tips needs 12 bytes"),
        bad("too many tips", &message(4, &16_385_u32.to_le_bytes()), "tips is 16385"),
        bad("4 G tips", &message(4, &[0xff; 4]), "tips is 4294967295"),
        bad("a byte after tips", &message(4, &[0, 0, 0, 0, 7]), "1 bytes after its last field"),
        bad("tips out of order", &tips(&[(2, 1), (1, 1)]), "chain_id is 1"),
        bad("a chain twice in tips", &tips(&[(1, 1), (1, 1)]), "chain_id is 1"),
        bad("a tip above the greatest height", &tips(&[(1, u64::MAX)]), "height is 18446744073709551615"),
        bad("a tip of a chain that the hello did not name", &tips(&[(3, 1)]), unnamed),
        bad("following from above the greatest height", &message(5, &[0xff; 8]), "from is"),
        bad(
            "resuming a chain that the hello did not name",
            &message(2, &[[3; 4], [0; 4], [0; 4]].concat()),
            unnamed,
        ),
        bad("leaving a chain that the hello did not name", &message(3, &[3, 0, 0, 0]), unnamed),
        bad("a second hello", &hello(&[1]), "a second hello"),
    ]
}

fn hello(chains: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    let chains = chains.iter().copied().map(ChainId).collect();
    ClientMessage::Hello(Hello { software: "raw".into(), chains }).encode(&mut out);
    out
}

/// A hello with `value` at `at` of its body: version u16, software length u8, "raw", count u32, chains 1 and 2.
fn hello_with(at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = hello(&[1, 2]);
    bytes[5 + at..5 + at + value.len()].copy_from_slice(value);
    bytes
}

/// What may not come first.
fn hellos() -> Vec<Case> {
    let bad = |name, bytes: &[u8], reason| case(name, bytes, RefusalCode::BadMessage, reason);
    let version =
        |name, value: &[u8], reason| case(name, &hello_with(0, value), RefusalCode::WrongVersion, reason);
    vec![
        version("version 0", &[0, 0], "protocol version is 0"),
        version("version 2", &[2, 0], "protocol version is 2"),
        version("version 65,535", &[0xff; 2], "protocol version is 65535"),
        bad("a software name that is too long", &hello_with(2, &[65]), "software is 65"),
        bad("a software name that is not there", &hello_with(2, &[64]), "software needs 64 bytes"),
        bad("a software name that is no text", &hello_with(3, &[0xff]), "software is not UTF-8"),
        bad("too many chains", &hello_with(6, &16_385_u32.to_le_bytes()), "chains is 16385"),
        bad("4 G chains", &hello_with(6, &[0xff; 4]), "chains is 4294967295"),
        bad("chains that are not there", &hello_with(6, &[3]), "chains needs 12 bytes"),
        bad("fewer chains than there are", &hello_with(6, &[1]), "4 bytes after its last field"),
        bad("a chain twice", &hello_with(10, &[2]), "chain_id is 2"),
        bad("chains that descend", &hello_with(10, &[3]), "chain_id is 2"),
        bad("a hello longer than any", &announced(1, 1 << 20), "length is 1048576"),
        bad("an empty hello", &message(1, &[]), "version needs 2 bytes"),
        bad("a resume first", &message(2, &[0; 12]), "the first message is no hello"),
        bad("a leave first", &message(3, &[0; 4]), "the first message is no hello"),
        bad("tips first", &tips(&[]), "the first message is no hello"),
        bad("a follow first", &message(5, &[0; 8]), "the first message is no hello"),
        bad("a welcome first", &announced(0x81, 0), "message type is 0x81"),
        bad("another protocol", b"GET / HTTP/1.1\r\n\r\n", "message type is 0x47"),
        case("no chains", &hello(&[]), RefusalCode::NoChain, "names no chain"),
        case("unknown chains", &hello(&[1_000]), RefusalCode::UnknownChain, "does not index"),
        case("the chain of another node", &hello(&[100]), RefusalCode::UnknownKey, "not registered for"),
        case("one of each", &hello(&[100, 1_000]), RefusalCode::NoChain, "unknown, or not of this key"),
    ]
}

/// Where a case's bytes go.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    First,
    Control,
    Data,
}

fn try_all(place: Where, cases: Vec<Case>) {
    let scene = Scene::new(|_| ());
    let before = scene.counters().closes;
    let codes: Vec<_> = cases.iter().map(|case| case.code).collect();
    for Case { name, bytes, code, reason } in cases {
        let (got, text) = scene.peer(NODES[0], async move |mut raw: Raw| {
            if place != Where::First {
                raw.hello(&[1, 2]).await;
            }
            if place == Where::Data {
                raw.send(&bytes).await;
            } else {
                raw.send.write_all(&bytes).await.unwrap();
            }
            closed(&raw.connection.closed().await)
        });
        assert!(got == code && text.contains(reason), "{name}: {got} {text}");
    }
    let after = scene.counters().closes;
    for code in RefusalCode::ALL {
        let expected = codes.iter().filter(|other| *other == code).count() as u64;
        assert_eq!(after.get(*code) - before.get(*code), expected, "{code} is counted");
    }
    for chain in [1, 2] {
        scene.main.assert_holds(ChainId(chain), 0);
    }
    assert_eq!(VarInt::from(RefusalCode::BadFrame.number()), RefusalCode::BadFrame.close_code());
    scene.calm();
}

#[test]
fn every_field_of_a_frame_out_of_range_ends_the_connection_and_nothing_counts() {
    try_all(Where::Data, frames());
}

#[test]
fn every_field_of_a_message_out_of_range_ends_the_connection() {
    try_all(Where::Control, messages());
}

#[test]
fn every_field_of_a_hello_out_of_range_ends_the_connection() {
    try_all(Where::First, hellos());
}
