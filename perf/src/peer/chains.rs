//! The chains: what each may send, whether it follows on what was there, and what of it waits to be sealed.
//!
//! A mutex a chain, held for a batch: the tasks of the connections fill, the sealing thread takes whole buffers out
//! and puts empty ones back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::message::{Ack, Batch};

pub(super) type Hash = [u8; 32];

/// Bytes of a side block in a [`Run`]: hash, transaction root, time.
pub(super) const ROW_BYTES: usize = 72;

/// Room before the rows of a run, for the height of the main block.
pub(super) const RUN_HEAD: usize = 8;

/// Side blocks of a chain, one after the other, as they are stored.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) count: u64,
    /// [`RUN_HEAD`] bytes, then rows.
    pub(super) value: Vec<u8>,
    /// Until its tree is made.
    pub(super) leaves: Vec<Hash>,
    /// When batches came, and how many blocks were in them.
    pub(super) received: Vec<(Instant, u64)>,
}

impl Run {
    pub(super) fn last(&self) -> u64 {
        self.first + self.count - 1
    }

    fn clear(&mut self) {
        self.count = 0;
        self.value.clear();
        self.leaves.clear();
        self.received.clear();
    }
}

/// All chains, in the order of their ids, which begin with 1.
pub(super) struct Chains {
    all: Vec<Mutex<Chain>>,
    /// Blocks that a chain may send ahead of the last durable one: what bounds the memory.
    window: u64,
    /// Blocks that wait to be sealed. Relaxed: the thread that seals looks again when it is woken.
    waiting: AtomicU64,
    sealer: OnceLock<Thread>,
    /// Nothing more is to come. Relaxed, like `waiting`.
    closed: AtomicBool,
}

struct Chain {
    /// The last block received.
    height: u64,
    hash: Hash,
    durable: u64,
    run: Run,
    spare: Run,
    session: Option<Arc<Session>>,
}

/// Who speaks for some chains.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) chains: Vec<u32>,
    /// Blocks of its chains have become durable.
    pub(super) durable: Notify,
}

