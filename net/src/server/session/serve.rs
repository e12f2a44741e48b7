//! What a session does from its hello to its end.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, RecvStream, SendStream};

use super::super::calm::Calm;
use super::super::chains::{Chains, Fault};
use super::super::{LastRefusal, Shared, follow, ingest};
use super::{CONTROL_BUFFER, End, Session, too_slow};
use crate::control::{
    CLOSE_DONE, ClientMessage, Hello, Message, RefusalCode, ServerMessage, Welcome, receive,
};
use crate::reactor::{Either, Handle, race};

/// How many refused chains of a session are logged one by one.
const MAX_LOGGED: u64 = 8;

/// A session among the open ones. Whatever ends it, a panic too, its connection is closed, its chains are given up and
/// it is taken out.
pub(super) struct Admitted {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Arc<Session>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.sessions.remove(&self.session);
        self.shared.counts.sessions_closed.one();
        // Closed already, unless this is a panic: then its data streams would keep it alive, and nobody would listen.
        self.session.connection.close(CLOSE_DONE, b"the session ended");
        self.session.window().end(&self.shared.windows);
        self.session.retract(&self.shared);
        self.session.chains().release();
        // Those that stand by may speak now. Also if it spoke for none any more: what it gave up last may not have
        // been told.
        self.shared.heralds.tell();
    }
}

impl Admitted {
    pub(super) async fn serve(&self, handle: &Handle) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let limit = shared.config.hello_timeout;
        let (mut send, mut receive, hello) = handle
            .timeout(limit, Box::pin(greet(&session.connection)))
            .await
            .map_err(|_| too_slow(format!("no hello within {limit:?}")))??;
        tracing::info!(
            session = session.id.0, key = %session.presented, address = %session.address,
            software = ?hello.software, chains = hello.chains.len(), "a session began"
        );
        shared.counts.control_messages.one();
        let _ = session.software.set(hello.software);
        let (welcome, refusal) = {
            // First the head, then the lanes: the entries ack what the head has indexed.
            let head = shared.heralds.head().map(|head| Box::new(head.header));
            let mut chains = session.chains();
            let entries = chains.claim(&shared.parts.cache, &hello.chains);
            let (main_chain, genesis_hash) = (shared.parts.main_chain, shared.parts.genesis_hash);
            let refusal = chains.refusal().or_else(|| too_many_refused(shared, &chains));
            (Welcome { main_chain, genesis_hash, head, chains: entries }, refusal)
        };
        drop(hello.chains);
        if let Some(fault) = refusal {
            return Err(End::Fault(fault));
        }
        session.settle(shared);
        if let Some(head) = &welcome.head {
            session.told_header(head.height, shared.parts.clock.monotonic());
        }
        let mut out = Vec::new();
        ServerMessage::Welcome(welcome).encode(&mut out);
        Box::pin(self.write(handle, &mut send, &out)).await?;
        drop(out);
        // By reference: a race keeps its futures twice.
        let listen = pin!(self.listen(handle, &mut receive));
        let tell = pin!(self.tell(handle, &mut send));
        let accept = pin!(ingest::accept(shared, session, handle));
        let follow = pin!(follow::run(shared, session, handle));
        let (control, data) = (pin!(race(listen, tell)), pin!(race(accept, follow)));
        let (Either::Left(end) | Either::Right(end)) = race(control, data).await;
        let (Either::Left(end) | Either::Right(end)) = end;
        end
    }

    /// Reads the control stream.
    async fn listen(&self, handle: &Handle, stream: &mut RecvStream) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let mut body = Vec::new();
        let mut pace = Calm::default();
        let mut tips_pace = TipsPace::new(Instant::now());
        loop {
            let message = receive(stream, &mut body).await?.ok_or(End::Done)?;
            shared.counts.control_messages.one();
            pace.step(handle).await;
            if body.capacity() > CONTROL_BUFFER {
                body = Vec::new();
            }
            match message {
                ClientMessage::Hello(_) => {
                    return Err(End::Fault((RefusalCode::BadMessage, "a second hello; expected one".into())));
                }
                ClientMessage::Resume(resume) => {
                    session.chains().resume(&shared.parts.cache, resume).map_err(End::Fault)?;
                    session.settle(shared);
                    session.news.notify_one();
                }
                ClientMessage::Leave(chain) => {
                    if session.chains().leave(chain).map_err(End::Fault)? {
                        shared.heralds.tell();
                    }
                }
                ClientMessage::Tips(tips) => {
                    // Too many are kept, and looked at with the next news.
                    let stands_by = session.chains().tips(&tips).map_err(End::Fault)?;
                    if tips_pace.may_wake(Instant::now()) && stands_by {
                        session.news.notify_one();
                    }
                }
                ClientMessage::Follow(from) => session.wanted.ask(from),
            }
            // A peer that always has more to say must not keep the reactor to itself.
            handle.yield_now().await;
        }
    }

    /// Writes the control stream: whenever there is news, all that the peer does not know yet. At the pace of acks,
    /// whoever wakes it: a round looks at all chains.
    async fn tell(&self, handle: &Handle, stream: &mut SendStream) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let mut out = Vec::new();
        // When a speaker may have been silent for long enough to take its place.
        let mut wait = None;
        loop {
            match wait {
                // Either way it is looked at.
                Some(wait) => drop(handle.timeout(wait, session.news.notified()).await),
                None => session.news.notified().await,
            }
            shared.counts.control_rounds.one();
            let taken;
            (taken, wait) =
                session.chains().take_over(shared.parts.clock.monotonic(), shared.config.takeover_after);
            if taken > 0 {
                shared.counts.take_overs.add(taken);
                tracing::info!(session = session.id.0, key = %session.presented, taken, "took over from silent speakers");
                shared.heralds.tell();
            }
            // First the head, then the lanes: what a header has indexed is acked with it or before the next one.
            let newest = shared.heralds.head();
            session.chains().collect(&mut out, session.take_claims());
            session.settle(shared);
            let now = shared.parts.clock.monotonic();
            if let Some(newest) = newest
                && let Some(due) = session.header_due(newest.header.height, now, shared.config.header_pace)
                && (due || !out.is_empty())
            {
                session.told_header(newest.header.height, now);
                ServerMessage::Header(Box::new(newest.header)).encode(&mut out);
            }
            if !out.is_empty() {
                // In a box: it is needed for a moment now and then, and would be a part of every idle session.
                Box::pin(self.write(handle, stream, &out)).await?;
                out.clear();
                out.shrink_to(CONTROL_BUFFER);
            }
            handle.sleep(shared.config.ack_pace).await;
        }
    }

    async fn write(&self, handle: &Handle, stream: &mut SendStream, bytes: &[u8]) -> Result<(), End> {
        let limit = self.shared.config.control_timeout;
        match handle.timeout(limit, stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(quinn::WriteError::ConnectionLost(error))) => Err(End::Gone(error)),
            Ok(Err(_)) => Err(End::Done),
            Err(_) => Err(too_slow(format!("the control stream was not read for {limit:?}"))),
        }
    }
}

