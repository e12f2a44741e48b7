//! An AElf side node, as far as its parent sees it: what it serves, whom it calls back, how it asks in rounds, and the
//! cache that it asks for. Its rules are those of `engine::aelf`, also where these are odd: callers by IPv4 alone. So is one
//! deadline over a whole stream, and that the first address that claims a chain keeps it. And for what wraps it: a small
//! HTTP server.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aelf::acs7::{ParentChainBlockData, SideChainBlockData};
use aelf::basic_cross_chain_rpc_client::BasicCrossChainRpcClient;
use aelf::basic_cross_chain_rpc_server::{BasicCrossChainRpc, BasicCrossChainRpcServer};
use aelf::hand_shake_reply::HandShakeStatus;
use aelf::parent_chain_rpc_client::ParentChainRpcClient;
use aelf::side_chain_rpc_server::{SideChainRpc, SideChainRpcServer};
use aelf::tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use aelf::tonic::transport::server::TcpIncoming;
use aelf::tonic::transport::{Channel, Endpoint, Server};
use aelf::tonic::{Request, Response, Status, async_trait};
use aelf::{CrossChainRequest, HandShake, HandShakeReply};
use engine::aelf::cache::ChainCache;
use engine::aelf::data::{BlockData, ParentBlockData};
use engine::aelf::server;
use engine::chain::{ChainId, Hash, Height};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What the blocks of a chain are made from: two nodes of one chain have the same.
pub(super) fn hash(chain: i32, seed: &str, height: u64, what: &str) -> [u8; 32] {
    Sha256::digest(format!("{chain} {seed} {height} {what}")).into()
}

/// What is wrong with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    None,
    /// It gives blocks of this chain.
    OtherChain(i32),
    /// It leaves a height out.
    Gap(u64),
    /// A block without a root.
    NoRoot(u64),
    /// A root of another length.
    LongRoot(u64),
    /// A message of a mebibyte.
    Oversized(u64),
    /// From this height on, nothing comes, and the stream does not end.
    Silent(u64),
}

/// The state that a node's servers share.
#[derive(Debug)]
pub(super) struct Chain {
    id: i32,
    seed: &'static str,
    /// The newest irreversible height.
    lib: AtomicU64,
    fault: Mutex<Fault>,
    /// Who shook hands, by chain id: the first address stays.
    clients: Mutex<HashMap<i32, SocketAddr>>,
    pub(super) handshakes: AtomicU64,
    pub(super) requests: AtomicU64,
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub(super) struct StandIn {
    pub(super) chain: Arc<Chain>,
    pub(super) addr: SocketAddr,
    runtime: Option<Runtime>,
    parent: SocketAddr,
    channel: Option<Channel>,
    connected: bool,
    pub(super) cache: Cache,
    /// Of connecting, and of each call as a whole (`ConnectionTimeout`).
    deadline: Duration,
}

impl StandIn {
    /// A node of `chain` whose blocks follow from `seed`, irreversible up to `lib`, with `parent` as its parent.
    pub(super) fn start(
        listen: SocketAddr,
        chain: i32,
        seed: &'static str,
        lib: u64,
        parent: SocketAddr,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let chain = Arc::new(Chain {
            id: chain,
            seed,
            lib: AtomicU64::new(lib),
            fault: Mutex::new(Fault::None),
            clients: Mutex::default(),
            handshakes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        });
        let incoming = {
            let _guard = runtime.enter();
            // The one that had the address may still be on its way out.
            let mut tries = (0..2_000).map(|_| match TcpIncoming::bind(listen) {
                Ok(incoming) => Some(incoming),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
                    thread::sleep(Duration::from_millis(10));
                    None
                }
            });
            tries.find_map(|incoming| incoming).unwrap()
        };
        let addr = incoming.local_addr().unwrap();
        let server = Server::builder()
            .add_service(BasicCrossChainRpcServer::from_arc(Arc::clone(&chain)))
            .add_service(SideChainRpcServer::from_arc(Arc::clone(&chain)));
        runtime.spawn(server.serve_with_incoming(incoming));
        Self {
            chain,
            addr,
            runtime: Some(runtime),
            parent,
            channel: None,
            connected: false,
            cache: Cache::new(super::AELF, Height(1)),
            deadline: CONNECTION_TIMEOUT,
        }
    }

