//! Asks the node, on a thread of its own: a node that is slow or gone holds no key up.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rest::Client;
use serde::de::DeserializeOwned;

use super::app::Page;
use super::data::{Block, Chains, Changes, Headers, Peers, Sample, Stats, Status};

/// Between two looks, at least.
const PACE: Duration = Duration::from_secs(1);

/// How much longer than a look takes there is none after it: ten thousand chains are ten long answers, and the view may
/// not become a load.
const LOOK_SHARE: u32 = 10;

/// Most pages of a list that are asked for: a thousand chains each.
const MOST_PAGES: usize = 64;

/// Main blocks that are shown.
const BLOCKS: u64 = 100;

/// What is looked at now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// The page; all of them if `None`.
    pub page: Option<Page>,
    /// The chain whose history is wanted, too.
    pub chain: Option<u64>,
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
    let status: Status = client.get("/v1/status")?;
    let stats: Option<Stats> = if_there(client, "/v1/stats")?;
    let mut sample = Sample { status, stats, ..Sample::default() };
    if shows(Page::Chains) {
        let mut chains = Vec::new();
        let mut after = String::new();
        for _ in 0..MOST_PAGES {
            let page: Chains = client.get(&format!("/v1/chains{after}"))?;
            chains.extend(page.chains);
            let Some(next) = page.next else { break };
            after = format!("?after={next}");
        }
        sample.chains = Some(chains);
    }
    if shows(Page::Peers) {
        let mut peers = Vec::new();
        let mut after = String::new();
        for _ in 0..MOST_PAGES {
            let page: Peers = client.get(&format!("/v1/peers{after}"))?;
            peers.extend(page.peers);
            let Some(next) = page.next else { break };
            after = format!("?after={next}");
        }
        sample.peers = Some(peers);
    }
    if shows(Page::Blocks) {
        sample.blocks = Some(blocks(client, &sample)?);
    }
    if let Some(chain) = wanted.chain {
        let changes: Option<Changes> = if_there(client, &format!("/v1/chains/{chain}/history"))?;
        sample.history = changes.map(|changes| (chain, changes.changes));
    }
    Ok(sample)
}

fn blocks(client: &Client, sample: &Sample) -> Result<Vec<Block>> {
    let Some(head) = sample.head() else { return Ok(Vec::new()) };
    let first = sample.status.first_block.max(1);
    let from = (head.height + 1).saturating_sub(BLOCKS).max(first);
    // What is pruned in this moment is not there.
    let page: Option<Headers> = if_there(client, &format!("/v1/headers?from={from}&limit={BLOCKS}"))?;
    let mut blocks = page.unwrap_or_default().headers;
    blocks.reverse();
    Ok(blocks)
}

/// What is there; `None` of a node of an older version.
fn if_there<T: DeserializeOwned>(client: &Client, path: &str) -> Result<Option<T>> {
    match client.get(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
