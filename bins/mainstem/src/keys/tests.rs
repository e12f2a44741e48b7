use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use engine::state::Genesis;
use net::identity::Identity;

use super::watch::{Follower, Known};
use super::*;

fn key(seed: u8) -> NodeKey {
    Identity::from_seed([seed; 32]).public()
}

/// Two chains: one of the keys 1 and 2, one of key 2.
fn genesis() -> Genesis {
    let (one, two) = (key(1), key(2));
    let text = format!(
        "[main]\nid = 1\nname = \"m\"\n\
         [[chain]]\nid = 2\nname = \"a\"\nnodes = [\"{one}\", \"{two}\"]\n\
         [[chain]]\nid = 3\nname = \"b\"\nnodes = [\"{two}\"]\n"
    );
    Genesis::parse(&text).unwrap()
}

fn always(genesis: &Genesis) -> Known {
    let known = genesis.chains.clone();
    Box::new(move || known.clone())
}

#[test]
fn a_state_is_read_back_from_its_document() {
    let genesis = genesis();
    let mut state = KeyState::default();
    assert_eq!(KeyState::parse(&state.document(), &genesis.chains), Ok(Some(state.clone())));
    state.rotate(&genesis.chains, key(1), key(11), true).unwrap();
    state.rotate(&genesis.chains, key(2), key(12), false).unwrap();
    state.revoke(&genesis.chains, key(11)).unwrap();
    assert_eq!(KeyState::parse(&state.document(), &genesis.chains), Ok(Some(state.clone())));
    assert_eq!(state.revoked, [key(2), key(11)].into());
    let changes = state.changes();
    assert_eq!((changes.revoked, changes.stands_for), (state.revoked, state.stands_for));
}

#[test]
fn a_text_that_says_nothing_is_not_one_that_says_that_no_key_is_revoked() {
    let genesis = genesis();
    for nothing in ["", " \r\n\n", "# revoked = []\n", "\u{feff}"] {
        assert_eq!(KeyState::parse(nothing, &genesis.chains), Ok(None), "{nothing:?}");
    }
    for none in ["revoked = []", "stands_for = []"] {
        assert_eq!(KeyState::parse(none, &genesis.chains), Ok(Some(KeyState::default())), "{none:?}");
    }
}

#[test]
fn a_rotation_revokes_all_other_keys_unless_they_are_kept() {
    let genesis = genesis();
    let mut state = KeyState::default();
    assert_eq!(state.rotate(&genesis.chains, key(1), key(11), true), Ok(vec![]));
    assert!(state.speakers(key(1)).eq([key(1), key(11)]));
    // The change-over ends.
    assert_eq!(state.rotate(&genesis.chains, key(1), key(11), false), Ok(vec![key(1)]));
    assert!(state.speakers(key(1)).eq([key(11)]));
    // And again, years later.
    assert_eq!(state.rotate(&genesis.chains, key(1), key(21), false), Ok(vec![key(11)]));
    assert!(state.speakers(key(1)).eq([key(21)]));
    assert!(state.speakers(key(2)).eq([key(2)]));
}

#[test]
fn a_chain_that_nobody_may_speak_for_is_noticed() {
    let genesis = genesis();
    let mut state = KeyState::default();
    let mute =
        |state: &KeyState| state.mute(&genesis.chains).iter().map(|side| side.id.0).collect::<Vec<_>>();
    assert_eq!(state.revoke(&genesis.chains, key(2)), Ok(true));
    assert_eq!(state.revoke(&genesis.chains, key(2)), Ok(false));
    assert_eq!(mute(&state), [3]);
    state.revoke(&genesis.chains, key(1)).unwrap();
    assert_eq!(mute(&state), [2, 3]);
    state.restore(&genesis.chains, key(2)).unwrap();
    assert_eq!(mute(&state), [0; 0]);
}

