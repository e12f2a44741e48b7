//! Writes the seeds of the corpus anew: `cargo run --example seeds` in `net/fuzz`. They are what is valid, and each field at
//! and just beyond its bounds.

use std::path::Path;

use engine::chain::{ChainId, Columns, Hash, Height, MainHeader, Timestamp};
use engine::lane::Position;
use engine::proof::ChainProof;
use mainstem_net_fuzz::recipe::{self, Plan};
use mainstem_net_fuzz::{CHECKSUM, LENGTH, LONG, RECIPE};
use net::control::{
    Ack, BlockStart, ClientMessage, Entry, EntryState, Hello, MainMessage, Message, RefusalCode, Refused,
    Resume, ServerMessage, Tip, Welcome,
};
use net::frame::{
    BLOCK_BYTES, FrameBuffer, FrameWriter, HEADER_BYTES, MAX_FRAME_BYTES, MAX_SECTION_BLOCKS, MAX_SECTIONS,
    SECTION_BYTES,
};

fn main() {
    frames();
    client_messages();
    server_messages();
    main_messages();
}

fn seed(target: &str, name: &str, mode: u8, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    std::fs::write(folder.join(name), [&[mode], bytes].concat()).expect("the corpus can be written");
}

fn frames() {
    let short = short_frame();
    seed("frame", "valid", 0, &short);
    seed("frame", "valid_mended", LENGTH | CHECKSUM, &short);
    for (name, cut) in [("cut_in_header", 15), ("cut_after_header", 16), ("cut_in_section", 63)] {
        seed("frame", name, LENGTH | CHECKSUM, &short[..cut]);
    }
    // Where, and what stands there.
    let fields: [(&str, usize, &[u8]); 15] = [
        ("length_0", 0, &[0; 4]),
        ("length_greatest", 0, &((MAX_FRAME_BYTES - HEADER_BYTES) as u32).to_le_bytes()),
        ("length_beyond", 0, &((MAX_FRAME_BYTES - HEADER_BYTES + 1) as u32).to_le_bytes()),
        ("length_4_gib", 0, &[0xff; 4]),
        ("sections_0", 4, &[0; 2]),
        ("sections_most", 4, &(MAX_SECTIONS as u16).to_le_bytes()),
        ("sections_beyond", 4, &(MAX_SECTIONS as u16 + 1).to_le_bytes()),
        ("version_2", 6, &[2]),
        ("flags_1", 7, &[1]),
        ("checksum", 8, &[0; 8]),
        ("count_0", 20, &[0; 4]),
        ("count_beyond", 20, &(MAX_SECTION_BLOCKS as u32 + 1).to_le_bytes()),
        ("count_4_gib", 20, &[0xff; 4]),
        ("first_height_0", 24, &[0; 8]),
        ("first_height_beyond", 24, &Height::MAX.0.to_le_bytes()),
    ];
    for (name, at, value) in fields {
        let mut bytes = short.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        seed("frame", name, if at < 16 { 0 } else { CHECKSUM }, &bytes);
    }
    let plan = Plan { chain: 1, sections: 1, count: 1, first: 1 };
    let most_blocks = ((MAX_FRAME_BYTES - HEADER_BYTES - 4 * SECTION_BYTES) / BLOCK_BYTES) as u16;
    let plans: [(&str, &[Plan]); 7] = [
        ("plan", &[plan, Plan { chain: 5, count: 3, ..plan }]),
        ("many_sections", &[Plan { sections: MAX_SECTIONS as u16, ..plan }]),
        ("too_many_sections", &[Plan { sections: MAX_SECTIONS as u16 + 1, ..plan }]),
        ("many_blocks", &[Plan { count: MAX_SECTION_BLOCKS as u16, ..plan }]),
        (
            "the_longest",
            &[
                Plan { sections: 3, count: MAX_SECTION_BLOCKS as u16, ..plan },
                Plan { chain: 9, count: most_blocks - 3 * MAX_SECTION_BLOCKS as u16, ..plan },
            ],
        ),
        ("the_greatest_heights", &[Plan { count: 2, first: Height::MAX.0 - 1, ..plan }]),
        ("the_same_chain_twice", &[plan, plan]),
    ];
    for (name, plans) in plans {
        let long = plans.iter().any(|plan| plan.sections > 100 || plan.count > 100);
        seed("frame", name, if long { RECIPE | LONG } else { RECIPE }, &recipe::write(plans, &[]));
    }
    seed(
        "frame",
        "plan_changed",
        RECIPE | CHECKSUM,
        &recipe::write(&[Plan { sections: 9, ..plan }], &[(140, 0), (20, 4)]),
    );
}

