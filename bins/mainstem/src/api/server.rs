//! The HTTP server: a small runtime of its own, so that no load on the API reaches ingest or sealing.
//!
//! # Capacity
//! At most `max_connections` connections, each with at most one request of bounded size in work; more wait in the
//! listener's queue. A connection that sends no request head in time is closed, one whose reader stands still for
//! [`PATIENCE`] too, and none lives longer than twice [`MAX_AGE`], however slowly its reader takes what it asked for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

use super::patient::Patient;
use crate::listen::{self, Listener, Peer, Stopped};

/// For so long a connection takes new requests; the last one may take as long again. Event streams end by themselves
/// before that, and say so.
const MAX_AGE: Duration = Duration::from_secs(300);

/// A client that takes nothing of an answer for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Where to listen.
    pub addr: SocketAddr,
    /// Threads that answer.
    pub threads: usize,
    /// How far they stand back for ingest, sealing and storing, from 0 to 19.
    pub nice: u8,
    /// Connections at once.
    pub max_connections: usize,
    /// Time for the head of a request to arrive.
    pub head_timeout: Duration,
}

/// The API, while it runs. Dropping it stops it at once; [`Server::stop`] lets requests finish.
#[derive(Debug)]
pub(crate) struct Server(Listener);

impl Server {
    /// Starts to listen and to answer.
    ///
    /// # Errors
    /// The address cannot be had, or threads cannot be started.
    pub(crate) fn start(config: Config, routes: Router) -> io::Result<Self> {
        let Config { addr, threads, nice, max_connections, head_timeout } = config;
        let connections = max_connections as u32;
        let listening = listen::Config { addr, name: "api", threads, nice, blocking_threads: 1, connections };
        let serve = move |stream, stopped| serve(stream, stopped, routes.clone(), head_timeout);
        Listener::start(listening, serve).map(Self)
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    /// Takes no more requests, lets those in work finish for as long as `grace`, then stops.
    pub(crate) fn stop(self, grace: Duration) {
        self.0.stop(grace);
    }
}

async fn serve(stream: TcpStream, mut stopped: Stopped, routes: Router, head_timeout: Duration) {
    // Of one that is gone already nobody asks.
    let peer = stream.peer_addr().ok().map(|peer| Peer(peer.ip()));
    let (ended, routes) = (stopped.clone(), TowerToHyperService::new(routes));
    let service = service_fn(move |mut request: Request<Incoming>| {
        // What goes on for long ends with the server.
        request.extensions_mut().insert::<Stopped>(ended.clone());
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(Patient::new(stream, PATIENCE)), service);
    let mut connection = std::pin::pin!(connection);
    let whole_life = async {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = tokio::time::sleep(MAX_AGE) => {}
        }
        connection.as_mut().graceful_shutdown();
        // An error here is the client's: it went away.
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(2 * MAX_AGE, whole_life).await;
}
