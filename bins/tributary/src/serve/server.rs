//! The HTTP server: a thread and a runtime of its own, away from the reading of the source and the sending of blocks.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::routes::{Serving, router};
use super::{MAX_CONNECTIONS, MAX_WAIT, TIMEOUT};

/// After so long a connection takes no more requests, and ends when its last one is answered.
const MAX_AGE: Duration = Duration::from_secs(300);

/// For the last answer, however slowly its reader takes it.
const LAST_ANSWER: Duration = Duration::from_secs(60 + TIMEOUT.as_secs() + MAX_WAIT.as_secs());

/// The endpoint, while it runs. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts to listen and to answer.
    ///
    /// # Errors
    /// The address cannot be had, or the system gives no thread.
    pub fn start(addr: SocketAddr, serving: Serving) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .thread_name("serve")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(addr))?;
        let addr = listener.local_addr()?;
        runtime.spawn(accept(listener, router(Arc::new(serving))));
        Ok(Self { addr, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

async fn accept(listener: TcpListener, routes: Router) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, slot, routes.clone(), MAX_AGE));
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, _slot: OwnedSemaphorePermit, routes: Router, age: Duration) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = pin!(connection);
    // An error here is the client's: it went away.
    if tokio::time::timeout(age, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use axum::routing::get;
    use tokio::sync::Notify;

    use super::*;

    /// What comes for a request that is being answered when its connection is too old; `None` if it came later.
    async fn late_answer(age: Duration) -> Option<String> {
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let answer = {
            let (reached, go) = (Arc::clone(&reached), Arc::clone(&go));
            async move || {
                reached.notify_one();
                go.notified().await;
                "here it is"
            }
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let routes = Router::new().route("/", get(answer));
        let serving = tokio::spawn(serve(listener.accept().await.unwrap().0, slot, routes, age));
        let in_time = tokio::time::timeout(age, reached.notified()).await.is_ok();
        tokio::time::sleep(age * 2).await;
        go.notify_one();
        // To the end of the connection: it does not wait for another request.
        let read = tokio::task::spawn_blocking(move || {
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        });
        let read = read.await.unwrap();
        serving.await.unwrap();
        // A machine too busy to begin in time says nothing.
        in_time.then(|| read.unwrap_or_default())
    }

    #[tokio::test]
    async fn a_connection_that_is_too_old_ends_after_its_answer() {
        for age in [50, 100, 1_000, 5_000].map(Duration::from_millis) {
            if let Some(answer) = late_answer(age).await {
                assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here it is"), "{answer}");
                return;
            }
        }
        panic!("no request was begun within 5 s");
    }
}
