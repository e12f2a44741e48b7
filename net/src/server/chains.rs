//! The chains of one session: which of them it speaks for, and what it has to be told. No socket here.

use std::sync::Arc;
use std::time::Duration;

use engine::cache::Cache;
use engine::chain::{ChainId, Height, NodeKey};
use engine::lane::{Claim, Lane, Position, Refusal, SessionId};

use crate::control::{
    Ack, Entry, EntryState, MAX_DETAIL_BYTES, Message, RefusalCode, Refused, Resume, ServerMessage, Tip,
    shorten,
};
use crate::frame::{Frame, Section};

use super::bars::Bars;
use super::sessions::LastRefusal;

mod list;
mod refusals;

pub(super) use list::Copied;
pub(super) use refusals::Refusals;

pub use list::{PeerChain, PeerChainState};

/// The chains of a session, by ascending id, each with its lane: looked up once, not for every section.
#[derive(Debug)]
pub(super) struct Chains {
    session: SessionId,
    key: NodeKey,
    table: Vec<Chain>,
    /// How many of them are [`State::Speaking`].
    speaking: usize,
    /// To be written down.
    refusals: Refusals,
    /// How many were before.
    written: u64,
    /// Who may not speak for a chain for a while.
    bars: Arc<Bars>,
}

#[derive(Debug)]
struct Chain {
    id: ChainId,
    lane: Option<Arc<Lane>>,
    state: State,
    /// The data stream that it travels on, once a section has come.
    stream: Option<u64>,
    /// Sections in earlier frames of that stream are ignored.
    heard_from: u64,
    /// `durable` and `limit` as the peer was told last.
    told: (Height, Height),
    /// To be told: it was refused.
    refused: Option<Box<(RefusalCode, String)>>,
    /// To be told: where it stands.
    position: bool,
    /// The newest height that the peer's source has, as it says; 0 before it has said so.
    tip: Height,
    /// Since when that is above what is received, while another session speaks.
    ahead_since: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Speaking,
    Standby,
    Refused(RefusalCode),
    Left,
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Taken {
    /// Blocks that went into lanes.
    pub(super) blocks: u64,
    /// Whether a chain was refused: the peer is to be told.
    pub(super) refused: bool,
    /// Sections that went into no lane, ascending from 0.
    pub(super) left_out: Vec<u16>,
}

/// What ends a connection, or the service of a chain: why, and why for people.
pub(super) type Fault = (RefusalCode, String);

impl Chains {
    pub(super) fn none(session: SessionId, key: NodeKey, bars: Arc<Bars>) -> Self {
        Self { session, key, table: Vec::new(), speaking: 0, refusals: Refusals::default(), written: 0, bars }
    }

    /// Claims the chains of a hello, which ascend.
    pub(super) fn claim(&mut self, cache: &Cache, chains: &[ChainId]) -> Vec<Entry> {
        self.table.reserve_exact(chains.len());
        for id in chains {
            let mut chain = Chain {
                id: *id,
                lane: None,
                state: State::Left,
                stream: None,
                heard_from: 0,
                told: (Height(0), Height(0)),
                refused: None,
                position: false,
                tip: Height(0),
                ahead_since: None,
            };
            let barred = self.bars.refusal(*id, &self.key);
            let refusal = chain.claim(cache, barred, |lane| lane.claim(self.key, self.session));
            if let Some(fault) = refusal {
                self.refusals.push(chain.id, fault);
            }
            self.table.push(chain);
        }
        self.count();
        self.table.iter_mut().map(Chain::entry).collect()
    }

    /// Why no chain at all can be served; `None` if one can.
    pub(super) fn refusal(&self) -> Option<Fault> {
        let mut codes = self.table.iter().map(|chain| match chain.state {
            State::Refused(code) => Some(code),
            _ => None,
        });
        let first = codes.next().unwrap_or(Some(RefusalCode::NoChain))?;
        let mut same = true;
        for code in codes {
            same &= code? == first;
        }
        Some(match (same, first) {
            _ if self.table.is_empty() => (first, "the hello names no chain".into()),
            (true, RefusalCode::UnknownKey) => (first, self.about("the key is not registered for")),
            (true, _) => (first, self.about("this main chain does not index")),
            _ => (RefusalCode::NoChain, self.about("unknown, or not of this key:")),
        })
    }

