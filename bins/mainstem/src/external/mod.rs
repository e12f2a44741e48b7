//! External mode: the node of an existing main chain drives this one, which indexes for it.
//!
//! ```text
//!   the chain's node ──gRPC or REST──> server ──> Driver ──> engine::external
//!                                                   └── judge: proposals that our lanes are behind of, again and again
//! ```
//! Candidates, verdicts, commits and rollbacks come over an address of their own ([`server`]), never over the API that the
//! world may read. That one shows what can no longer be taken back ([`Settled`]).

mod connection;
mod grpc;
mod judge;
mod places;
mod rest;
mod server;
mod settled;
mod verdicts;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::chain::{Hash, Height, MainBlock};
use engine::clock::Clock;
use engine::external::{External, ExternalError, Limits, Proposal, Status, Verdict};
use engine::pipeline::Head;
use engine::sync::Waiter;
use tokio::sync::broadcast;
use tokio::task::spawn_blocking;

use crate::data_dir::DataDir;

pub(crate) use server::{Config, Server};
pub(crate) use settled::Settled;

use judge::Judge;
use places::Place;
use verdicts::Verdicts;

/// How long a proposal waits for our lanes: as long as one of AElf lives.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many wait at a time.
const MOST_WAITING: usize = 256;

/// How many bytes they have together; one of 262,144 side blocks, as many as `seal.max_leaves` is by default, has 16.8 MB.
const MOST_WAITING_BYTES: usize = 256 << 20;

/// What both protocols do.
#[derive(Clone)]
pub(crate) struct Driver {
    external: Arc<External>,
    /// What a candidate may have when nobody says less.
    limits: Limits,
    judge: Arc<Judge>,
    verdicts: Arc<Verdicts>,
}

/// What a candidate may have, as far as its caller says it.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Wanted {
    /// Side blocks.
    pub max_leaves: Option<u64>,
    /// Of one chain.
    pub max_per_chain: Option<u64>,
}

impl Driver {
    /// Starts the thread that judges again. `waiter` is rung when lanes have received something.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        external: Arc<External>,
        waiter: Waiter,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let verdicts = Arc::new(Verdicts::default());
        let judge = Judge::start(Arc::clone(&external), waiter, clock, Arc::clone(&verdicts))?;
        Ok(Self { external, limits, judge: Arc::new(judge), verdicts })
    }

    /// Where the main chain stands, and how many proposals wait.
    pub(crate) fn status(&self) -> (Status, usize) {
        (self.external.status(), self.judge.waiting())
    }

    /// The block that could follow `parent`, or the head; `None` when nothing waits.
    pub(crate) async fn candidate(
        &self,
        parent: Option<Hash>,
        wanted: Wanted,
    ) -> Result<Option<MainBlock>, ExternalError> {
        let limits = Limits {
            max_leaves: wanted.max_leaves.unwrap_or(self.limits.max_leaves),
            max_per_chain: wanted.max_per_chain.unwrap_or(self.limits.max_per_chain),
            rules: self.limits.rules,
        };
        let made = self.run(move |external| {
            let head = || external.status().head.map_or(Hash::ZERO, |head| head.hash);
            external.candidate(parent.unwrap_or_else(head), limits)
        });
        match made.await {
            Ok(block) => Ok(Some(block)),
            Err(ExternalError::NothingWaits { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Judges a block. If our lanes are behind, it is judged again when they are not, and this waits for that for as long
    /// as `wait`, without its place.
    async fn validate(
        &self,
        proposal: Proposal,
        place: Place,
        wait: Duration,
    ) -> Result<Verdict, ExternalError> {
        let hash = proposal.header.hash();
        let judged = self.run(move |external| {
            let _place = place;
            external.validate(&proposal).map(|verdict| (verdict, proposal))
        });
        let (verdict, proposal) = judged.await?;
        if !matches!(verdict, Verdict::Behind { .. }) {
            return Ok(verdict);
        }
        let (mut news, again) = self.verdicts.follow(hash, verdict.clone());
        if again && !self.judge.enter(proposal, PATIENCE) {
            self.verdicts.tell(hash, verdict.clone());
        }
        let decided = news.wait_for(|standing| !standing.open);
        match tokio::time::timeout(wait, decided).await {
            Ok(Ok(decided)) => Ok(decided.verdict.clone()),
            // Time is up, or newer proposals took its place: this is how it stands.
            _ => Ok(verdict),
        }
    }

    /// What is known of a block that had to wait; `None` if it never had, or is forgotten.
    pub(crate) async fn verdict(&self, hash: Hash, wait: Duration) -> Option<Verdict> {
        let mut news = self.verdicts.look(hash)?;
        let decided = news.wait_for(|standing| !standing.open);
        if let Ok(Ok(decided)) = tokio::time::timeout(wait, decided).await {
            return Some(decided.verdict.clone());
        }
        Some(news.borrow().verdict.clone())
    }

    /// The verdicts on blocks that had to wait, each when it is there.
    pub(crate) fn watch(&self) -> broadcast::Receiver<(Hash, Verdict)> {
        self.verdicts.watch()
    }

    /// Commits the block after the head.
    async fn commit(&self, proposal: Proposal, place: Place) -> Result<Head, ExternalError> {
        self.run(move |external| {
            let _place = place;
            external.commit(&proposal)
        })
        .await
    }

    /// Takes back all blocks above `to`.
    pub(crate) async fn rollback(&self, to: Height) -> Result<(), ExternalError> {
        self.run(move |external| external.rollback(to).map(drop)).await
    }

    /// Says that `height` will never be taken back.
    pub(crate) async fn finalize(&self, height: Height) -> Result<(), ExternalError> {
        self.run(move |external| external.finalize(height)).await
    }

    /// Hashing and writing take their time: not on a thread that serves others.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&External) -> Result<T, ExternalError> + Send + 'static,
    ) -> Result<T, ExternalError> {
        let external = Arc::clone(&self.external);
        let done = spawn_blocking(move || work(&external)).await;
        done.unwrap_or_else(|error| {
            Err(ExternalError::Failed { cause: format!("the call was given up: {error}") })
        })
    }
}

/// What a candidate may have by the settings.
pub(crate) fn limits(settings: &crate::settings::Seal) -> Limits {
    Limits { max_leaves: settings.max_leaves, max_per_chain: settings.max_per_chain, rules: settings.rules }
}

/// The secret that calls have to show, if there is one.
///
/// # Errors
/// The file cannot be read or holds none, or there has to be one because others can reach the address.
pub(crate) fn token(settings: &crate::settings::External, dir: &DataDir) -> Result<Option<String>> {
    let file = &settings.token_file;
    if file.as_os_str() == "-" {
        if !settings.addr.ip().is_loopback() {
            bail!(
                "external.addr = {}: others can reach it, so calls have to show a secret: put one into a file and name that \
                 as external.token_file, or listen on 127.0.0.1",
                settings.addr
            );
        }
        return Ok(None);
    }
    let file = dir.root.join(file);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("external.token_file: {} cannot be read", file.display()))?;
    let token = text.trim();
    if token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!(
            "external.token_file: {} holds no secret; expected one line of at least {SHORTEST_TOKEN} visible ASCII characters, such as \
             `openssl rand -hex 32` makes",
            file.display()
        );
    }
    Ok(Some(token.to_owned()))
}

/// Shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 16;
