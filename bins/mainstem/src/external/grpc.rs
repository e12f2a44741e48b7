//! The calls over gRPC: the service of `proto/external.proto`.

use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use engine::chain::{ChainId, Hash, Height, MainHeader, Timestamp};
use engine::external::{ExternalError, Proposal, ProposedSection, Verdict};
use engine::pipeline::Head;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::places::Place;
use super::rest::LONGEST_WAIT;
use super::{Driver, Wanted};

use wire::main_chain_server::{MainChain, MainChainServer};

#[allow(
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated from proto/external.proto, which documents it"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/server/mainstem.external.v1.rs"));
}

pub(super) fn routes(driver: Driver, longest: usize) -> Router {
    let server = MainChainServer::new(Service(driver));
    let server = server.max_decoding_message_size(longest).max_encoding_message_size(longest);
    Routes::new(server).into_axum_router()
}

struct Service(Driver);

#[tonic::async_trait]
impl MainChain for Service {
    async fn get_status(&self, _: Request<wire::GetStatusRequest>) -> Result<Response<wire::Status>, Status> {
        Ok(Response::new(self.stands()))
    }

    async fn candidate(
        &self,
        request: Request<wire::CandidateRequest>,
    ) -> Result<Response<wire::CandidateReply>, Status> {
        let wire::CandidateRequest { parent, max_leaves, max_per_chain } = request.into_inner();
        let parent = if parent.is_empty() { None } else { Some(hash("parent", &parent)?) };
        let some = |value| if value == 0 { None } else { Some(value) };
        let wanted = Wanted { max_leaves: some(max_leaves), max_per_chain: some(max_per_chain) };
        let block = self.0.candidate(parent, wanted).await.map_err(refused)?;
        Ok(Response::new(match block {
            None => wire::CandidateReply { block: None, hash: Vec::new() },
            Some(block) => {
                wire::CandidateReply { hash: block.hash.0.to_vec(), block: Some(Proposal::of(&block).into()) }
            }
        }))
    }

    async fn validate(
        &self,
        request: Request<wire::ValidateRequest>,
    ) -> Result<Response<wire::Verdict>, Status> {
        let place = place(&request)?;
        let wire::ValidateRequest { block, wait_ms } = request.into_inner();
        let wait = Duration::from_millis(wait_ms.into());
        if wait > LONGEST_WAIT {
            let text =
                format!("wait_ms: {wait_ms} is too long: expected at most {}", LONGEST_WAIT.as_millis());
            return Err(Status::invalid_argument(text));
        }
        let proposal = proposal(block)?;
        let hash = proposal.header.hash();
        let verdict = self.0.validate(proposal, place, wait).await.map_err(refused)?;
        Ok(Response::new(judged(hash, verdict)))
    }

    async fn commit(&self, request: Request<wire::CommitRequest>) -> Result<Response<wire::Head>, Status> {
        let place = place(&request)?;
        let proposal = proposal(request.into_inner().block)?;
        let head = self.0.commit(proposal, place).await.map_err(refused)?;
        Ok(Response::new(head.into()))
    }

    async fn rollback(
        &self,
        request: Request<wire::HeightRequest>,
    ) -> Result<Response<wire::Status>, Status> {
        self.0.rollback(Height(request.into_inner().height)).await.map_err(refused)?;
        Ok(Response::new(self.stands()))
    }

    async fn finalize(
        &self,
        request: Request<wire::HeightRequest>,
    ) -> Result<Response<wire::Status>, Status> {
        self.0.finalize(Height(request.into_inner().height)).await.map_err(refused)?;
        Ok(Response::new(self.stands()))
    }

    type WatchVerdictsStream = Pin<Box<dyn Stream<Item = Result<wire::Judged, Status>> + Send>>;

