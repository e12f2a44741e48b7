//! Every code of a refusal is provoked in a running server, and told with what was wrong and what to do about it: to the
//! peer, and in the server's own list.

use std::sync::mpsc;
use std::time::Duration;

use engine::chain::{ChainId, Hash};
use mainstem_net::client::{Disconnect, Event};
use mainstem_net::control::{ClientMessage, Hello, RefusalCode};
use mainstem_net::server::{KeyChanges, PeerList, ServerConfig};

use crate::by_hand::*;
use crate::support::*;

/// What a peer was told.
struct Heard {
    code: RefusalCode,
    detail: String,
    /// Which chain; none if the session was ended.
    chain: Option<ChainId>,
    /// The server's list, unless it is gone; and what keeps it up.
    told: Option<(PeerList, Main)>,
}

/// A code, what leads to it, and what its text has to say.
type Scene = (RefusalCode, fn() -> Heard, &'static [&'static str]);

const SCENES: [Scene; 16] = [
    (RefusalCode::UnknownKey, || turned_away(2), &["not registered for"]),
    (RefusalCode::UnknownChain, || turned_away(9), &["does not index"]),
    (RefusalCode::WrongVersion, || says(&[1, 4, 0, 0, 0, 2, 0, 0xff, 0xff]), &["version is 2", "expected 1"]),
    (RefusalCode::BadFrame, bad_frame, &["frame checksum is 0x", "expected"]),
    (RefusalCode::BadMessage, || says(b"GET / HTTP/1.1\r\n"), &["message type is 0x47", "expected hello"]),
    (RefusalCode::WrongHeight, || sends(&[section(4, 12, 1)]), &["height 12", "expected 1"]),
    (RefusalCode::WrongParent, || sends(&[section(4, 1, 5), forked(6)]), &["height 6", "0707"]),
    (RefusalCode::Conflict, || sends(&[section(4, 1, 5), twin(5)]), &["height 5", "0707"]),
    (RefusalCode::AboveLimit, || sends(&[section(4, 1, 65)]), &["65", "64"]),
    (RefusalCode::NotSpeaker, replaced, &["speak"]),
    (RefusalCode::NoChain, no_chain, &["names no chain"]),
    (RefusalCode::TooSlow, slow, &["no hello within 300ms"]),
    (RefusalCode::Busy, || second_session(2, |config| config.max_sessions = 1), &["1 sessions are open"]),
    (
        RefusalCode::Superseded,
        || second_session(1, |config| config.max_sessions_per_key = 1),
        &["a newer session of this key"],
    ),
    (RefusalCode::ShuttingDown, stopped, &["shut"]),
    (RefusalCode::Revoked, struck_off, &["is not registered any more"]),
];