    pub(super) fn set_lib(&self, lib: u64) {
        self.chain.lib.store(lib, Ordering::SeqCst);
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        *self.chain.fault.lock().unwrap() = fault;
    }

    /// A request round, as after each executed block. What the last error was, where there was one.
    pub(super) fn round(&mut self) -> Result<usize, Status> {
        let runtime = self.runtime.take().unwrap();
        let result = runtime.block_on(self.ask());
        self.runtime = Some(runtime);
        if result.is_err() {
            self.connected = false;
        }
        result
    }

    async fn ask(&mut self) -> Result<usize, Status> {
        let Some(next_height) = self.cache.wanted() else { return Ok(0) };
        if !self.connected {
            self.channel = None;
            let status = self.shake_hands(self.addr.port().into()).await?;
            if status != HandShakeStatus::Success {
                return Err(Status::aborted("the handshake was refused"));
            }
            self.connected = true;
        }
        let channel = self.channel.clone().unwrap();
        let request = CrossChainRequest { chain_id: self.chain.id, next_height };
        let cache = &mut self.cache;
        // One deadline over all of it; what came before it fires stays.
        let whole = async {
            let mut stream = ParentChainRpcClient::new(channel)
                .request_indexing_from_parent_chain(request)
                .await?
                .into_inner();
            let mut added = 0;
            while let Some(block) = stream.message().await? {
                if !cache.add(block) {
                    break;
                }
                added += 1;
            }
            Ok(added)
        };
        timeout(self.deadline, whole).await.map_err(|_| Status::deadline_exceeded("the stream"))?
    }

    async fn shake_hands(&mut self, listening_port: i32) -> Result<HandShakeStatus, Status> {
        let hello = HandShake { listening_port, chain_id: self.chain.id };
        let call = async {
            if self.channel.is_none() {
                let endpoint = Endpoint::from_shared(format!("http://{}", self.parent)).unwrap();
                let channel = endpoint.connect().await;
                self.channel = Some(channel.map_err(|error| Status::unavailable(error.to_string()))?);
            }
            let channel = self.channel.clone().unwrap();
            BasicCrossChainRpcClient::new(channel).cross_chain_hand_shake(hello).await
        };
        let reply = timeout(self.deadline, call).await;
        Ok(reply.map_err(|_| Status::deadline_exceeded("the handshake"))??.into_inner().status())
    }

    /// Shakes hands alone.
    pub(super) fn greet(&mut self, listening_port: i32) -> Result<HandShakeStatus, Status> {
        let runtime = self.runtime.take().unwrap();
        let result = runtime.block_on(self.shake_hands(listening_port));
        self.runtime = Some(runtime);
        result
    }

    /// Calls the parent with a client of its own.
    pub(super) fn call<T>(&mut self, call: impl AsyncFnOnce(ParentChainRpcClient<Channel>) -> T) -> T {
        let runtime = self.runtime.take().unwrap();
        let result = runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.parent)).unwrap();
            call(ParentChainRpcClient::new(endpoint.connect().await.unwrap())).await
        });
        self.runtime = Some(runtime);
        result
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Chain {
    fn block(&self, height: u64, fault: Fault) -> SideChainBlockData {
        let own = |what| Some(hash(self.id, self.seed, height, what).into());
        let mut block = SideChainBlockData {
            height: height.cast_signed(),
            block_header_hash: own("block"),
            transaction_status_merkle_tree_root: own("root"),
            chain_id: self.id,
        };
        match fault {
            Fault::OtherChain(id) => block.chain_id = id,
            Fault::Gap(at) if height >= at => block.height += 1,
            Fault::NoRoot(at) if height == at => block.transaction_status_merkle_tree_root = None,
            Fault::LongRoot(at) if height == at => {
                block.transaction_status_merkle_tree_root = Some(aelf::Hash { value: vec![1; 33] });
            }
            Fault::Oversized(at) if height == at => {
                block.block_header_hash = Some(aelf::Hash { value: vec![1; 1 << 20] });
            }
            _ => {}
        }
        block
    }
}