    /// Puts the sections of a frame into their lanes: none of them if any names a chain that may not be in it. `number`
    /// counts the frames of `stream`.
    pub(super) fn take(
        &mut self,
        frame: &Frame<'_>,
        stream: u64,
        number: u64,
        now: Duration,
    ) -> Result<Taken, Fault> {
        self.check(frame, stream)?;
        let mut taken = Taken::default();
        let mut at = 0;
        for (index, section) in (0..).zip(frame.sections()) {
            at = self.find(at, section.chain).expect("every chain of the frame was found before");
            let chain = &mut self.table[at];
            at += 1;
            if chain.state != State::Speaking || number < chain.heard_from {
                taken.left_out.push(index);
                continue;
            }
            match chain.push(self.session, &section, now) {
                Ok(()) => taken.blocks += section.columns.len() as u64,
                Err(fault) => {
                    taken.refused = true;
                    taken.left_out.push(index);
                    self.speaking -= 1;
                    self.refusals.push(chain.id, fault);
                }
            }
        }
        Ok(taken)
    }

    /// Whether the hello named all chains of a frame, and none travels on another stream than before.
    fn check(&mut self, frame: &Frame<'_>, stream: u64) -> Result<(), Fault> {
        let mut at = 0;
        for section in frame.sections() {
            at = self.find(at, section.chain).ok_or_else(|| {
                let detail = format!("a frame names chain {}, which the hello did not", section.chain);
                (RefusalCode::UnknownChain, detail)
            })?;
            let chain = &mut self.table[at];
            at += 1;
            if *chain.stream.get_or_insert(stream) != stream {
                let detail = format!("chain {} travels on two data streams; expected one", chain.id);
                return Err((RefusalCode::BadFrame, detail));
            }
        }
        Ok(())
    }

    /// The peer wants to speak for a chain again.
    pub(super) fn resume(&mut self, cache: &Cache, resume: Resume) -> Result<(), Fault> {
        let (session, key) = (self.session, self.key);
        let barred = self.bars.refusal(resume.chain, &key);
        let chain = self.named(resume.chain)?;
        chain.heard_from = resume.frames;
        let refusal = chain.claim(cache, barred, |lane| lane.reclaim(key, session));
        chain.refused = None;
        chain.position = true;
        if let Some(fault) = refusal {
            self.refusals.push(resume.chain, fault);
        }
        self.count();
        Ok(())
    }

    /// The peer gives a chain up. Returns whether it spoke for it.
    pub(super) fn leave(&mut self, chain: ChainId) -> Result<bool, Fault> {
        let session = self.session;
        let chain = self.named(chain)?;
        let spoke = chain.state == State::Speaking;
        if spoke {
            chain.release(session);
        }
        chain.state = State::Left;
        self.count();
        Ok(spoke)
    }

    /// The peer says how far its own source is. Returns whether it stands by for one of these chains.
    pub(super) fn tips(&mut self, tips: &[Tip]) -> Result<bool, Fault> {
        let mut stands_by = false;
        for tip in tips {
            let chain = self.named(tip.chain)?;
            chain.tip = tip.height;
            stands_by |= chain.state == State::Standby;
        }
        Ok(stands_by)
    }

    /// Takes the places of speakers that have been silent for `patience` though this session has newer blocks.
    /// Returns how many, and how long it may take until there is another one to take.
    pub(super) fn take_over(&mut self, now: Duration, patience: Duration) -> (u64, Option<Duration>) {
        let (mut taken, mut next) = (0, None::<Duration>);
        for chain in self.table.iter_mut().filter(|chain| chain.state == State::Standby) {
            match chain.take_over((self.key, self.session), now, patience) {
                Some(Duration::ZERO) => taken += 1,
                Some(wait) => next = Some(next.map_or(wait, |next| next.min(wait))),
                None => {}
            }
        }
        self.speaking += taken;
        (taken as u64, next)
    }

    /// The chains about which the peer may hear something, ascending.
    pub(super) fn served(&self) -> Vec<ChainId> {
        self.table.iter().filter(|chain| chain.lane.is_some()).map(|chain| chain.id).collect()
    }

    /// Whether the peer has named a chain that is served.
    pub(super) fn serves(&self, chain: ChainId) -> bool {
        self.find(0, chain).is_some_and(|place| self.table[place].lane.is_some())
    }

