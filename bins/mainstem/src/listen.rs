//! What both TCP servers are made of: a small runtime of their own, so many connections at a time, and an end that lets
//! calls finish.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::header;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

/// Becomes true when a connection is to take no more calls.
pub(crate) type Stopped = watch::Receiver<bool>;

/// Where a request comes from: goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub IpAddr);

/// The name by which a request calls the server; `None` if it says none, and an error if that is no text.
pub(crate) fn named<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, header::ToStrError> {
    match headers.get(header::HOST) {
        Some(host) => host.to_str().map(Some),
        None => Ok(uri.authority().map(Authority::as_str)),
    }
}

/// Whether the host of `host` or `host:port` is this machine whatever name server is asked. Web pages that have another name
/// of their own point here call it by that one (DNS rebinding).
pub(crate) fn is_this_machine(named: &str) -> bool {
    let Ok(named) = named.parse::<Authority>() else { return false };
    let host = named.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Where.
    pub addr: SocketAddr,
    /// What its threads are called, with a number each.
    pub name: &'static str,
    /// Threads that serve connections.
    pub threads: usize,
    /// How far these threads stand back for all others, as `nice` counts: 0, like any other, to 19.
    pub nice: u8,
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
        let Config { addr, name, threads, nice, blocking_threads, connections } = config;
        let started = AtomicUsize::new(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(blocking_threads)
            .thread_name_fn(move || format!("{name}-{}", started.fetch_add(1, Ordering::Relaxed)))
            .on_thread_start(move || stand_back(nice))
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

/// On Linux, `nice` is of the thread that calls it alone.
fn stand_back(nice: u8) {
    if nice > 0
        && let Err(error) = rustix::process::nice(i32::from(nice))
    {
        tracing::debug!(%error, nice, "a thread cannot stand back for others");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_named_by_its_addresses_or_as_localhost() {
        for named in ["localhost", "LocalHost:9482", "127.0.0.1:9482", "127.1.2.3:1", "[::1]:9482"] {
            assert!(is_this_machine(named), "{named}");
        }
        for named in
            ["", "localhost.example.org:9482", "10.0.0.1:9482", "[::1", "::1", "evil:80", "0.0.0.0:9482"]
        {
            assert!(!is_this_machine(named), "{named}");
        }
    }

    #[cfg(target_os = "linux")]
    mod standing_back {
        use std::fs;
        use std::net::Ipv4Addr;
        use std::time::Instant;

        use super::*;

        /// How nice the threads of this process with such a name are.
        fn nice_of(name: &str) -> Vec<i32> {
            let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
            let stats = tasks.filter_map(|task| fs::read_to_string(task.join("stat")).ok());
            let ours = stats.filter(|stat| stat.contains(&format!("({name}-")));
            // proc(5): the 19th field; the name before may have spaces.
            let nice =
                |stat: String| stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse();
            ours.map(|stat| nice(stat).unwrap()).collect()
        }

        #[test]
        fn threads_stand_back_as_far_as_they_are_told_and_no_others_do() {
            let start = |name, nice| {
                let addr = (Ipv4Addr::LOCALHOST, 0).into();
                let config = Config { addr, name, threads: 2, nice, blocking_threads: 1, connections: 1 };
                Listener::start(config, |_, _| async {}).unwrap()
            };
            let (_meek, _plain) = (start("meek", 7), start("plain", 0));
            let own = rustix::process::getpriority_process(None).unwrap();
            // A thread gets its name, and stands back, a moment after it has started.
            let deadline = Instant::now() + Duration::from_secs(60);
            while nice_of("meek") != [own + 7; 2] || nice_of("plain") != [own; 2] {
                let now = (nice_of("meek"), nice_of("plain"));
                assert!(Instant::now() < deadline, "this thread has {own}, those of both have {now:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
