//! One connection of a driver, HTTP/1.1 or HTTP/2: a call has so long, and so has a pause between calls.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::listen::Stopped;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request to arrive.
    pub head: Duration,
    /// Without any call.
    pub idle: Duration,
    /// From the head of a call to the end of its answer; a stream of verdicts may last.
    pub call: Duration,
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, mut stopped: Stopped, routes: Router, patience: Patience) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(64)
        .max_header_list_size(64 * 1024);
    let (calls, open) = watch::channel(0);
    let (calls, overdue, routes) =
        (Arc::new(calls), Arc::new(Notify::new()), TowerToHyperService::new(routes));
    let service = service_fn(|request: Request<Incoming>| {
        let most = (!request.uri().path().ends_with("/WatchVerdicts")).then_some(patience.call);
        let call = Call::begin(&calls, most, &overdue);
        let answer = routes.call(request);
        async { answer.await.map(|answer| answer.map(|body| Held::until_sent(body, call))) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What has arrived counts before what is over.
        biased;
        _ = connection.as_mut() => return,
        () = overdue.notified() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = idle(open.clone(), patience.idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        // An error here is the driver's: it went away.
        _ = connection => {}
        () = overdue.notified() => {}
        // HTTP/2 waits until its peer has confirmed the end; not every one does.
        () = idle(open, patience.idle.min(GRACE)) => {}
    }
}

/// Between the end of the last call and that of a connection that takes no more.
const GRACE: Duration = Duration::from_secs(5);

/// Comes back when there was no call for so long.
async fn idle(mut open: watch::Receiver<usize>, most: Duration) {
    // The sender is there for as long as the connection.
    while open.wait_for(|calls| *calls == 0).await.is_ok() {
        // Also sees a call that has come and gone in the meantime.
        if timeout(most, open.changed()).await.is_err() {
            return;
        }
    }
}

/// A call that is in work.
struct Call {
    calls: Arc<watch::Sender<usize>>,
    /// Tells when it is overdue.
    alarm: Option<AbortHandle>,
}

impl Call {
    fn begin(calls: &Arc<watch::Sender<usize>>, most: Option<Duration>, overdue: &Arc<Notify>) -> Self {
        calls.send_modify(|calls| *calls += 1);
        let alarm = most.map(|most| {
            let overdue = Arc::clone(overdue);
            let alarm = async move {
                sleep(most).await;
                overdue.notify_one();
            };
            tokio::spawn(alarm).abort_handle()
        });
        Self { calls: Arc::clone(calls), alarm }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.abort();
        }
        self.calls.send_modify(|calls| *calls -= 1);
    }
}

/// A body that keeps something until it was handed over, all but the last [`PIECE`] of it.
pub(super) struct Held<G> {
    body: Body,
    /// What is left of a frame.
    rest: Bytes,
    _guard: G,
}

/// Bytes of an answer that are handed over at a time: so many the connection takes only as its peer reads.
const PIECE: usize = 64 * 1024;

impl<G: Send + Unpin + 'static> Held<G> {
    /// `body`, which drops `guard` when it is dropped itself.
    pub(super) fn until_sent(body: Body, guard: G) -> Body {
        Body::new(Self { body, rest: Bytes::new(), _guard: guard })
    }
}

impl<G: Unpin> HttpBody for Held<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = PIECE.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use axum::routing::get;
    use tokio::sync::broadcast;
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::BroadcastStream;

    use crate::listen::{Config, Listener};

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const NEVER: Duration = Duration::from_secs(3600);

    /// A server whose `/WatchVerdicts` and `/other` answer with what the sender sends.
    fn server(patience: Patience) -> (Listener, broadcast::Sender<&'static str>) {
        let (sender, _) = broadcast::channel(16);
        let news = sender.clone();
        let answer = move || {
            let news = BroadcastStream::new(news.subscribe()).map(|text| text.map(Bytes::from));
            let answer = Body::from_stream(news);
            async { answer }
        };
        let routes = Router::new().route("/WatchVerdicts", get(answer.clone())).route("/other", get(answer));
        let addr = "127.0.0.1:0".parse().unwrap();
        let config = Config { addr, name: "test", threads: 1, nice: 0, blocking_threads: 1, connections: 8 };
        let serve = move |stream, stopped| serve(stream, stopped, routes.clone(), patience);
        (Listener::start(config, serve).unwrap(), sender)
    }

    fn connect(server: &Listener, sent: &[u8]) -> Client {
        let mut client = Client::connect(server.addr()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // It may be closed already.
        let _ = client.write_all(sent);
        client
    }

    /// A call whose head was answered. Where this thread is slow, a connection is idle before it has sent anything.
    fn call(server: &Listener, path: &str) -> Client {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        for _ in 0..100 {
            let mut client = connect(server, head.as_bytes());
            if read_to(&mut client, "\r\n\r\n").is_ok() {
                return client;
            }
        }
        panic!("{path} is not answered");
    }

    fn read_to(client: &mut Client, end: &str) -> std::io::Result<()> {
        let (mut read, mut byte) = (Vec::new(), [0]);
        while !read.ends_with(end.as_bytes()) {
            client.read_exact(&mut byte)?;
            read.push(byte[0]);
        }
        Ok(())
    }

    fn read_to_end(mut client: Client) {
        // Closed one way or the other, and not open still when time is up.
        if let Err(error) = client.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }

    #[test]
    fn a_connection_without_calls_is_closed_and_a_stream_of_verdicts_is_not() {
        let (server, sender) = server(Patience { head: NEVER, idle: SOON, call: NEVER });
        let mut watcher = call(&server, "/WatchVerdicts");
        // HTTP/2 with its settings, which confirms nothing; half a head of HTTP/1.1; one call and no more; nothing at all.
        let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        for sent in [&http2[..], b"GET /other HTTP/1.1\r\n", b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n", b""] {
            read_to_end(connect(&server, sent));
        }
        sender.send("still here").unwrap();
        read_to(&mut watcher, "still here").unwrap();
    }

    #[test]
    fn a_call_that_takes_too_long_ends_its_connection_and_a_stream_of_verdicts_may_last() {
        let (server, sender) = server(Patience { head: NEVER, idle: NEVER, call: SOON });
        let mut watcher = call(&server, "/WatchVerdicts");
        let head = b"GET /other HTTP/1.1\r\nhost: x\r\n\r\n";
        read_to_end(connect(&server, head));
        sender.send("still here").unwrap();
        read_to(&mut watcher, "still here").unwrap();
    }

    #[test]
    fn an_answer_is_handed_over_in_pieces_and_whole() {
        let guard = Arc::new(());
        let whole: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        let mut body = Held::until_sent(Body::from(whole.clone()), Arc::clone(&guard));
        assert_eq!(body.size_hint().exact(), Some(200_000));
        let mut read = Vec::new();
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut context) {
            let piece = frame.unwrap().into_data().unwrap();
            assert!((1..=PIECE).contains(&piece.len()));
            assert_eq!(Arc::strong_count(&guard), 2, "held");
            read.extend_from_slice(&piece);
        }
        assert!(body.is_end_stream());
        drop(body);
        assert_eq!((read, Arc::strong_count(&guard)), (whole, 1));
    }
}