    async fn watch_verdicts(
        &self,
        _: Request<wire::WatchVerdictsRequest>,
    ) -> Result<Response<Self::WatchVerdictsStream>, Status> {
        let stream = BroadcastStream::new(self.0.watch()).map(|news| match news {
            Ok((hash, verdict)) => Ok(wire::Judged { verdict: Some(judged(hash, verdict)) }),
            // Better an end than a gap that nobody sees.
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                Err(Status::data_loss(format!("{missed} verdicts were missed: watch anew")))
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

impl Service {
    fn stands(&self) -> wire::Status {
        let (status, waiting) = self.0.status();
        wire::Status {
            head: status.head.map(Into::into),
            irreversible: status.irreversible.0,
            waiting: waiting as u64,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` takes")]
fn refused(error: ExternalError) -> Status {
    let text = error.to_string();
    match error {
        ExternalError::UnknownParent { .. } => Status::not_found(text),
        ExternalError::Limit { .. } | ExternalError::NotValid(Verdict::Invalid { .. } | Verdict::Valid) => {
            Status::invalid_argument(text)
        }
        ExternalError::NotValid(Verdict::Behind { .. }) => Status::unavailable(text),
        ExternalError::NotOnHead { .. } | ExternalError::NotValid(Verdict::UnknownParent { .. }) => {
            Status::failed_precondition(text)
        }
        ExternalError::TooDeep { .. } => Status::resource_exhausted(text),
        ExternalError::NoSuchBlock { .. } => Status::out_of_range(text),
        // That nothing waits is an answer of `Driver::candidate`, and never refused.
        ExternalError::Failed { .. } | ExternalError::NothingWaits { .. } => Status::internal(text),
    }
}

fn place<T>(request: &Request<T>) -> Result<Place, Status> {
    let place = request.extensions().get::<Place>().cloned();
    place.ok_or_else(|| Status::internal("the call has no place: please report it"))
}

fn hash(field: &str, bytes: &[u8]) -> Result<Hash, Status> {
    bytes.try_into().map(Hash).map_err(|_| {
        Status::invalid_argument(format!("{field}: {} bytes; expected the 32 of a hash", bytes.len()))
    })
}

fn column(field: &str, bytes: &[u8]) -> Result<Vec<Hash>, Status> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        let text = format!("{field}: {} bytes; expected a multiple of 32", bytes.len());
        return Err(Status::invalid_argument(text));
    }
    Ok(hashes.iter().copied().map(Hash).collect())
}

fn proposal(block: Option<wire::Block>) -> Result<Proposal, Status> {
    let block = block.ok_or_else(|| Status::invalid_argument("block: missing; expected a main block"))?;
    let header =
        block.header.ok_or_else(|| Status::invalid_argument("block.header: missing; expected a header"))?;
    let sections = block.sections.into_iter().enumerate().map(|(index, section)| {
        Ok(ProposedSection {
            chain: ChainId(section.chain_id),
            count: section.count,
            first_height: Height(section.first_height),
            parent: hash(&format!("block.sections[{index}].parent"), &section.parent)?,
        })
    });
    Ok(Proposal {
        header: header_of(&header)?,
        sections: sections.collect::<Result<_, Status>>()?,
        hashes: column("block.hashes", &block.hashes)?,
        tx_roots: column("block.tx_roots", &block.tx_roots)?,
    })
}

fn header_of(header: &wire::Header) -> Result<MainHeader, Status> {
    let version = u16::try_from(header.version).map_err(|_| {
        Status::invalid_argument(format!("block.header.version: {} is none; expected 1", header.version))
    })?;
    Ok(MainHeader {
        version,
        chain_id: ChainId(header.chain_id),
        height: Height(header.height),
        time: Timestamp::from_millis(header.time),
        parent: hash("block.header.parent", &header.parent)?,
        side_root: hash("block.header.side_root", &header.side_root)?,
        chain_count: header.chain_count,
        leaf_count: header.leaf_count,
        ops_root: hash("block.header.ops_root", &header.ops_root)?,
        state_root: hash("block.header.state_root", &header.state_root)?,
        history_root: hash("block.header.history_root", &header.history_root)?,
        aelf_root: hash("block.header.aelf_root", &header.aelf_root)?,
    })
}

impl From<&MainHeader> for wire::Header {
    fn from(header: &MainHeader) -> Self {
        Self {
            version: header.version.into(),
            chain_id: header.chain_id.0,
            height: header.height.0,
            time: header.time.as_millis(),
            parent: header.parent.0.to_vec(),
            side_root: header.side_root.0.to_vec(),
            chain_count: header.chain_count,
            leaf_count: header.leaf_count,
            ops_root: header.ops_root.0.to_vec(),
            state_root: header.state_root.0.to_vec(),
            history_root: header.history_root.0.to_vec(),
            aelf_root: header.aelf_root.0.to_vec(),
        }
    }
}

impl From<Head> for wire::Head {
    fn from(head: Head) -> Self {
        Self { header: Some((&head.header).into()), hash: head.hash.0.to_vec() }
    }
}

impl From<Proposal> for wire::Block {
    fn from(proposal: Proposal) -> Self {
        let bytes = |hashes: &[Hash]| hashes.iter().flat_map(|hash| hash.0).collect();
        let sections = proposal.sections.iter().map(|section| wire::Section {
            chain_id: section.chain.0,
            first_height: section.first_height.0,
            count: section.count,
            parent: section.parent.0.to_vec(),
        });
        Self {
            header: Some((&proposal.header).into()),
            sections: sections.collect(),
            hashes: bytes(&proposal.hashes),
            tx_roots: bytes(&proposal.tx_roots),
        }
    }
}

fn judged(hash: Hash, verdict: Verdict) -> wire::Verdict {
    use wire::verdict::Verdict as Kind;
    let kind = match verdict {
        Verdict::Valid => Kind::Valid(wire::Valid {}),
        Verdict::Invalid { field, got, expected } => Kind::Invalid(wire::Invalid { field, got, expected }),
        Verdict::Behind { chain, wanted, received } => {
            Kind::Behind(wire::Behind { chain_id: chain.0, wanted: wanted.0, received: received.0 })
        }
        Verdict::UnknownParent { parent, irreversible, head } => Kind::UnknownParent(wire::UnknownParent {
            parent: parent.0.to_vec(),
            irreversible: irreversible.0,
            head: head.0,
        }),
    };
    wire::Verdict { hash: hash.0.to_vec(), verdict: Some(kind) }
}
