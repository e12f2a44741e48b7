//! However fast a peer talks, the server works at its own pace, and writes down what it refuses.

use std::time::Duration;

use engine::chain::{ChainId, Height};
use mainstem_net::control::{ClientMessage, EntryState, RefusalCode, Resume, ServerMessage, Tip};

use crate::by_hand::*;
use crate::support::*;

fn resume(chain: u32) -> ClientMessage {
    ClientMessage::Resume(Resume { chain: ChainId(chain), frames: 0 })
}

/// Waits for where `chain` stands, whatever is told of others before: then all that was said before is done.
async fn answered(raw: &mut Raw, chain: u32) -> EntryState {
    loop {
        if let ServerMessage::Position(entry) = raw.hear().await
            && entry.chain == ChainId(chain)
        {
            return entry.state;
        }
    }
}

#[test]
fn a_flood_of_tips_from_who_stands_by_costs_few_rounds() {
    let main = with_raw(
        |_| (),
        async |mut raw: Raw| {
            let (other, _) = raw.other_node(&[1], 3);
            raw.until(|| other.0.as_ref().unwrap().status().chains[0].durable == Height(3)).await;
            let welcome = raw.hello(&[1, 2]).await;
            assert!(matches!(welcome.chains[0].state, EntryState::Standby(_)));
            for height in 0..1_000 {
                let tip = Tip { chain: ChainId(1), height: Height(height) };
                raw.say(&ClientMessage::Tips(vec![tip])).await;
            }
            raw.say(&resume(2)).await;
            assert!(matches!(answered(&mut raw, 2).await, EntryState::Speaker(_)));
        },
    );
    let counters = main.server.peer_list().counters();
    assert!(counters.control_messages > 1_000);
    // A burst, and two a second for the 30 s that this may take at most.
    assert!(counters.control_rounds < 100, "{}", counters.control_rounds);
}

#[test]
fn who_gives_a_chain_up_again_and_again_does_not_have_all_sessions_looked_at_each_time() {
    let main = with_raw(
        |config| config.claims_pace = Duration::from_secs(1),
        async |mut raw: Raw| {
            raw.hello(&[1, 2]).await;
            for _ in 0..200 {
                raw.say(&ClientMessage::Leave(ChainId(1))).await;
                raw.say(&resume(1)).await;
                assert!(matches!(answered(&mut raw, 1).await, EntryState::Speaker(_)));
            }
        },
    );
    let rounds = main.server.peer_list().counters().herald_rounds;
    assert!((1..=40).contains(&rounds), "one a second: {rounds}");
}

#[test]
fn chains_that_are_refused_while_others_are_served_are_written_down() {
    let main = with_raw(
        |_| (),
        async |mut raw: Raw| {
            let welcome = raw.hello(&[1, 98, 99]).await;
            assert!(matches!(welcome.chains[2].state, EntryState::Refused(RefusalCode::UnknownChain)));
            raw.say(&resume(99)).await;
            assert!(matches!(answered(&mut raw, 99).await, EntryState::Refused(_)));
            raw.say(&resume(2)).await;
            assert_eq!(raw.closed().await.0, RefusalCode::BadMessage, "the hello did not name it");
        },
    );
    let list = main.server.peer_list();
    assert_eq!(list.counters().chain_refusals.get(RefusalCode::UnknownChain), 3);
    let [refusal] = &list.refusals()[..] else { panic!("one key") };
    assert_eq!((refusal.key, refusal.count), (key(1), 4), "and the session");
}
