//! What a side node asks of its parent.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aelf::acs7::{ChainInitializationData, ParentChainBlockData};
use aelf::basic_cross_chain_rpc_server::{BasicCrossChainRpc, BasicCrossChainRpcServer};
use aelf::hand_shake_reply::HandShakeStatus;
use aelf::parent_chain_rpc_server::{ParentChainRpc, ParentChainRpcServer};
use aelf::tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use aelf::tonic::transport::Server;
use aelf::tonic::{Request, Response, Status, async_trait};
use aelf::{CrossChainRequest, HandShake, HandShakeReply, SideChainInitializationRequest};
use engine::chain::{ChainId, Height};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout_at;

use super::Shared;
use super::incoming::{Counts, Incoming, Slot};
use super::parent::{ParentApi, ParentError};

/// Answers until it is stopped.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    parent: ParentApi,
    initialization: Option<ChainInitializationData>,
    mut stopped: watch::Receiver<bool>,
) {
    let rpc = Arc::new(Rpc {
        shared,
        parent,
        initialization,
        requests: Counts::default(),
        reading: Arc::new(Semaphore::new(MAX_REQUESTS)),
        refused: Mutex::default(),
    });
    let basic = BasicCrossChainRpcServer::from_arc(Arc::clone(&rpc));
    let parent = ParentChainRpcServer::from_arc(rpc);
    let served = Server::builder()
        .concurrency_limit_per_connection(MAX_CALLS_PER_CONNECTION)
        .max_concurrent_streams(MAX_CALLS_PER_CONNECTION as u32)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        // A connection that is gone gives its place back.
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_service(basic.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(parent.max_decoding_message_size(MAX_REQUEST_BYTES))
        .serve_with_incoming_shutdown(Incoming::new(listener), async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the side node's requests are not answered any more");
    }
}

struct Rpc {
    shared: Arc<Shared>,
    parent: ParentApi,
    initialization: Option<ChainInitializationData>,
    /// Requests for blocks that are being answered, by who asks.
    requests: Counts,
    /// Those of them for which the main chain's API is being read.
    reading: Arc<Semaphore>,
    /// Whose handshake was refused last: a node asks again all the time.
    refused: Mutex<Option<(IpAddr, i32)>>,
}

impl Rpc {
    fn is_ours(&self, chain: i32) -> bool {
        chain.cast_unsigned() == self.shared.config.chain.0
    }

    fn other_chain(&self, chain: i32) -> Status {
        Status::failed_precondition(format!(
            "chain {} is served here, not {}",
            self.shared.config.chain,
            ChainId(chain.cast_unsigned())
        ))
    }

    /// Where to call back, or nothing where there is no such place.
    fn caller(&self, remote: Option<SocketAddr>, hello: HandShake) -> Option<SocketAddr> {
        let ip = remote?.ip().to_canonical();
        let port = u16::try_from(hello.listening_port).ok().filter(|port| *port > 0);
        if let Some(port) = port
            && self.is_ours(hello.chain_id)
        {
            return Some(SocketAddr::new(ip, port));
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.replace((ip, hello.chain_id)) != Some((ip, hello.chain_id)) {
            let chain = ChainId(hello.chain_id.cast_unsigned());
            tracing::warn!(
                %ip, %chain, port = hello.listening_port, expected = %self.shared.config.chain,
                "a handshake was refused"
            );
        }
        None
    }

    async fn parent_blocks(
        &self,
        remote: Option<SocketAddr>,
        request: &CrossChainRequest,
    ) -> Result<Blocks, Status> {
        // Connections over TCP have one.
        let ip = remote.ok_or_else(|| Status::internal("the request has no address"))?.ip().to_canonical();
        if let Some(node) = self.shared.config.node
            && node.ip().to_canonical() != ip
        {
            return Err(Status::permission_denied(format!(
                "blocks are given to the node at {} only",
                node.ip()
            )));
        }
        if !self.is_ours(request.chain_id) {
            return Err(self.other_chain(request.chain_id));
        }
        let from = match u64::try_from(request.next_height) {
            Ok(from @ 1..) if from <= Height::MAX.0 => from,
            _ => {
                let text = format!("next_height is {}; heights begin at 1", request.next_height);
                return Err(Status::invalid_argument(text));
            }
        };
        if self.shared.state().peers.is_empty() {
            // A node that shook hands with the program that ran here before does so again after an error.
            return Err(Status::unavailable("nobody has shaken hands here yet: shake hands first"));
        }
        let too_many = || Status::resource_exhausted("too many requests at once");
        let slot = Slot::take(&self.requests, ip, MAX_ANSWERS, MAX_PER_IP).ok_or_else(too_many)?;
        let reading = Arc::clone(&self.reading).try_acquire_owned().map_err(|_| too_many())?;
        let parent = self.parent.clone();
        // Held by the thread: nobody who breaks off makes room for more threads.
        let read = tokio::task::spawn_blocking(move || {
            let blocks = parent.blocks(from);
            drop(reading);
            (blocks, slot)
        })
        .await;
        let (blocks, slot) = read.map_err(|_| Status::internal("reading the main chain failed"))?;
        let blocks = blocks.map_err(|error| {
            tracing::warn!(%error, from, "the main chain's blocks cannot be served");
            refusal(&error)
        })?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let deadline = tokio::time::Instant::now() + LONGEST_ANSWER;
            for block in blocks {
                if !matches!(timeout_at(deadline, sender.send(Ok(block))).await, Ok(Ok(()))) {
                    break;
                }
            }
            drop(slot);
        });
        Ok(ReceiverStream::new(receiver))
    }
}