#[test]
fn every_code_is_provoked_and_told_with_what_was_wrong_and_what_to_do() {
    let mut wrong = Vec::new();
    for code in RefusalCode::ALL {
        let scenes: Vec<_> = SCENES.iter().filter(|(of, ..)| of == code).collect();
        let [(_, play, says)] = scenes[..] else { panic!("one scene for {code}, not {}", scenes.len()) };
        let heard = play();
        // As whoever runs the peer reads it.
        let text = heard.detail.clone();
        let read =
            Disconnect { code: Some(heard.code), lasting: false, text, contradiction: None }.to_string();
        println!("{code:15} {read}");
        let remedy = code.remedy();
        let told = read.contains(remedy) || remedy.starts_with("nothing");
        let said = says.iter().all(|part| heard.detail.contains(part));
        if heard.code != *code || !told || !said {
            wrong.push(format!("{code} has to say {says:?} and {remedy:?}: {read}"));
            continue;
        }
        if let Some((list, main)) = heard.told {
            // As the operator of the server reads it.
            wait_until(&format!("{code} is in the list of refusals"), || {
                let key = list.refusals().iter().any(|refusal| {
                    (refusal.code, refusal.chain, &refusal.detail) == (*code, heard.chain, &heard.detail)
                });
                let all = list.chain_refusals();
                let of_chain =
                    |chain| all.iter().any(|refusal| (refusal.code, refusal.chain) == (*code, chain));
                key && heard.chain.is_none_or(of_chain)
            });
            drop(main);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A peer made by hand does something, and then tells how its session was ended.
macro_rules! ended {
    ($set:expr, $raw:ident, $fault:block) => {{
        let (tell, heard) = mpsc::channel();
        let main = with_raw($set, async move |mut $raw: Raw| {
            $fault
            tell.send($raw.closed().await).unwrap();
        });
        let (code, detail) = heard.recv().unwrap();
        Heard { code, detail, chain: None, told: Some((main.server.peer_list(), main)) }
    }};
}

fn says(bytes: &'static [u8]) -> Heard {
    ended!(|_| (), raw, { raw.send.write_all(bytes).await.unwrap() })
}

fn no_chain() -> Heard {
    ended!(|_| (), raw, {
        raw.say(&ClientMessage::Hello(Hello { software: "raw".into(), chains: Vec::new() })).await;
    })
}

fn slow() -> Heard {
    let soon = |config: &mut ServerConfig| config.hello_timeout = Duration::from_millis(300);
    ended!(soon, raw, { raw.send.write_all(&[1, 30, 0]).await.unwrap() })
}

fn bad_frame() -> Heard {
    ended!(|_| (), raw, {
        raw.hello(&[1]).await;
        let mut wrong = frame(&[section(1, 1, 5)]);
        *wrong.last_mut().unwrap() ^= 1;
        raw.send(&wrong).await;
    })
}

/// A peer made by hand sends these, each in a frame, of chain 4 of which nothing becomes durable.
fn sends(sections: &[Section]) -> Heard {
    let frames: Vec<_> = sections.iter().map(|one| frame(std::slice::from_ref(one))).collect();
    let (tell, heard) = mpsc::channel();
    let main = with_raw(
        |_| (),
        async move |mut raw: Raw| {
            raw.hello(&[4]).await;
            for frame in frames {
                raw.send(&frame).await;
            }
            tell.send(raw.refused().await).unwrap();
        },
    );
    let refused = heard.recv().unwrap();
    let told = Some((main.server.peer_list(), main));
    Heard { code: refused.code, detail: refused.detail, chain: Some(refused.chain), told }
}

/// Block 5 with another hash.
fn twin(height: u64) -> Section {
    let mut twin = section(4, height, 1);
    twin.blocks.hashes[0] = Hash([7; 32]);
    twin
}

/// A block on another parent.
fn forked(height: u64) -> Section {
    Section { parent: Hash([7; 32]), ..section(4, height, 1) }
}

/// The chains 1 and 2, each of the node of its number.
fn main_of_two(set: impl FnOnce(&mut ServerConfig)) -> Main {
    Main::start_with(&[side(1, &[&identity(1)]), side(2, &[&identity(2)])], 64, Stored::default(), set)
}

fn disconnected(told: &Told) -> (RefusalCode, String) {
    told.wait_for("being turned away", |event| match event {
        Event::Disconnected { reason, .. } => Some((reason.code?, reason.text.clone())),
        _ => None,
    })
}

fn of_session((code, detail): (RefusalCode, String), main: Main) -> Heard {
    Heard { code, detail, chain: None, told: Some((main.server.peer_list(), main)) }
}

/// Node 1 wants to send a chain that is not its own.
fn turned_away(chain: u32) -> Heard {
    let main = main_of_two(|_| ());
    let (_client, told) = start(main.client(&identity(1)), &World::new(&[chain], 10));
    of_session(disconnected(&told), main)
}

/// A second session begins, of node `seed`, where there is room for one.
fn second_session(seed: u8, set: impl FnOnce(&mut ServerConfig)) -> Heard {
    let main = main_of_two(set);
    let (_first, told_first) = start(main.client(&identity(1)), &World::new(&[1], 10));
    wait_durable(&main, 1, 10);
    let (_second, told_second) = start(main.client(&identity(seed)), &World::new(&[seed.into()], 10));
    // The newer one of a key stays, and of another key the older one.
    let heard = disconnected(if seed == 1 { &told_first } else { &told_second });
    of_session(heard, main)
}

/// The same node connects again, and then its first session sends more.
fn replaced() -> Heard {
    let main = main_of_two(|_| ());
    let (first, second) = (World::new(&[1], 10), World::new(&[1], 20));
    let (_first, told) = start(main.client(&identity(1)), &first);
    wait_durable(&main, 1, 10);
    let (_second, _) = start(main.client(&identity(1)), &second);
    wait_durable(&main, 1, 20);
    first.change(1, |side| side.made = 11);
    let (chain, code, detail) = told.wait_for("being refused", |event| match event {
        Event::Refused { chain, code, text } => Some((*chain, *code, text.clone())),
        _ => None,
    });
    Heard { code, detail, chain: Some(chain), told: Some((main.server.peer_list(), main)) }
}

fn stopped() -> Heard {
    let main = main_of_two(|_| ());
    let (_client, told) = start(main.client(&identity(1)), &World::new(&[1], 10));
    wait_durable(&main, 1, 10);
    main.shutdown();
    let (code, detail) = disconnected(&told);
    Heard { code, detail, chain: None, told: None }
}

fn struck_off() -> Heard {
    let main = main_of_two(|_| ());
    let (_client, told) = start(main.client(&identity(1)), &World::new(&[1], 10));
    wait_durable(&main, 1, 10);
    main.keys.set(KeyChanges { revoked: [key(1)].into(), ..KeyChanges::default() });
    of_session(disconnected(&told), main)
}