#[test]
fn what_cannot_be_is_refused_with_what_would_be_right() {
    let genesis = genesis();
    let mut state = KeyState::default();
    state.rotate(&genesis.chains, key(1), key(11), true).unwrap();
    let before = state.clone();
    let (one, two, eleven, nine) = (key(1), key(2), key(11), key(9));
    for (refused, said) in [
        (
            state.revoke(&genesis.chains, nine).map(drop),
            format!("KEY: {nine} is registered for no chain and stands"),
        ),
        (state.restore(&genesis.chains, nine), format!("KEY: {nine} is registered for no chain and stands")),
        (state.restore(&genesis.chains, one), format!("KEY: {one} is not revoked")),
        (
            state.rotate(&genesis.chains, nine, key(12), false).map(drop),
            format!("REGISTERED: {nine} is registered for no chain"),
        ),
        (
            state.rotate(&genesis.chains, eleven, key(12), false).map(drop),
            format!("REGISTERED: {eleven} only stands for {one}: expected that one"),
        ),
        (
            state.rotate(&genesis.chains, one, two, false).map(drop),
            format!("NEW: {two} is registered itself: expected a new key"),
        ),
        (
            state.rotate(&genesis.chains, one, one, false).map(drop),
            format!("NEW: {one} is registered itself: expected a new key"),
        ),
        (
            state.rotate(&genesis.chains, two, eleven, false).map(drop),
            format!("NEW: {eleven} stands for {one} already"),
        ),
    ] {
        let text = refused.unwrap_err().to_string();
        assert!(text.starts_with(&said), "{said:?} in {text:?}");
    }
    assert_eq!(state, before);
    state.revoke(&genesis.chains, eleven).unwrap();
    let text = state.rotate(&genesis.chains, one, eleven, false).unwrap_err().to_string();
    assert!(text.contains("is revoked: take a key that never was"), "{text}");
}

#[test]
fn a_file_that_is_wrong_is_refused_with_the_field_and_its_value() {
    let genesis = genesis();
    let (one, two, nine) = (key(1), key(2), key(9));
    let stands =
        |key, registered| format!("[[stands_for]]\nkey = \"{key}\"\nregistered = \"{registered}\"\n");
    for (text, said) in [
        ("revoked = [\"abc\"]".to_owned(), "revoked[0]: \"abc\" is not a node key: expected ".to_owned()),
        ("\nrevoked = 5".into(), "line 2: invalid type: integer `5`, expected a sequence".into()),
        ("revokd = []".into(), "unknown field `revokd`".into()),
        (stands(nine, one) + "since = 5", "unknown field `since`".into()),
        (format!("[[stands_for]]\nkey = \"{nine}\""), "missing field `registered`".into()),
        (format!("revoked = [\"{one}\", \"{one}\"]"), format!("revoked[1]: {one} is listed twice")),
        (format!("revoked = [\"{nine}\"]"), format!("revoked[0]: {nine} is registered for no chain")),
        (stands(nine, one) + &stands(nine, two), format!("stands_for[1].key: {nine} is listed twice")),
        (stands(one, two), format!("stands_for[0].key: {one} is registered itself")),
        (stands(nine, key(8)), format!("stands_for[0].registered: {} is registered for no chain", key(8))),
        (stands(nine, one) + &stands(key(8), nine), format!("{nine} only stands for {one}")),
    ] {
        let error = KeyState::parse(&text, &genesis.chains).unwrap_err().to_string();
        assert!(error.contains(&said), "{said:?} in {error:?}");
    }
}

#[test]
fn a_change_is_written_whole_or_not_at_all() {
    let genesis = genesis();
    let dir = tempfile::tempdir().unwrap();
    let file = KeysFile::at(&dir.path().join("keys.toml"));
    assert_eq!(file.read(&genesis.chains).unwrap(), KeyState::default());
    let revoke = |key| file.change(&genesis.chains, |state| anyhow::Ok(state.revoke(&genesis.chains, key)?));
    revoke(key(1)).unwrap();
    revoke(key(9)).unwrap_err();
    assert_eq!(file.read(&genesis.chains).unwrap().revoked, [key(1)].into());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");

    // A file that somebody broke is not overwritten.
    fs::write(file.path(), "revoked = [").unwrap();
    let error = revoke(key(2)).unwrap_err().to_string();
    assert!(error.contains("keys.toml: line 1: "), "{error}");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "revoked = [");
}

#[test]
fn changes_made_at_once_are_all_kept() {
    let genesis = genesis();
    let dir = tempfile::tempdir().unwrap();
    let file = KeysFile::at(&dir.path().join("keys.toml"));
    std::thread::scope(|scope| {
        for seed in 10..18 {
            let (file, genesis) = (&file, &genesis.chains);
            scope.spawn(move || {
                let rotate =
                    |state: &mut KeyState| anyhow::Ok(state.rotate(genesis, key(1), key(seed), true)?);
                file.change(genesis, rotate).unwrap();
            });
        }
    });
    assert_eq!(file.read(&genesis.chains).unwrap().stands_for.len(), 8);
}