fn short_frame() -> Vec<u8> {
    let mut columns = Columns::default();
    for height in 1..=2 {
        columns.push(Hash([height; 32]), Hash([!height; 32]), Timestamp::from_millis(height.into()));
    }
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    for chain in [3, 5] {
        writer.push(ChainId(chain), Height(1), Hash::ZERO, columns.as_ref());
    }
    writer.finish().as_bytes().to_vec()
}

/// One message, and the same with a byte less and one more than it should have.
fn message(target: &str, name: &str, message: &impl Message) {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    seed(target, name, 0, &bytes);
    seed(target, &format!("{name}_cut"), LENGTH, &bytes[..bytes.len() - 1]);
    bytes.push(0);
    seed(target, &format!("{name}_long"), LENGTH, &bytes);
}

fn client_messages() {
    let hello = |software: &str, chains: &[u32]| {
        ClientMessage::Hello(Hello {
            software: software.into(),
            chains: chains.iter().copied().map(ChainId).collect(),
        })
    };
    message("client_message", "hello", &hello("tributary 0.1.0", &[1, 9]));
    message("client_message", "hello_empty", &hello("", &[]));
    message("client_message", "hello_bounds", &hello(&"s".repeat(64), &[0, u32::MAX]));
    let resume = |frames| ClientMessage::Resume(Resume { chain: ChainId(7), frames });
    message("client_message", "resume", &resume(12));
    message("client_message", "resume_most", &resume(u64::MAX));
    message("client_message", "leave", &ClientMessage::Leave(ChainId(7)));
    let tip = |chain, height| Tip { chain: ChainId(chain), height };
    let most = tip(u32::MAX, Height::MAX);
    message("client_message", "tips", &ClientMessage::Tips(vec![tip(2, Height(0)), tip(7, Height(9)), most]));
    message("client_message", "tips_empty", &ClientMessage::Tips(Vec::new()));
    message("client_message", "follow", &ClientMessage::Follow(Height(0)));
    message("client_message", "follow_most", &ClientMessage::Follow(Height::MAX));
    seed("client_message", "follow_beyond", LENGTH, &[[5, 0, 0, 0, 0].as_slice(), &[0xff; 8]].concat());
    seed("client_message", "tips_out_of_order", LENGTH, &tips_of(&[7, 7]));
    let mut several = Vec::new();
    for message in [hello("x", &[2]), resume(1), ClientMessage::Leave(ChainId(2))] {
        message.encode(&mut several);
    }
    seed("client_message", "several", 0, &several);
    seed("client_message", "version_2", LENGTH, &[1, 0, 0, 0, 0, 2, 0, 0xff]);
    seed("client_message", "count_beyond", LENGTH, &[1, 0, 0, 0, 0, 1, 0, 0, 0x01, 0x40, 0, 0]);
    seed("client_message", "length_4_gib", 0, &[1, 0xff, 0xff, 0xff, 0xff]);
    seed("client_message", "of_a_server", LENGTH, &[0x82, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Tips in any order, which no writer of ours keeps.
fn tips_of(chains: &[u32]) -> Vec<u8> {
    let mut bytes = [&[4, 0, 0, 0, 0], &(chains.len() as u32).to_le_bytes()[..]].concat();
    for chain in chains {
        bytes.extend(chain.to_le_bytes());
        bytes.extend(5_u64.to_le_bytes());
    }
    bytes
}

fn header() -> Box<MainHeader> {
    let hash = |byte| Hash([byte; 32]);
    Box::new(MainHeader {
        version: MainHeader::VERSION,
        chain_id: ChainId(9_992_731),
        height: Height(3),
        time: Timestamp::from_millis(4),
        parent: hash(5),
        side_root: hash(6),
        chain_count: 7,
        leaf_count: 8,
        ops_root: hash(9),
        state_root: hash(10),
        history_root: hash(11),
        aelf_root: hash(12),
    })
}

fn position(received: u64, hash: Option<Hash>) -> Position {
    Position { durable: Height(received / 2), received: Height(received), hash, limit: Height::MAX }
}

fn server_messages() {
    let states = [
        EntryState::Speaker(position(0, None)),
        EntryState::Standby(position(Height::MAX.0, Some(Hash([7; 32])))),
        EntryState::Refused(RefusalCode::UnknownChain),
    ];
    let entries: Vec<_> =
        states.iter().zip(1..).map(|(state, id)| Entry { chain: ChainId(id), state: *state }).collect();
    for (entry, name) in entries.iter().zip(["speaker", "standby", "refused_chain"]) {
        message("server_message", name, &ServerMessage::Position(*entry));
    }
    let welcome = |head, chains| {
        let (main_chain, genesis_hash) = (ChainId(9_992_731), Hash([1; 32]));
        ServerMessage::Welcome(Welcome { main_chain, genesis_hash, head, chains })
    };
    message("server_message", "welcome", &welcome(Some(header()), entries));
    message("server_message", "welcome_empty", &welcome(None, Vec::new()));
    let ack = |chain| Ack { chain: ChainId(chain), durable: Height(5), limit: Height::MAX };
    message("server_message", "ack", &ServerMessage::Ack(vec![ack(1), ack(u32::MAX)]));
    message("server_message", "ack_empty", &ServerMessage::Ack(Vec::new()));
    message("server_message", "header", &ServerMessage::Header(header()));
    for code in RefusalCode::ALL {
        let refused = Refused { chain: ChainId(3), code: *code, detail: "näh".into() };
        let mut bytes = Vec::new();
        ServerMessage::Refused(refused).encode(&mut bytes);
        seed("server_message", &format!("refused_{}", code.name()), 0, &bytes);
    }
    let longest = Refused { chain: ChainId(3), code: RefusalCode::Conflict, detail: "x".repeat(512) };
    message("server_message", "refused_longest", &ServerMessage::Refused(longest));
    seed("server_message", "ack_count_beyond", LENGTH, &[0x82, 0, 0, 0, 0, 0x01, 0x40, 0, 0]);
    seed("server_message", "ack_count_without_items", LENGTH, &[0x82, 0, 0, 0, 0, 0x00, 0x40, 0, 0]);
    seed("server_message", "length_4_gib", 0, &[0x81, 0xff, 0xff, 0xff, 0xff]);
    seed("server_message", "of_a_client", LENGTH, &[1, 0, 0, 0, 0, 1, 0]);
}

fn main_messages() {
    let proof = |chain, index, steps| ChainProof {
        chain_id: ChainId(chain),
        first_height: Height(1),
        count: 2,
        chain_root: Hash([3; 32]),
        index,
        side_path: vec![Hash([4; 32]); steps],
    };
    let start = |chains, chain_count| {
        let header = MainHeader { chain_count, ..*header() };
        MainMessage::Block(Box::new(BlockStart { header, chains }))
    };
    message("main_message", "block", &start(2, 7));
    message("main_message", "block_without_chains", &start(0, 0));
    message("main_message", "indexed", &MainMessage::Indexed(vec![proof(1, 0, 3), proof(9, 6, 1)]));
    message("main_message", "indexed_deepest", &MainMessage::Indexed(vec![proof(1, u32::MAX, 32)]));
    let mut several = Vec::new();
    for message in [start(2, 7), MainMessage::Indexed(vec![proof(1, 0, 3), proof(9, 6, 2)]), start(0, 1)] {
        message.encode(&mut several);
    }
    seed("main_message", "several", 0, &several);
    // A block whose only chain's leaf is the side root: a proof that holds.
    let proof = ChainProof { index: 0, side_path: Vec::new(), ..proof(1, 0, 0) };
    let mut true_header = MainHeader { chain_count: 1, ..*header() };
    true_header.side_root =
        engine::merkle::leaf::chain(proof.chain_id, proof.first_height, proof.count, proof.chain_root);
    let mut holds = Vec::new();
    MainMessage::Block(Box::new(BlockStart { header: true_header, chains: 1 })).encode(&mut holds);
    MainMessage::Indexed(vec![proof]).encode(&mut holds);
    seed("main_message", "a_proof_that_holds", 0, &holds);
    seed("main_message", "indexed_none", LENGTH, &[0x92, 0, 0, 0, 0, 0, 0, 0, 0]);
    seed("main_message", "indexed_too_many", LENGTH, &[0x92, 0, 0, 0, 0, 1, 2, 0, 0]);
}
