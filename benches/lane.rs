//! Lanes: what a block costs from a frame's columns through its lane, against the limit, copying as many bytes.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::lane::{Lane, SessionId};
use engine::quorum::FinalityRule;
use engine::state::SideChain;
use engine::sync::Doorbell;

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);

fn side() -> SideChain {
    SideChain {
        id: ChainId(1),
        name: "side".into(),
        first_height: Height(1),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    }
}

fn through(c: &mut Criterion) {
    for section in [1_usize, 16, 512] {
        let mut blocks = Columns::default();
        for _ in 0..section {
            blocks.push(Hash([7; 32]), Hash([8; 32]), Timestamp::from_millis(9));
        }
        let mut group = c.benchmark_group(format!("lane::through/section={section}"));
        group.throughput(Throughput::Elements(section as u64));
        let (lane, mut ends) = Lane::new(&side(), Height(0), None, 1024, Doorbell::new().0);
        lane.claim(KEY, SESSION).expect("the key is registered");
        let (mut height, mut parent) = (0, Hash::ZERO);
        let mut taken = Columns::default();
        group.bench_function("push, take, release", |b| {
            b.iter(|| {
                let pushed = lane.push(SESSION, Height(height + 1), parent, blocks.as_ref(), Duration::ZERO);
                height = pushed.expect("the next blocks, with room for them").0;
                parent = Hash([7; 32]);
                taken.clear();
                ends.outlet.take(section as u64, |slot| taken.push(slot.hash, slot.tx_root, slot.time));
                ends.drain.release(Height(height), Duration::ZERO, |_, _| ());
            });
        });
        group.bench_function("limit: one copy", |b| {
            b.iter_batched_ref(
                Columns::default,
                |copy| copy.clone_from(black_box(&blocks)),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, through);
criterion_main!(benches);