#[test]
fn a_change_of_the_file_is_followed_and_a_wrong_one_is_not() {
    let genesis = genesis();
    let dir = tempfile::tempdir().unwrap();
    let file = KeysFile::at(&dir.path().join("keys.toml"));
    let (send, states) = mpsc::channel();
    let watch = Watch::start(file.clone(), always(&genesis), KeyState::default(), move |state| {
        send.send(state.clone()).unwrap();
    });
    let next = || states.recv_timeout(Duration::from_secs(60)).unwrap();
    let mut state = KeyState::default();
    state.revoke(&genesis.chains, key(1)).unwrap();
    fs::write(file.path(), state.document()).unwrap();
    assert_eq!(next(), state);

    fs::write(file.path(), "nonsense").unwrap();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(states.try_recv(), Err(mpsc::TryRecvError::Empty));
    // Of the same length as the first one.
    state.restore(&genesis.chains, key(1)).unwrap();
    state.revoke(&genesis.chains, key(2)).unwrap();
    fs::write(file.path(), state.document()).unwrap();
    assert_eq!(next(), state);

    fs::write(file.path(), "revoked = []\n").unwrap();
    assert_eq!(next(), KeyState::default());
    drop(watch);
    assert_eq!(states.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

/// A follower of a file that revokes key 1, and what it has applied.
fn followed()
-> (tempfile::TempDir, KeysFile, KeyState, Follower<impl FnMut(&KeyState)>, mpsc::Receiver<KeyState>) {
    let genesis = genesis();
    let dir = tempfile::tempdir().unwrap();
    let file = KeysFile::at(&dir.path().join("keys.toml"));
    let mut state = KeyState::default();
    state.revoke(&genesis.chains, key(1)).unwrap();
    fs::write(file.path(), state.document()).unwrap();
    let (send, applied) = mpsc::channel();
    let apply = move |state: &KeyState| send.send(state.clone()).unwrap();
    let mut follower = Follower::new(file.clone(), always(&genesis), state.clone(), apply);
    (0..3).for_each(|_| follower.look());
    assert_eq!(applied.try_iter().count(), 0);
    (dir, file, state, follower, applied)
}

#[test]
fn a_file_that_is_removed_or_truncated_lets_nobody_back_in() {
    let (_dir, file, state, mut follower, applied) = followed();
    let aside = file.path().with_extension("aside");
    let steps: [fn(&KeysFile); 3] = [
        |file| fs::remove_file(file.path()).unwrap(),
        |file| fs::write(file.path(), "").unwrap(),
        |file| fs::write(file.path(), "# nothing yet\n").unwrap(),
    ];
    for step in steps {
        step(&file);
        (0..4).for_each(|_| follower.look());
        assert_eq!(applied.try_iter().count(), 0);
        let said = follower.said().expect("an error");
        assert!(said.contains("1 keys were revoked and 0 new by it; the keys stay as they were"), "{said}");
        assert!(said.contains("`mainstem keys restore`") && said.contains("`revoked = []`"), "{said}");
    }
    // Put back by a rename, as editors do: nothing has changed, and nothing is wrong any more.
    fs::write(&aside, state.document()).unwrap();
    fs::rename(&aside, file.path()).unwrap();
    (0..2).for_each(|_| follower.look());
    assert_eq!((follower.said(), applied.try_iter().count()), (None, 0));
    // And after all that it is still followed.
    fs::write(file.path(), "revoked = []\n").unwrap();
    (0..2).for_each(|_| follower.look());
    assert_eq!(applied.try_iter().collect::<Vec<_>>(), [KeyState::default()]);
}

#[test]
fn a_missing_file_is_not_missed_when_it_changed_nothing() {
    let (_dir, file, _, mut follower, applied) = followed();
    fs::write(file.path(), "revoked = []\n").unwrap();
    (0..2).for_each(|_| follower.look());
    assert_eq!(applied.try_iter().collect::<Vec<_>>(), [KeyState::default()]);
    fs::remove_file(file.path()).unwrap();
    (0..3).for_each(|_| follower.look());
    assert_eq!((follower.said(), applied.try_iter().count()), (None, 0));
}

#[test]
fn a_half_written_file_is_waited_for() {
    let (_dir, file, before, mut follower, applied) = followed();
    let mut whole = before.clone();
    whole.rotate(&genesis().chains, key(2), key(12), true).unwrap();
    whole.revoke(&genesis().chains, key(2)).unwrap();
    // Each beginning that a look comes upon; the one that ends before `[[stands_for]]` is a right file, with less in it.
    let text = whole.document();
    let shorter = text.find("\n[[stands_for]]").unwrap();
    assert_ne!(KeyState::parse(&text[..shorter], &genesis().chains).unwrap().unwrap(), whole);
    for end in [0, 10, shorter - 4, shorter, text.len() - 3, text.len()] {
        fs::write(file.path(), &text[..end]).unwrap();
        follower.look();
        assert_eq!((follower.said(), applied.try_iter().count()), (None, 0), "{end} bytes");
    }
    follower.look();
    assert_eq!(applied.try_iter().collect::<Vec<_>>(), [whole]);
}
