//! The Unix socket: HTTP/1 for the user who runs the node, and for root.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::who::Who;

/// Connections at a time.
const CONNECTIONS: usize = 16;

/// Time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest path that the system takes as the name of a socket, with some to spare.
const LONGEST_PATH: usize = 100;

/// The socket, while the node runs. Dropping it removes it and ends its connections.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    /// Device and inode: under the same name there may be another node's socket by the time this one goes.
    file: (u64, u64),
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Something else has its name.
    #[error("{path} is in the way of the admin socket and is no socket: move it away", path = path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("the admin socket {path} cannot be made: {source}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl Socket {
    /// Listens at `path`. What an earlier node left there is replaced: the data directory is locked, so nobody else uses it.
    ///
    /// # Errors
    /// Something that is no socket is in the way, or the system refuses.
    pub(crate) fn start(path: &Path, routes: Router) -> Result<Self, SocketError> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(SocketError::InTheWay { path: path.to_owned() });
        }
        Self::listen(path, routes).map_err(|source| SocketError::Io { path: path.to_owned(), source })
    }

    fn listen(path: &Path, routes: Router) -> io::Result<Self> {
        // Nobody finds it by its name before only its owner can open it.
        let unfinished = path.with_extension("sock.new");
        let listener = bind(&unfinished)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
        let file = file_of(&unfinished)?;
        fs::rename(&unfinished, path)?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new().name("admin-socket".into()).spawn(move || {
            runtime.block_on(async {
                match UnixListener::from_std(listener) {
                    Ok(listener) => accept(listener, routes, stopped).await,
                    Err(error) => tracing::error!(%error, "the admin socket cannot be served"),
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        Ok(Self { path: path.to_owned(), file, stop, thread: Some(thread) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if file_of(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: UnixListener, routes: Router, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let own = rustix::process::geteuid().as_raw();
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of the admin socket could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == own || peer.uid() == 0 => {
                let who = Who::Process { uid: peer.uid(), pid: peer.pid() };
                let routes = routes.clone().layer(Extension(who));
                let stopped = stopped.clone();
                tokio::spawn(async move {
                    serve(stream, routes, stopped).await;
                    drop(slot);
                });
            }
            Ok(peer) => tracing::warn!(uid = peer.uid(), "another user tried the admin socket"),
            Err(error) => tracing::warn!(%error, "nobody knows who tried the admin socket"),
        }
    }
    // Answers that are under way, such as that of whoever asked to stop.
    let all = slots.acquire_many(CONNECTIONS as u32);
    let _ = tokio::time::timeout(Duration::from_secs(1), all).await;
}

async fn serve(stream: UnixStream, routes: Router, mut stopped: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // An error is the client's: it went away.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Which file has this name: its device and inode.
fn file_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn bind(path: &Path) -> io::Result<StdListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    with_short_name(path, StdListener::bind)
}

/// Calls `open` with a name of the socket at `path` that the system takes: a path of more than about a hundred bytes is
/// named by way of its directory.
pub(super) fn with_short_name<T>(path: &Path, open: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST_PATH {
        return open(path.to_owned());
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return open(path.to_owned());
    };
    let directory = File::open(directory)?;
    open(Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}