type Blocks = ReceiverStream<Result<ParentChainBlockData, Status>>;

fn refusal(error: &ParentError) -> Status {
    match error {
        ParentError::Web(_) => Status::unavailable(error.to_string()),
        ParentError::NoAelfRoot { .. } => Status::failed_precondition(error.to_string()),
        ParentError::TooLarge { .. } => Status::resource_exhausted(error.to_string()),
        ParentError::Form(_) | ParentError::Wrong { .. } => Status::data_loss(error.to_string()),
    }
}

#[async_trait]
impl BasicCrossChainRpc for Rpc {
    async fn cross_chain_hand_shake(
        &self,
        request: Request<HandShake>,
    ) -> Result<Response<HandShakeReply>, Status> {
        let remote = request.remote_addr();
        let status = match self.caller(remote, request.into_inner()) {
            Some(addr) => {
                tracing::debug!(%addr, "an AElf node shook hands");
                self.shared.state().peers.hear(addr, Instant::now());
                self.shared.poke.notify_one();
                HandShakeStatus::Success
            }
            None => HandShakeStatus::InvalidHandshakeRequest,
        };
        Ok(Response::new(HandShakeReply { status: status.into() }))
    }
}

#[async_trait]
impl ParentChainRpc for Rpc {
    type RequestIndexingFromParentChainStream = Blocks;

    async fn request_indexing_from_parent_chain(
        &self,
        request: Request<CrossChainRequest>,
    ) -> Result<Response<Blocks>, Status> {
        self.parent_blocks(request.remote_addr(), request.get_ref()).await.map(Response::new)
    }

    async fn request_chain_initialization_data_from_parent_chain(
        &self,
        request: Request<SideChainInitializationRequest>,
    ) -> Result<Response<ChainInitializationData>, Status> {
        let chain = request.get_ref().chain_id;
        if !self.is_ours(chain) {
            return Err(self.other_chain(chain));
        }
        match &self.initialization {
            Some(data) => Ok(Response::new(data.clone())),
            None => Err(Status::failed_precondition(
                "no initialization data is here; start `tributary aelf` with --initialization FILE",
            )),
        }
    }
}

/// Requests for blocks for which the main chain is read at once, each by a thread.
pub(super) const MAX_REQUESTS: usize = 4;
/// Requests for blocks at once: each holds a page of the main chain until that is taken.
const MAX_ANSWERS: usize = 8;
/// Of one address. A node asks one after the other.
const MAX_PER_IP: usize = 2;
const MAX_CALLS_PER_CONNECTION: usize = 16;
/// All requests are a few numbers.
const MAX_REQUEST_BYTES: usize = 4 << 10;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// However slowly it is read.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);
