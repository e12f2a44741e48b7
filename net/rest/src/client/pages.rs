//! Lists that come in pages, as iterators over all of them.

use std::vec;

use verify::chain::{ChainId, Height, MainHeader};

use super::{ChainFilter, Client, Error};
use crate::{PeerChains, SideChain};

/// As many as a node gives at once.
const CHAINS: usize = 1_000;
const HEADERS: usize = 256;

impl Client {
    /// All chains, by ascending id, a page at a time. After an error it ends.
    pub fn all_chains(&self, filter: &ChainFilter) -> impl Iterator<Item = Result<SideChain, Error>> {
        let filter = filter.clone();
        Pages::new(None, move |after| {
            let page = self.chains(&filter, after, CHAINS)?;
            Ok((page.chains, page.next.map(Some)))
        })
    }

    /// All headers from this height on that there are when the last page is asked for.
    pub fn all_headers(&self, from: Height) -> impl Iterator<Item = Result<MainHeader, Error>> {
        Pages::new(from, |from| {
            let page = self.headers(from, HEADERS)?;
            Ok((page.headers, page.next))
        })
    }

    /// All sessions, oldest first.
    pub fn all_peers(&self) -> impl Iterator<Item = Result<crate::Peer, Error>> {
        Pages::new(None::<u64>, |after| {
            let page = self.peers(after)?;
            Ok((page.peers, page.next.map(Some)))
        })
    }

    /// A session with all its chains; `None` if it is over.
    pub fn whole_peer(&self, session: u64) -> Result<Option<PeerChains>, Error> {
        let page = |after: Option<ChainId>| match self.peer(session, after) {
            Ok(page) => Ok(Some(page)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
        let Some(mut all) = page(None)? else { return Ok(None) };
        while let Some(next) = all.next {
            let Some(more) = page(Some(next))? else { return Ok(None) };
            all.chains.extend(more.chains);
            // A node that leads in circles is none.
            all.next = more.next.filter(|after| *after > next);
        }
        Ok(Some(all))
    }
}

/// Elements of one page after the other.
struct Pages<T, N, F> {
    now: vec::IntoIter<T>,
    next: Option<N>,
    fetch: F,
}

impl<T, N, F: FnMut(N) -> Result<(Vec<T>, Option<N>), Error>> Pages<T, N, F> {
    fn new(first: N, fetch: F) -> Self {
        Self { now: Vec::new().into_iter(), next: Some(first), fetch }
    }
}

impl<T, N, F: FnMut(N) -> Result<(Vec<T>, Option<N>), Error>> Iterator for Pages<T, N, F> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(element) = self.now.next() {
                return Some(Ok(element));
            }
            match (self.fetch)(self.next.take()?) {
                Ok((page, next)) => (self.now, self.next) = (page.into_iter(), next),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