    /// Appends all that the peer is to be told: refusals, positions, acks of what has moved since the last time.
    /// With `claims`, speakers may have come and gone: chains that stand by claim again, and those that another session
    /// has taken over are refused. Bounded by the number of chains, however long it was not called.
    pub(super) fn collect(&mut self, out: &mut Vec<u8>, claims: bool) {
        let mut acks = Vec::new();
        let mut promoted = 0;
        let mut deposed = 0;
        for chain in &mut self.table {
            if claims && chain.state == State::Speaking && !chain.speaks(self.session) {
                // As for a section that comes too late: it asks anew, and says which of its frames are from before.
                let fault = chain.refuse(&chain.gone().unwrap_or(Refusal::NotSpeaker { chain: chain.id }));
                self.refusals.push(chain.id, fault);
                deposed += 1;
            } else if claims
                && chain.state != State::Speaking
                && let Some(refusal) = chain.gone()
            {
                if chain.state == State::Standby {
                    let fault = chain.refuse(&refusal);
                    self.refusals.push(chain.id, fault);
                }
                // Who was refused, or has left, has nothing to hear of it, and holds no memory of it.
                chain.lane = None;
            }
            if let Some(refused) = chain.refused.take() {
                let (code, detail) = *refused;
                ServerMessage::Refused(Refused { chain: chain.id, code, detail }).encode(out);
            }
            if claims && chain.state == State::Standby && chain.promoted(self.key, self.session) {
                promoted += 1;
                chain.position = true;
            }
            if std::mem::take(&mut chain.position) {
                ServerMessage::Position(chain.entry()).encode(out);
            } else if let Some(credit) = chain.lane.as_ref().map(|lane| lane.credit())
                && chain.told != credit
            {
                chain.told = credit;
                let (durable, limit) = credit;
                acks.push(Ack { chain: chain.id, durable, limit });
            }
        }
        self.speaking += promoted;
        self.speaking -= deposed;
        if !acks.is_empty() {
            ServerMessage::Ack(acks).encode(out);
        }
    }

    /// Takes a chain from the session, which may ask for it anew. Whether it spoke for it.
    pub(super) fn depose(&mut self, chain: ChainId) -> bool {
        let session = self.session;
        let Ok(chain) = self.named(chain) else { return false };
        if chain.state != State::Speaking {
            return false;
        }
        chain.release(session);
        let id = chain.id;
        let fault = chain.refuse(&Refusal::NotSpeaker { chain: id });
        self.refusals.push(id, fault);
        self.speaking -= 1;
        true
    }

    /// Takes a chain from the session if its key may not speak for it any more. Whether it was there to be taken.
    pub(super) fn bar(&mut self, chain: ChainId) -> bool {
        let (session, barred) = (self.session, self.bars.refusal(chain, &self.key));
        let (Some(fault), Ok(chain)) = (barred, self.named(chain)) else { return false };
        let spoke = match chain.state {
            State::Speaking => true,
            State::Standby => false,
            State::Refused(_) | State::Left => return false,
        };
        if spoke {
            chain.release(session);
        }
        let id = chain.id;
        chain.state = State::Refused(fault.0);
        chain.refused = Some(Box::new(fault.clone()));
        self.refusals.push(id, fault);
        self.speaking -= usize::from(spoke);
        true
    }

    /// Lets lanes that rest give their memory back.
    pub(super) fn rest(&self) {
        self.table.iter().filter_map(|chain| chain.lane.as_ref()).for_each(|lane| lane.rest());
    }

    /// Gives all chains up.
    pub(super) fn release(&mut self) {
        for chain in &mut self.table {
            if chain.state == State::Speaking {
                chain.release(self.session);
                chain.state = State::Left;
            }
        }
        self.speaking = 0;
    }

    /// How many chains there are, and for how many the session speaks.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.table.len(), self.speaking)
    }

    /// What was refused since the last time, to be written down, each with how many it stands for, and how many there
    /// have been in all when it is.
    pub(super) fn take_refusals(&mut self) -> impl Iterator<Item = (LastRefusal, u64, u64)> + use<> {
        let refusals: Vec<_> = std::mem::take(&mut self.refusals).into_iter().collect();
        let mut written = self.written;
        self.written += refusals.iter().map(|(_, times)| times).sum::<u64>();
        refusals.into_iter().map(move |(refusal, times)| {
            written += times;
            (refusal, times, written)
        })
    }

    /// The position of a chain at or after `from`: mostly `from` itself, since frames and this table ascend alike.
    fn find(&self, from: usize, id: ChainId) -> Option<usize> {
        let rest = self.table.get(from..)?;
        if rest.first().is_some_and(|chain| chain.id == id) {
            return Some(from);
        }
        rest.binary_search_by_key(&id, |chain| chain.id).ok().map(|position| from + position)
    }

    fn named(&mut self, id: ChainId) -> Result<&mut Chain, Fault> {
        let position = self.find(0, id).ok_or_else(|| {
            (RefusalCode::BadMessage, format!("a message names chain {id}, which the hello did not"))
        })?;
        Ok(&mut self.table[position])
    }

    fn count(&mut self) {
        self.speaking = self.table.iter().filter(|chain| chain.state == State::Speaking).count();
    }

    fn about(&self, text: &str) -> String {
        let named: Vec<_> = self.table.iter().take(8).map(|chain| chain.id.to_string()).collect();
        let more = self.table.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{text} {}{more}", named.join(", "))
    }
}

