//! Asks the node, on a thread of its own: a node that is slow or gone holds no key up.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rest::{ChainFilter, ChainId, Client, Height, MainHeader};

use super::app::Page;
use super::data::Sample;

/// Between two looks, at least.
const PACE: Duration = Duration::from_secs(1);

/// How much longer than a look takes there is none after it: ten thousand chains are ten long answers, and the view may
/// not become a load.
const LOOK_SHARE: u32 = 10;

/// Most elements of a list that are asked for.
const MOST: usize = 64_000;

/// Main blocks that are shown.
const BLOCKS: usize = 100;

/// What is looked at now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// The page; all of them if `None`.
    pub page: Option<Page>,
    /// The chain whose history is wanted, too.
    pub chain: Option<ChainId>,
}

/// The thread that asks.
pub(super) struct Feed {
    wanted: Sender<Wanted>,
    news: Receiver<Result<Sample, String>>,
}

impl Feed {
    /// Begins to ask the node at `url`.
    pub(super) fn start(url: &str, first: Wanted) -> Result<Self> {
        let client = Client::new(url);
        let (wanted, asked) = channel();
        let (news, heard) = sync_channel(1);
        let thread = thread::Builder::new().name("feed".into());
        thread.spawn(move || run(&client, first, &asked, &news)).context("no thread can be had")?;
        Ok(Self { wanted, news: heard })
    }

    /// Says what is looked at now; it comes at once.
    pub(super) fn want(&self, wanted: Wanted) {
        // Whether the thread lives is asked elsewhere.
        let _ = self.wanted.send(wanted);
    }

    /// What came since the last time.
    ///
    /// # Errors
    /// The thread has ended, which it does only by a bug.
    pub(super) fn news(&self) -> Result<Option<Result<Sample, String>>> {
        match self.news.recv_timeout(Duration::ZERO) {
            Ok(news) => Ok(Some(news)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(anyhow::anyhow!("the thread that asks the node ended"))
            }
        }
    }
}

fn run(
    client: &Client,
    mut wanted: Wanted,
    asked: &Receiver<Wanted>,
    news: &SyncSender<Result<Sample, String>>,
) {
    loop {
        let begun = Instant::now();
        let sample = look(client, wanted).map_err(|error| format!("{error:#}"));
        if let Err(TrySendError::Disconnected(_)) = news.try_send(sample) {
            return;
        }
        let pause = PACE.max(begun.elapsed().saturating_mul(LOOK_SHARE).min(Duration::from_secs(10)));
        match asked.recv_timeout(pause) {
            Ok(newer) => wanted = asked.try_iter().last().unwrap_or(newer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Asks for all that is wanted.
pub(super) fn look(client: &Client, wanted: Wanted) -> Result<Sample> {
    let shows = |page| wanted.page.is_none_or(|wanted| wanted == page);
    let (status, stats) = (client.status()?, client.stats()?);
    let mut sample = Sample { status, stats, chains: None, peers: None, blocks: None, history: None };
    if shows(Page::Chains) {
        let all = ChainFilter::default();
        let chains = client.all_chains(&all).take(MOST);
        sample.chains = Some(chains.collect::<Result<_, _>>()?);
    }
    if shows(Page::Peers) {
        sample.peers = Some(client.all_peers().take(MOST).collect::<Result<_, _>>()?);
    }
    if shows(Page::Blocks) {
        sample.blocks = Some(blocks(client, &sample)?);
    }
    if let Some(chain) = wanted.chain {
        sample.history = match client.history(chain) {
            Ok(history) => Some((chain, history.changes)),
            // It was removed meanwhile.
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(sample)
}

fn blocks(client: &Client, sample: &Sample) -> Result<Vec<MainHeader>> {
    let Some(head) = sample.head() else { return Ok(Vec::new()) };
    let first = sample.status.first_block.0.max(1);
    let from = (head.height.0 + 1).saturating_sub(BLOCKS as u64).max(first);
    let mut blocks = match client.headers(Height(from), BLOCKS) {
        Ok(page) => page.headers,
        // Pruned in this moment.
        Err(error) if error.problem().is_some_and(|problem| matches!(problem.status, 404 | 410)) => {
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    blocks.reverse();
    Ok(blocks)
}
