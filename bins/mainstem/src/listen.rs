//! What both TCP servers are made of: a small runtime of their own, so many connections at a time, and an end that lets
//! calls finish.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

/// Becomes true when a connection is to take no more calls.
pub(crate) type Stopped = watch::Receiver<bool>;

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Where.
    pub addr: SocketAddr,
    /// What its threads are called, with a number each.
    pub name: &'static str,
    /// Threads that serve connections.
    pub threads: usize,
    /// Threads for what blocks.
    pub blocking_threads: usize,
    /// Connections at a time; more wait in the listener's queue.
    pub connections: u32,
}

/// A listener with its connections. Dropping it ends them at once; [`Listener::stop`] lets calls finish.
#[derive(Debug)]
pub(crate) struct Listener {
    addr: SocketAddr,
    runtime: Runtime,
    stop: watch::Sender<bool>,
    slots: Arc<Semaphore>,
    connections: u32,
}

impl Listener {
    /// Starts to listen; `serve` runs each connection to its end.
    ///
    /// # Errors
    /// The address cannot be had, or threads cannot be started.
    pub(crate) fn start<S, F>(config: Config, serve: S) -> io::Result<Self>
    where
        S: Fn(TcpStream, Stopped) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Config { addr, name, threads, blocking_threads, connections } = config;
        let started = AtomicUsize::new(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(blocking_threads)
            .thread_name_fn(move || format!("{name}-{}", started.fetch_add(1, Ordering::Relaxed)))
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(addr))?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let slots = Arc::new(Semaphore::new(connections as usize));
        runtime.spawn(accept(name, listener, Arc::clone(&slots), stopped, serve));
        Ok(Self { addr, runtime, stop, slots, connections })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more calls, lets those in work finish for as long as `grace`, then stops.
    pub(crate) fn stop(self, grace: Duration) {
        // Nobody listens when the accept loop has ended, and then there is nothing to tell.
        let _ = self.stop.send(true);
        let all_closed = self.slots.acquire_many(self.connections);
        let _ = self.runtime.block_on(async { tokio::time::timeout(grace, all_closed).await });
        self.runtime.shutdown_timeout(Duration::from_millis(100));
    }
}

async fn accept<S, F>(
    name: &'static str,
    listener: TcpListener,
    slots: Arc<Semaphore>,
    mut stopped: Stopped,
    serve: S,
) where
    S: Fn(TcpStream, Stopped) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
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
                let _ = stream.set_nodelay(true);
                let connection = serve(stream, stopped.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, server = name, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
