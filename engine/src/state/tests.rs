use proptest::prelude::*;

use super::*;
use crate::chain::NodeKey;
use crate::merkle::tree;
use crate::quorum::FinalityRule;

const MAIN: ChainId = ChainId(1_000);

fn genesis(chains: u32) -> Genesis {
    let main = MainChain { id: MAIN, name: "main".into(), aelf_root: false };
    let chains: Vec<_> = (1..=chains).map(|id| side(2 * id, 1)).collect();
    Genesis::parse(&Genesis::document(&main, &chains)).unwrap()
}

fn side(id: u32, first_height: u64) -> SideChain {
    SideChain {
        id: ChainId(id),
        name: format!("side {id}"),
        first_height: Height(first_height),
        nodes: vec![NodeKey([id as u8; 32])],
        finality: FinalityRule::Single,
    }
}

fn register(id: u32, first_height: u64) -> Operation {
    Operation::Register(side(id, first_height))
}

fn remove(id: u32) -> Operation {
    Operation::Remove(ChainId(id))
}

/// The root, from the text of the protocol.
fn root_by_the_book(state: &State) -> Hash {
    let leaf = |chain: &ChainState| {
        let mut preimage = vec![if chain.active { 5 } else { 9 }];
        preimage.extend(chain.id.0.to_le_bytes());
        preimage.extend(chain.registration.0);
        preimage.extend(chain.indexed.0.to_le_bytes());
        preimage.extend(chain.hash.0);
        digest(&preimage)
    };
    let mut leaves: Vec<_> = state.chains().iter().map(leaf).collect();
    let mut nodes = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
    let chains = tree::root(&mut leaves, &mut nodes);
    digest(&[&[7, 1, 0, 0, 0][..], chains.as_bytes()].concat())
}

#[test]
fn a_chain_that_was_removed_keeps_its_place_and_goes_on_after_its_newest_block() {
    let mut state = State::new(&genesis(3));
    let before = state.root();
    assert_eq!(state.apply(&register(5, 7)), Ok(Applied { position: 2, inserted: true }));
    assert_eq!(state.chains()[2].indexed, Height(6));
    assert_ne!(state.root(), before);
    assert_eq!(state.root(), root_by_the_book(&state));
    state.index([(2, Height(9), Hash([9; 32]))]);

    assert_eq!(state.apply(&remove(5)), Ok(Applied { position: 2, inserted: false }));
    assert_eq!(state.root(), root_by_the_book(&state));
    let removed = state.root();
    let error = state.apply(&register(5, 11)).unwrap_err();
    assert_eq!(
        error,
        OperationError::Gap { chain: ChainId(5), first_height: Height(11), indexed: Height(9) }
    );
    assert_eq!(state.root(), removed, "what is refused changes nothing");
    for first_height in [1, 7, 10] {
        assert_eq!(state.apply(&register(5, first_height)).map(|applied| applied.inserted), Ok(false));
        let chain = state.chains()[2];
        assert_eq!((chain.indexed, chain.newest(), chain.active), (Height(9), Some(Hash([9; 32])), true));
        assert_eq!(state.root(), root_by_the_book(&state));
        state.apply(&remove(5)).unwrap();
    }
}

#[test]
fn a_chain_without_a_block_begins_where_its_newest_registration_says() {
    let mut state = State::new(&genesis(1));
    for first_height in [50, 3, 70] {
        state.apply(&register(9, first_height)).unwrap();
        assert_eq!((state.chains()[1].indexed, state.chains()[1].newest()), (Height(first_height - 1), None));
        state.apply(&remove(9)).unwrap();
    }
}

#[test]
fn ids_that_are_taken_and_chains_that_are_not_there_are_refused() {
    let mut state = State::new(&genesis(2));
    let root = state.root();
    let taken = |id| Err(OperationError::Taken { chain: ChainId(id) });
    let unknown = |id| Err(OperationError::Unknown { chain: ChainId(id) });
    assert_eq!(state.apply(&register(2, 1)), taken(2));
    assert_eq!(state.apply(&register(MAIN.0, 1)), taken(MAIN.0));
    assert_eq!(state.apply(&remove(3)), unknown(3));
    assert_eq!(state.root(), root);
    state.apply(&remove(2)).unwrap();
    assert_eq!(state.apply(&remove(2)), unknown(2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn what_operations_leave_is_what_replaying_them_gives(
        steps in prop::collection::vec((0_u32..12, 1_u64..6, 0_u64..4), 0..60),
        chains in 0_u32..4,
    ) {
        let genesis = genesis(chains);
        let mut state = State::new(&genesis);
        let mut done = Vec::new();
        for (height, (id, first, blocks)) in (1..).zip(steps) {
            let operation = if blocks % 2 == 0 { register(id, first) } else { remove(id) };
            if state.apply(&operation).is_ok() {
                done.push((Height(height), operation));
            }
            if let Ok(position) = state.chains().binary_search_by_key(&ChainId(id), |chain| chain.id)
                && state.chains()[position].active
                && blocks > 0
            {
                let indexed = Height(state.chains()[position].indexed.0 + blocks);
                state.index([(position, indexed, digest(&indexed.0.to_le_bytes()))]);
            }
        }
        prop_assert_eq!(state.root(), root_by_the_book(&state));
        let mut again = State::restore(&genesis, &done).unwrap();
        let heads: Vec<_> = (state.chains().iter().enumerate())
            .filter_map(|(position, chain)| Some((position, chain.indexed, chain.newest()?)))
            .collect();
        again.index_restored(heads);
        prop_assert_eq!(again.chains(), state.chains());
        prop_assert_eq!(again.root(), state.root());
        let registry = Registry::new(&genesis, done.iter().map(|(_, operation)| operation));
        let by_steps = Registry::new(&genesis, []);
        done.iter().for_each(|(_, operation)| by_steps.apply(operation));
        prop_assert_eq!(registry.chains(), by_steps.chains());
        // As many as the state names, whether they came one by one or with a start.
        let ever = state.chains().len();
        prop_assert_eq!((registry.ever(), by_steps.ever()), (ever, ever));
        prop_assert_eq!(registry.operation_bytes(), by_steps.operation_bytes());
        for id in 0..12 {
            let known = state.chains().iter().any(|chain| chain.id == ChainId(id));
            prop_assert_eq!(registry.ever_with(ChainId(id)), ever + usize::from(!known));
        }
        let active = state.chains().iter().filter(|chain| chain.active).map(|chain| chain.id);
        prop_assert!(registry.chains().iter().map(|side| side.id).eq(active));
    }
}