impl Session {
    /// Writes down which of its chains were refused. To be called wherever that may have been, without its chains locked.
    pub(in super::super) fn settle(&self, shared: &Shared) {
        let refusals = self.chains().take_refusals();
        for (refusal, times, written) in refusals {
            let LastRefusal { chain, code, detail } = &refusal;
            if written <= MAX_LOGGED {
                let chain = chain.map(|chain| chain.0);
                tracing::info!(session = self.id.0, key = %self.presented, chain, %code, detail, "refused a chain");
            } else if written.ilog2() > (written - times).ilog2() {
                // Who is refused again and again must not fill the log.
                tracing::info!(
                    session = self.id.0, key = %self.presented, refused = written, %code, detail,
                    "refused chains again and again; this is logged when their number has doubled"
                );
            }
            shared.note(self.key, &self.presented, self.address, refusal.clone(), times);
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        }
    }
}

/// How often tips may wake the session: a few at once, and twice a second in the long run, which is twice what the
/// protocol allows.
#[derive(Debug)]
struct TipsPace {
    /// When there will be no debt.
    clear_at: Instant,
}

impl TipsPace {
    const EACH: Duration = Duration::from_millis(500);
    const BURST: u32 = 10;

    fn new(now: Instant) -> Self {
        Self { clear_at: now }
    }

    fn may_wake(&mut self, now: Instant) -> bool {
        let clear_at = self.clear_at.max(now) + Self::EACH;
        let may = clear_at <= now + Self::EACH * Self::BURST;
        if may {
            self.clear_at = clear_at;
        }
        may
    }
}

/// Waits for the control stream and the hello on it.
async fn greet(connection: &Connection) -> Result<(SendStream, RecvStream, Hello), End> {
    let (send, mut stream) = connection.accept_bi().await.map_err(End::Gone)?;
    match receive(&mut stream, &mut Vec::new()).await?.ok_or(End::Done)? {
        ClientMessage::Hello(hello) => Ok((send, stream, hello)),
        _ => Err(End::Fault((RefusalCode::BadMessage, "the first message is no hello; expected one".into()))),
    }
}

/// Chains that cannot be served cost as much memory as those that can.
fn too_many_refused(shared: &Shared, chains: &Chains) -> Option<Fault> {
    let (refused, most) = (chains.refused(), shared.config.max_refused_chains);
    let served = chains.counts().0 - refused;
    (refused > served.saturating_add(most)).then(|| {
        let detail = format!(
            "{refused} chains of the hello cannot be served and {served} can; expected at most {most} more than can"
        );
        (RefusalCode::NoChain, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tips_wake_a_session_a_few_times_at_once_and_then_at_a_pace() {
        let begin = Instant::now();
        let mut pace = TipsPace::new(begin);
        let mut wakes = |at| (0..1_000).filter(|_| pace.may_wake(begin + Duration::from_millis(at))).count();
        assert_eq!((wakes(0), wakes(499), wakes(500), wakes(2_000)), (10, 0, 1, 3));
        assert_eq!(wakes(3_600_000), 10, "what was not used in an hour is not saved up");
        // Who keeps to the protocol is never held up.
        let mut pace = TipsPace::new(begin);
        assert!((0..1_000).all(|second| pace.may_wake(begin + Duration::from_secs(second))));
    }
}