impl Chains {
    /// With the last block of each that is stored.
    pub(super) fn new(heads: &[(u64, Hash)], window: u64) -> Self {
        let chain = |&(height, hash): &(u64, Hash)| {
            let (run, spare, session) = (Run::default(), Run::default(), None);
            Mutex::new(Chain { height, hash, durable: height, run, spare, session })
        };
        let all = heads.iter().map(chain).collect();
        Self {
            all,
            window,
            waiting: AtomicU64::new(0),
            sealer: OnceLock::new(),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whom to wake when there is something to be sealed.
    pub(super) fn set_sealer(&self, thread: Thread) {
        self.sealer.get_or_init(|| thread);
    }

    /// Nothing more is to come; what waits is sealed.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Lets `session` speak for its chains from where they are, and says where that is.
    pub(super) fn enter(&self, session: &Arc<Session>) -> Result<Vec<Ack>> {
        let mut acks = Vec::with_capacity(session.chains.len());
        for &id in &session.chains {
            let mut chain = self.chain(id)?;
            // What another session has sent stays, and this one goes on after it: there is one sender a chain here.
            chain.session = Some(Arc::clone(session));
            let (durable, received) = (chain.durable, chain.height);
            let (limit, hash) = (durable + self.window, chain.hash.to_vec().into());
            acks.push(Ack { chain: id, durable, limit, hash, received });
        }
        Ok(acks)
    }

    /// Takes a batch in, if it is in order.
    pub(super) fn push(&self, batch: &Batch, session: &Arc<Session>, now: Instant) -> Result<()> {
        let mut chain = self.chain(batch.chain)?;
        let chain = &mut *chain;
        let speaks = chain.session.as_ref().is_some_and(|own| Arc::ptr_eq(own, session));
        ensure!(speaks, "chain {}: another connection speaks for it", batch.chain);
        let (expected, last) = (chain.height + 1, chain.height + batch.blocks.len() as u64);
        ensure!(
            batch.first_height == expected,
            "chain {}: height {}, expected {expected}",
            batch.chain,
            batch.first_height
        );
        ensure!(batch.parent == chain.hash[..], "chain {}: {expected} has another parent", batch.chain);
        ensure!(last <= chain.durable + self.window, "chain {}: {last} is above its limit", batch.chain);
        let Some(newest) = batch.blocks.last() else { bail!("chain {}: an empty batch", batch.chain) };
        let sound = |block: &super::message::Block| block.hash.len() == 32 && block.tx_root.len() == 32;
        ensure!(batch.blocks.iter().all(sound), "chain {}: a hash is not 32 bytes", batch.chain);

        let run = &mut chain.run;
        if run.count == 0 {
            run.first = expected;
            run.value.resize(RUN_HEAD, 0);
        }
        run.value.reserve(batch.blocks.len() * ROW_BYTES);
        for (block, height) in batch.blocks.iter().zip(expected..) {
            let at = run.value.len();
            run.value.extend_from_slice(&block.hash);
            run.value.extend_from_slice(&block.tx_root);
            run.value.extend_from_slice(&block.time.to_le_bytes());
            run.leaves.push(leaf(batch.chain, height, &run.value[at..]));
        }
        run.count += batch.blocks.len() as u64;
        run.received.push((now, batch.blocks.len() as u64));
        (chain.height, chain.hash) = (last, newest.hash[..].try_into().expect("its length was looked at"));
        if self.waiting.fetch_add(batch.blocks.len() as u64, Ordering::Relaxed) == 0
            && let Some(sealer) = self.sealer.get()
        {
            sealer.unpark();
        }
        Ok(())
    }

    /// Takes whole runs, from the chain at `cursor` on, until there are `most` blocks or none are left.
    pub(super) fn take(&self, cursor: &mut usize, most: usize) -> Vec<(u32, Run)> {
        let (mut runs, mut blocks) = (Vec::new(), 0);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return runs;
        }
        for _ in 0..self.all.len() {
            let mut chain = lock(&self.all[*cursor]);
            if chain.run.count > 0 {
                let spare = std::mem::take(&mut chain.spare);
                let run = std::mem::replace(&mut chain.run, spare);
                blocks += run.count as usize;
                runs.push((*cursor as u32 + 1, run));
            }
            drop(chain);
            *cursor = (*cursor + 1) % self.all.len();
            if blocks >= most {
                break;
            }
        }
        self.waiting.fetch_sub(blocks as u64, Ordering::Relaxed);
        // Keys in order are kinder to a B-tree.
        runs.sort_unstable_by_key(|(chain, _)| *chain);
        runs
    }

    /// A run is durable: tells who sent it, and keeps its memory for the next.
    pub(super) fn durable(&self, id: u32, mut run: Run) {
        let last = run.last();
        run.clear();
        let mut chain = self.chain(id).expect("it was taken from this chain");
        chain.durable = last;
        chain.spare = run;
        if let Some(session) = &chain.session {
            session.durable.notify_one();
        }
    }

    /// The acks that a session has not been told yet; `told` has its last ones, in the order of its chains.
    pub(super) fn acks(&self, session: &Session, told: &mut [u64]) -> Vec<Ack> {
        let mut acks = Vec::new();
        for (&id, told) in session.chains.iter().zip(told) {
            let durable = self.chain(id).expect("it has entered").durable;
            if durable > *told {
                *told = durable;
                acks.push(Ack { chain: id, durable, limit: durable + self.window, ..Ack::default() });
            }
        }
        acks
    }

    fn chain(&self, id: u32) -> Result<MutexGuard<'_, Chain>> {
        let index = (id as usize).wrapping_sub(1);
        match self.all.get(index) {
            Some(chain) => Ok(lock(chain)),
            None => bail!("chain {id} is not known: there are {}", self.all.len()),
        }
    }
}

fn lock(chain: &Mutex<Chain>) -> MutexGuard<'_, Chain> {
    chain.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the tree of a chain is made of; `row` as in a [`Run`].
pub(super) fn leaf(chain: u32, height: u64, row: &[u8]) -> Hash {
    let mut bytes = [0; 1 + 4 + 8 + ROW_BYTES];
    bytes[1..5].copy_from_slice(&chain.to_le_bytes());
    bytes[5..13].copy_from_slice(&height.to_le_bytes());
    bytes[13..].copy_from_slice(row);
    Sha256::digest(bytes).into()
}
