//! Another Mainstem as a side chain: its main blocks are the side blocks here.
//!
//! ```text
//! height, time   of the main block
//! hash           of its header
//! tx_root        its side_root: what it has indexed
//! ```
//! So a proof of one Mainstem goes on in the next one (`docs/protocol.md`, type `mainstem`), and its chain id there must be
//! the one that it has itself.
//!
//! # What is checked
//! Every header has this chain's id, the height that it was asked for by, and the hash of the one before it as its parent,
//! from the block that the main chain has on. Its hash is made here. Only what the node serves is sent, which is
//! durable there, and irreversible where another chain drives it.

mod answers;
mod api;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Columns, Hash, Height};
use engine::source::{Answers, Source, SourceError};

use self::answers::ChildAnswers;
use self::api::{Api, ApiError};
use super::Tip;

/// How to read another Mainstem.
#[derive(Clone, Debug)]
pub struct MainstemConfig {
    /// Its id as a main chain, by which it is a side chain too.
    pub chain: ChainId,
    /// The API of one of its nodes, http or https.
    pub url: String,
    /// How long one request may take.
    pub timeout: Duration,
    /// How often it is asked for new blocks once all were read.
    pub poll: Duration,
}

impl MainstemConfig {
    /// The defaults, for a chain and a node.
    pub fn new(chain: ChainId, url: impl Into<String>) -> Self {
        Self { chain, url: url.into(), timeout: Duration::from_secs(30), poll: Duration::from_millis(200) }
    }
}

/// A node's address that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MainstemConfigError(String);

/// A [`Source`] that reads the main chain of another Mainstem.
#[derive(Debug)]
pub struct MainstemSource {
    config: MainstemConfig,
    api: Api,
    /// The next height, and the hash of the block before it once that is known.
    next: Option<(Height, Option<Hash>)>,
    polled: Option<Instant>,
    /// When the node was last asked for its newest block.
    asked: Option<Instant>,
    tip: Tip,
}

impl MainstemSource {
    /// A source; the node is first asked when blocks are.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(config: MainstemConfig) -> Result<Self, MainstemConfigError> {
        let api = Api::new(&config.url, config.timeout).map_err(MainstemConfigError)?;
        Ok(Self { config, api, next: None, polled: None, asked: None, tip: Tip::default() })
    }

    /// The newest block of the node, to show and to wait for.
    pub fn tip_watch(&self) -> Tip {
        self.tip.clone()
    }

    /// Who answers the main chain's questions about what this one has indexed.
    pub fn answers(&self) -> Arc<dyn Answers> {
        Arc::new(ChildAnswers::new(self.api.clone(), self.config.chain))
    }

    fn failed(&self, error: &ApiError) -> SourceError {
        let text = format!("{}: {error}", self.api.shown());
        if error.lasts() { SourceError::Fatal(text) } else { SourceError::Later(text) }
    }

    fn saw(&mut self, head: Height) {
        self.tip.set(head.0);
        self.asked = Some(Instant::now());
    }
}

impl Source for MainstemSource {
    fn chains(&self) -> Vec<ChainId> {
        vec![self.config.chain]
    }

    fn resume(&mut self, chain: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        self.next = None;
        self.polled = None;
        if let Some(theirs) = parent {
            let height = next.previous();
            let page = self.api.headers(chain, height, 1).map_err(|error| self.failed(&error))?;
            self.saw(page.head);
            let Some(header) = page.headers.first() else {
                return Err(SourceError::Later(format!(
                    "{}: main block {height}, which was sent, is not there; the newest is {}",
                    self.api.shown(),
                    page.head
                )));
            };
            let ours = header.hash();
            if ours != theirs {
                return Err(SourceError::Fork { chain, height, ours, theirs });
            }
        }
        self.next = Some((next, parent));
        Ok(())
    }

    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let Some((mut next, mut last)) = self.next else {
            let text = "blocks were asked for before the main chain said from where";
            return Err(SourceError::Fatal(text.to_owned()));
        };
        let resting = self.polled.is_some_and(|polled| polled.elapsed() < self.config.poll);
        if max == 0 || resting {
            return Ok(last.unwrap_or_default());
        }
        let page = self.api.headers(chain, next, max).map_err(|error| self.failed(&error))?;
        self.saw(page.head);
        // All that there is was read: it is asked again after a while.
        self.polled = page.next.is_none().then(Instant::now);
        let follows = last.or(page.headers.first().map(|header| header.parent)).unwrap_or_default();
        if let (Some(theirs), Some(first)) = (last, page.headers.first())
            && first.parent != theirs
        {
            let (height, ours) = (next.previous(), first.parent);
            return Err(SourceError::Fork { chain, height, ours, theirs });
        }
        // They follow each other: that was checked when they came.
        for header in &page.headers {
            let hash = header.hash();
            out.push(hash, header.side_root, header.time);
            last = Some(hash);
            next = next.next();
        }
        self.next = Some((next, last));
        Ok(follows)
    }

    fn tip(&mut self, chain: ChainId) -> Result<Option<Height>, SourceError> {
        if self.asked.is_none_or(|asked| asked.elapsed() >= TIP_AGE) {
            let head = self.api.head(chain).map_err(|error| self.failed(&error))?;
            self.saw(head);
        }
        Ok(self.tip.get())
    }
}

/// How old the node's word on its newest block may be when it is told on.
const TIP_AGE: Duration = Duration::from_millis(500);