#[async_trait]
impl BasicCrossChainRpc for Chain {
    async fn cross_chain_hand_shake(
        &self,
        request: Request<HandShake>,
    ) -> Result<Response<HandShakeReply>, Status> {
        self.handshakes.fetch_add(1, Ordering::SeqCst);
        let peer = request.remote_addr().map(peer_text).unwrap_or_default();
        let hello = request.into_inner();
        let (status, to) = server::handshake(&peer, u16::try_from(hello.listening_port).unwrap());
        if let Some(to) = to {
            self.clients.lock().unwrap().entry(hello.chain_id).or_insert(to);
        }
        Ok(Response::new(HandShakeReply { status: status as i32 }))
    }
}

#[async_trait]
impl SideChainRpc for Chain {
    type RequestIndexingFromSideChainStream = ReceiverStream<Result<SideChainBlockData, Status>>;

    async fn request_indexing_from_side_chain(
        &self,
        request: Request<CrossChainRequest>,
    ) -> Result<Response<Self::RequestIndexingFromSideChainStream>, Status> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let Ok(from @ 1..) = u64::try_from(request.get_ref().next_height) else {
            return Err(Status::unknown("Exception was thrown by handler."));
        };
        let (lib, fault) = (self.lib.load(Ordering::SeqCst), *self.fault.lock().unwrap());
        let (sender, receiver) = mpsc::channel(40);
        for height in server::irreversible_heights(Height(from), Height(lib)) {
            if matches!(fault, Fault::Silent(at) if height >= at) {
                // Kept, so that the stream does not end.
                tokio::spawn(async move { sender.closed().await });
                return Ok(Response::new(ReceiverStream::new(receiver)));
            }
            sender.try_send(Ok(self.block(height, fault))).unwrap();
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// How AElf's gRPC library writes an address.
fn peer_text(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(addr) => format!("ipv4:{addr}"),
        SocketAddr::V6(addr) => format!("ipv6:{addr}"),
    }
}

/// The main chain's blocks that a node has received, by AElf's rules.
#[derive(Debug)]
pub(super) struct Cache {
    rules: ChainCache,
    /// What is in it, as it came.
    pub(super) blocks: BTreeMap<i64, ParentChainBlockData>,
}

impl Cache {
    fn new(chain: ChainId, target: Height) -> Self {
        Self { rules: ChainCache::new(chain, target), blocks: BTreeMap::new() }
    }

    /// The next height, unless it is full.
    pub(super) fn wanted(&self) -> Option<i64> {
        self.rules.target().map(|height| height.0.cast_signed())
    }

    fn add(&mut self, block: ParentChainBlockData) -> bool {
        let root = block.transaction_status_merkle_tree_root.as_ref();
        let added = self.rules.add(BlockData::Parent(ParentBlockData {
            chain: ChainId(block.chain_id.cast_unsigned()),
            height: Height(block.height.cast_unsigned()),
            status_root: root.and_then(aelf::Hash::bytes).map(Hash),
            side_root: None,
            paths: BTreeMap::new(),
            extra_data: BTreeMap::new(),
        }));
        if added {
            self.blocks.insert(block.height, block);
        }
        added
    }

    /// What was indexed up to a height is needed no more.
    pub(super) fn clear(&mut self, height: i64) {
        self.rules.clear(Height(height.cast_unsigned()));
        self.blocks.retain(|at, _| self.rules.take(Height(at.cast_unsigned())).is_some());
    }
}

/// A small HTTP server: whatever a function answers to the path of a GET.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) url: String,
    stop: Arc<AtomicBool>,
    addr: SocketAddr,
}

impl Http {
    pub(super) fn start(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let Some(request) = lines.next() else { continue };
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let (status, body) = answer(request.split(' ').nth(1).unwrap_or_default());
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
            }
        });
        Self { url: format!("http://{addr}"), stop, addr }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(self.addr);
    }
}

const CONNECTION_TIMEOUT: Duration = Duration::from_millis(500);
