//! The HTTP server: a small runtime of its own, so that no load on the API reaches ingest or sealing.
//!
//! # Capacity
//! At most `max_connections` connections, each with at most one request of bounded size in work; more wait in the
//! listener's queue. A connection that sends no request head in time is closed, and none lives longer than
//! [`MAX_AGE`], however slowly its reader takes what it asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Longest life of a connection.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Where to listen.
    pub addr: SocketAddr,
    /// Threads that answer.
    pub threads: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Time for the head of a request to arrive.
    pub head_timeout: Duration,
}

/// The API, while it runs. Dropping it stops it at once; [`Server::stop`] lets requests finish.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    runtime: Runtime,
    stop: watch::Sender<bool>,
    slots: Arc<Semaphore>,
    max_connections: u32,
}

impl Server {
    /// Starts to listen and to answer.
    ///
    /// # Errors
    /// The address cannot be had, or threads cannot be started.
    pub(crate) fn start(config: Config, routes: Router) -> io::Result<Self> {
        let started = AtomicUsize::new(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads)
            .max_blocking_threads(1)
            .thread_name_fn(move || format!("api-{}", started.fetch_add(1, Ordering::Relaxed)))
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(config.addr))?;
        let addr = listener.local_addr()?;
        let slots = Arc::new(Semaphore::new(config.max_connections));
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(accept(listener, routes, Arc::clone(&slots), stopped, config.head_timeout));
        Ok(Self { addr, runtime, stop, slots, max_connections: config.max_connections as u32 })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more requests, lets those in work finish for as long as `grace`, then stops.
    pub(crate) fn stop(self, grace: Duration) {
        // Nobody listens when the accept loop has ended, and then there is nothing to tell.
        let _ = self.stop.send(true);
        let all_closed = self.slots.acquire_many(self.max_connections);
        let _ = self.runtime.block_on(async { tokio::time::timeout(grace, all_closed).await });
        self.runtime.shutdown_timeout(Duration::from_millis(100));
    }
}

async fn accept(
    listener: TcpListener,
    routes: Router,
    slots: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
    head_timeout: Duration,
) {
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            next = next => next,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, slot, routes.clone(), stopped.clone(), head_timeout));
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "the API could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
    routes: Router,
    mut stopped: watch::Receiver<bool>,
    head_timeout: Duration,
) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let whole_life = async {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        connection.as_mut().graceful_shutdown();
        // An error here is the client's: it went away.
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(MAX_AGE, whole_life).await;
}