impl Chain {
    /// Asks for it, unless it is `barred`. Returns why it was refused, if it was.
    fn claim(
        &mut self,
        cache: &Cache,
        barred: Option<Fault>,
        ask: impl Fn(&Lane) -> Result<Claim, Refusal>,
    ) -> Option<Fault> {
        if self.lane.as_ref().is_none_or(|lane| lane.is_closed()) {
            self.lane = cache.lane(self.id);
        }
        if let Some(fault) = barred.filter(|_| self.lane.is_some()) {
            self.state = State::Refused(fault.0);
            return Some(fault);
        }
        let claim = self.lane.as_deref().map(ask);
        let (code, detail) = match claim {
            Some(Ok(Claim::Speaker(_))) => {
                self.state = State::Speaking;
                return None;
            }
            Some(Ok(Claim::Standby(_))) => {
                self.state = State::Standby;
                return None;
            }
            Some(Err(refusal)) => (RefusalCode::from(&refusal), refusal.to_string()),
            None => {
                (RefusalCode::UnknownChain, format!("chain {}: this main chain does not index it", self.id))
            }
        };
        // Not one of its nodes: nothing about the chain is told.
        self.lane = None;
        self.state = State::Refused(code);
        Some((code, shorten(detail, MAX_DETAIL_BYTES)))
    }

    /// Why it cannot be served any more, if its lane was closed since it was looked up.
    fn gone(&self) -> Option<Refusal> {
        self.lane.as_ref().is_some_and(|lane| lane.is_closed()).then_some(Refusal::Removed { chain: self.id })
    }

    fn speaks(&self, session: SessionId) -> bool {
        self.lane.as_ref().is_some_and(|lane| lane.is_speaker(session))
    }

    /// Claims again; whether the session speaks now.
    fn promoted(&mut self, key: NodeKey, session: SessionId) -> bool {
        let claim = self.lane.as_ref().map(|lane| lane.reclaim(key, session));
        if let Some(Ok(Claim::Speaker(_))) = claim {
            self.state = State::Speaking;
        }
        self.state == State::Speaking
    }

    fn release(&self, session: SessionId) {
        if let Some(lane) = &self.lane {
            lane.release(session);
        }
    }

    /// A refused section silences the chain, and gives its place to another node.
    #[inline]
    fn push(&mut self, session: SessionId, section: &Section<'_>, now: Duration) -> Result<(), Fault> {
        let lane = self.lane.as_ref().expect("who speaks for a chain has its lane");
        let Err(refusal) = lane.push(session, section.first, section.parent, section.columns, now) else {
            return Ok(());
        };
        self.release(session);
        Err(self.refuse(&refusal))
    }

    /// Silences the chain until the peer resumes it, and has it told why.
    fn refuse(&mut self, refusal: &Refusal) -> Fault {
        let code = RefusalCode::from(refusal);
        let detail = shorten(refusal.to_string(), MAX_DETAIL_BYTES);
        if let Refusal::Removed { .. } = refusal {
            // A lane that was ended has nothing to say any more, and its memory goes with the last who holds it.
            self.lane = None;
        }
        self.state = State::Refused(code);
        self.refused = Some(Box::new((code, detail.clone())));
        (code, detail)
    }

    /// Takes a silent speaker's place: zero if it did, else how long it may take until it can; `None` when the peer has
    /// nothing that is missing.
    fn take_over(
        &mut self,
        (key, session): (NodeKey, SessionId),
        now: Duration,
        patience: Duration,
    ) -> Option<Duration> {
        let lane = self.lane.as_ref()?;
        let Position { received, limit, .. } = lane.position();
        if self.tip <= received || received >= limit {
            self.ahead_since = None;
            return None;
        }
        // The speaker may have heard of the new block a moment later than the peer.
        let since = *self.ahead_since.get_or_insert(now);
        let waited = now.saturating_sub(since);
        if waited < patience {
            return Some(patience.saturating_sub(waited));
        }
        match lane.take_over(key, session, self.tip, now, patience) {
            Ok(Some(_)) => {
                self.state = State::Speaking;
                self.position = true;
                self.ahead_since = None;
                Some(Duration::ZERO)
            }
            // It was heard in between.
            _ => Some(patience),
        }
    }

    /// Where it stands, as the peer is told.
    fn entry(&mut self) -> Entry {
        let mut position = || {
            let position = self.lane.as_ref().expect("a chain that can be claimed has a lane").position();
            self.told = (position.durable, position.limit);
            position
        };
        let state = match self.state {
            State::Speaking => EntryState::Speaker(position()),
            State::Standby => EntryState::Standby(position()),
            State::Refused(code) => EntryState::Refused(code),
            State::Left => EntryState::Refused(RefusalCode::NotSpeaker),
        };
        Entry { chain: self.id, state }
    }
}

#[cfg(test)]
mod tests;
