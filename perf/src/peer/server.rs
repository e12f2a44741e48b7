//! The receiving side: quinn on tokio's runtime of many threads, and two threads of its own for what blocks.
//!
//! A task for each data stream reads, decodes, checks, and hashes the leaves; one for each connection writes its acks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use engine::chain::NodeKey;
use hdrhistogram::Histogram;
use net::endpoint::{self, Bind, Limits};
use quinn::{Connection, Endpoint, EndpointConfig, SendStream, TokioRuntime};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::chains::{Chains, Session};
use super::message::{Acks, Batch, Hello, Messages, put};
use super::seal::{self, Durable, Pace};
use super::store::Store;
use crate::swarm::world::server_identity;

/// What a receiver is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) chains: u32,
    pub(super) connections: u32,
    pub(super) path: PathBuf,
    pub(super) tuning: super::Tuning,
}

/// Figures since the start, and of the time since they were asked for last.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    /// When, in seconds of the receiver's clock.
    pub(super) at: f64,
    /// Side blocks made durable since the start.
    pub(super) blocks: u64,
    pub(super) main_blocks: u64,
    /// Bytes that they take on the disk.
    pub(super) disk_bytes: u64,
    /// From received to durable, of the side blocks since the last sample.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// A running receiver.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    endpoint: Endpoint,
    runtime: Runtime,
    sealer: JoinHandle<()>,
    committer: JoinHandle<Result<Store>>,
    chains: Arc<Chains>,
    durable: Arc<Mutex<Durable>>,
    path: PathBuf,
    start: Instant,
}

impl Server {
    pub(super) fn start(setup: &Setup) -> Result<Self> {
        let tuning = &setup.tuning;
        let store = Store::open(&setup.path, tuning.cache_mib << 20)?;
        let path = store.path().to_owned();
        let newest = store.newest()?;
        let chains = Arc::new(Chains::new(&store.heads(setup.chains)?, tuning.window(setup.chains)));
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are in order");
        let durable = Arc::new(Mutex::new(Durable { blocks: 0, main_blocks: 0, latency }));

        // Nothing waits between the two: what is sealed early would be a smaller block.
        let (out, sealed) = sync_channel(0);
        let pace =
            Pace { most: tuning.most_leaves, interval: Duration::from_millis(tuning.interval_ms.into()) };
        let ours = Arc::clone(&chains);
        let sealer = std::thread::Builder::new()
            .name("seal".into())
            .spawn(move || seal::seal(&ours, newest, pace, &out))?;
        let (ours, figures) = (Arc::clone(&chains), Arc::clone(&durable));
        let committer = std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || seal::commit(&ours, store, &sealed, &figures))?;

        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let endpoint = runtime.block_on(async { listen(setup.connections) })?;
        let addr = endpoint.local_addr()?;
        runtime.spawn(accept(endpoint.clone(), Arc::clone(&chains)));
        let start = Instant::now();
        Ok(Self { addr, endpoint, runtime, sealer, committer, chains, durable, path, start })
    }

    pub(super) fn key() -> NodeKey {
        server_identity().public()
    }

    pub(super) fn sample(&self) -> Result<Sample> {
        ensure!(!self.committer.is_finished(), "the store has failed");
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = |quantile| durable.latency.value_at_quantile(quantile) as f64 / 1000.0;
        let sample = Sample {
            at: self.start.elapsed().as_secs_f64(),
            blocks: durable.blocks,
            main_blocks: durable.main_blocks,
            disk_bytes: Store::disk_bytes(&self.path)?,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
        };
        durable.latency.reset();
        Ok(sample)
    }

    /// Stops receiving, and hands the store back when all that was received is in it.
    #[cfg_attr(not(test), expect(dead_code, reason = "measurements end with the process"))]
    pub(super) fn stop(self) -> Result<Store> {
        self.endpoint.close(0_u32.into(), b"the end");
        self.runtime.shutdown_timeout(Duration::from_secs(10));
        self.chains.close();
        self.sealer.join().expect("sealing does not panic");
        self.committer.join().expect("committing does not panic")
    }
}

/// The TLS, the socket and the transport parameters are Mainstem's own, so that suite, datagrams, windows and buffers are the
/// same; GSO and GRO are on, as quinn does it by itself.
fn listen(connections: u32) -> Result<Endpoint> {
    let limits = Limits { keep_alive: None, ..limits(connections) };
    let known = Arc::new(|_: &NodeKey| true);
    let config = endpoint::server_config(&server_identity(), known, &limits)?;
    open(Some(config))
}

/// Eight MiB a connection, as Mainstem lends to those who deliver, but not more than 256 MiB in all.
pub(super) fn limits(connections: u32) -> Limits {
    let window = ((256 << 20) / connections.max(1)).clamp(64 << 10, 8 << 20);
    Limits {
        stream_window_bytes: window.min(2 << 20),
        connection_window_bytes: window,
        send_window_bytes: window,
        ..Limits::default()
    }
}

pub(super) fn open(server: Option<quinn::ServerConfig>) -> Result<Endpoint> {
    let bind = Bind::new((std::net::Ipv4Addr::LOCALHOST, 0).into());
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(bind.max_udp_payload).context("datagrams of that size are allowed")?;
    let socket = bind.socket().context("no socket")?;
    Ok(Endpoint::new(config, server, socket, Arc::new(TokioRuntime))?)
}

async fn accept(endpoint: Endpoint, chains: Arc<Chains>) {
    while let Some(incoming) = endpoint.accept().await {
        let chains = Arc::clone(&chains);
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            if let Err(error) = serve(&connection, chains).await {
                connection.close(1_u32.into(), format!("{error:#}").as_bytes());
            }
        });
    }
}

async fn serve(connection: &Connection, chains: Arc<Chains>) -> Result<()> {
    let (acks, control) = connection.accept_bi().await?;
    let mut control = Messages::new(control, 4 << 10);
    let hello: Hello = control.next().await?.context("no hello")?;
    ensure!(hello.chains.len() <= chains.len(), "more chains than there are");
    let session = Arc::new(Session { chains: hello.chains, durable: tokio::sync::Notify::new() });
    let first = chains.enter(&session)?;
    tokio::spawn(acknowledge(acks, first, Arc::clone(&session), Arc::clone(&chains)));
    while let Ok(stream) = connection.accept_uni().await {
        let (connection, session, chains) = (connection.clone(), Arc::clone(&session), Arc::clone(&chains));
        tokio::spawn(async move {
            if let Err(error) = receive(Messages::new(stream, 256 << 10), &session, &chains).await {
                connection.close(1_u32.into(), format!("{error:#}").as_bytes());
            }
        });
    }
    Ok(())
}

async fn receive(mut messages: Messages, session: &Arc<Session>, chains: &Chains) -> Result<()> {
    while let Some(batch) = messages.next::<Batch>().await? {
        chains.push(&batch, session, Instant::now())?;
    }
    Ok(())
}

/// Tells a client what has become durable: one message, however many main blocks have done it.
async fn acknowledge(
    mut stream: SendStream,
    first: Vec<super::message::Ack>,
    session: Arc<Session>,
    chains: Arc<Chains>,
) -> Result<()> {
    let mut told: Vec<_> = first.iter().map(|ack| ack.durable).collect();
    let (mut acks, mut buffer) = (Acks { acks: first }, BytesMut::new());
    loop {
        put(&acks, &mut buffer);
        stream.write_chunk(buffer.split().freeze()).await?;
        acks.acks.clear();
        while acks.acks.is_empty() {
            session.durable.notified().await;
            acks.acks = chains.acks(&session, &mut told);
        }
    }
}
