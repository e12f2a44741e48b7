//! Transactions: the source of a chain is asked, and what it says is held against what is indexed.
//!
//! On the main chain's view, where nobody says of which chain a transaction is, the chains that have a node connected
//! are asked, at most [`MAX_ASKED`] of them; the first that knows it answers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use engine::chain::{ChainId, Hash, Height};
use engine::merkle::path::Step;
use engine::proof::{ProvenBlock, Transaction};
use engine::source::{Answer as Told, NoAnswer, Question};
use engine::store::BlockReader;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::calls::{self, Parameters, read_hash};
use super::refusal::{Code, Refusal};
use super::view::View;
use super::{Aelf, Answer, hex};

/// Chains that are asked for a transaction whose chain nobody said.
const MAX_ASKED: usize = 64;

/// What AElf says of a transaction, in its order, and what it says where it has nothing.
fn nothing() -> [(&'static str, Value); 10] {
    [
        ("TransactionId", Value::Null),
        ("Status", "NOTEXISTED".into()),
        ("Logs", json!([])),
        ("Bloom", Value::Null),
        ("BlockNumber", 0.into()),
        ("BlockHash", Value::Null),
        ("Transaction", Value::Null),
        ("ReturnValue", "".into()),
        ("Error", Value::Null),
        ("TransactionSize", 0.into()),
    ]
}

pub(super) async fn result<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let id = transaction_id(&uri)?;
    let of_chain = |chain| {
        let aelf = Arc::clone(&aelf);
        async move { record(&aelf, chain, id).await }
    };
    match first(&aelf, view, of_chain).await? {
        Ok(record) => super::json(&headers, &record),
        Err(NoAnswer::Unknown) => super::json(&headers, &of_status(id, "NOTEXISTED")),
        Err(NoAnswer::NotYet(_)) => super::json(&headers, &of_status(id, "PENDING")),
        Err(why) => Err(Refusal::because(Code::NotFound, why)),
    }
}

/// The transactions of a block are not known here, only single ones are asked for: AElf's list of none.
pub(super) async fn results<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let query = Parameters::of(&uri)?;
    if query.number("offset")? < 0 {
        return Err(Refusal::new(Code::InvalidOffset));
    }
    if query.find("limit").is_some() && !(1..=100).contains(&query.number("limit")?) {
        return Err(Refusal::new(Code::InvalidLimit));
    }
    calls::by_hash(&aelf, view, &query)?;
    super::json(&headers, &json!([]))
}

pub(super) async fn merkle_path<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let id = transaction_id(&uri)?;
    let of_chain = |chain| {
        let aelf = Arc::clone(&aelf);
        async move { path(&aelf, chain, id).await }
    };
    let path = first(&aelf, view, of_chain).await?.map_err(|why| Refusal::because(Code::NotFound, why))?;
    let nodes: Vec<_> =
        path.iter().map(|step| json!({ "Hash": hex(step.hash), "IsLeftChildNode": step.left })).collect();
    super::json(&headers, &json!({ "MerklePathNodes": nodes }))
}

fn transaction_id(uri: &Uri) -> Result<Hash, Refusal> {
    let query = Parameters::of(uri)?;
    read_hash(query.text("transactionId")).ok_or(Refusal::new(Code::InvalidTransactionId))
}

/// Asks the chain that is looked at; on the main chain's view, every chain that may know.
async fn first<R, T, F>(
    aelf: &Aelf<R>,
    view: View,
    ask: impl Fn(ChainId) -> F,
) -> Result<Result<T, NoAnswer>, Refusal>
where
    R: BlockReader,
    T: Send + 'static,
    F: Future<Output = Result<T, NoAnswer>> + Send + 'static,
{
    if let View::Side(chain) = view {
        return Ok(ask(chain).await);
    }
    let _room = aelf.searches.try_acquire().map_err(|_| {
        let text = "as many searches through all chains are under way as may be: ask again later, or ask under \
                    /aelf/{chain}/ of the transaction's chain";
        Refusal::because(Code::NotFound, text)
    })?;
    let lanes = aelf.node.cache.lanes();
    let mut connected = lanes.iter().filter(|lane| lane.speaker().is_some()).map(|lane| lane.chain());
    let mut asked: JoinSet<_> = connected.by_ref().take(MAX_ASKED).map(&ask).collect();
    // Only if all of those who answer at all say so, nobody knows it.
    let mut worst = None;
    while let Some(told) = asked.join_next().await {
        match told {
            Ok(Ok(found)) => return Ok(Ok(found)),
            Ok(Err(NoAnswer::Unknown)) => worst = worst.or(Some(NoAnswer::Unknown)),
            // Another chain instead: that one's nodes answer nothing of this kind, and say so without being asked.
            Ok(Err(NoAnswer::Unsupported)) => {
                if let Some(chain) = connected.next() {
                    asked.spawn(ask(chain));
                }
            }
            Ok(Err(why)) => worst = Some(why),
            Err(error) => return Err(Refusal::internal(error)),
        }
    }
    Ok(Err(worst.unwrap_or(NoAnswer::Unsupported)))
}

/// What the source's node says of a transaction, as far as it fits what is indexed.
async fn record<R: BlockReader>(aelf: &Aelf<R>, chain: ChainId, id: Hash) -> Result<Value, NoAnswer> {
    let question = Question::Record { chain, id: id.as_bytes().to_vec() };
    let Told::Record(bytes) = ask(aelf, question).await? else {
        return Err(NoAnswer::Failed("it answered another question".into()));
    };
    let broken =
        |what: &str| NoAnswer::Failed(format!("the source of chain {chain} says of {}: {what}", hex(id)));
    let mut told: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| broken(&error.to_string()))?;
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    if text("TransactionId").and_then(read_hash) != Some(id) {
        return Err(broken("another TransactionId"));
    }
    if text("Status").is_none_or(|status| status == "NOTEXISTED") {
        return Err(NoAnswer::Unknown);
    }
    let height = told.get("BlockNumber").and_then(Value::as_u64);
    let hash = text("BlockHash").and_then(read_hash);
    if let Some((height, hash)) = height.zip(hash) {
        // What is not indexed yet cannot be compared; clients see by the height that it is not.
        let indexed = View::Side(chain).block(aelf, Height(height)).map_err(|_| unreadable())?;
        if indexed.is_some_and(|block| block.hash != hash) {
            return Err(broken("a BlockHash that is not the indexed one of this height"));
        }
    } else if text("Status") == Some("MINED") {
        return Err(broken("MINED, and no BlockNumber or BlockHash"));
    }
    let known = nothing().map(|(name, empty)| {
        let value = told.remove(name).unwrap_or(empty);
        (name.to_owned(), value)
    });
    Ok(Value::Object(known.into_iter().collect()))
}

/// The path from a transaction to the root of its block, verified.
async fn path<R: BlockReader>(aelf: &Aelf<R>, chain: ChainId, id: Hash) -> Result<Vec<Step>, NoAnswer> {
    let question = Question::Transaction { chain, id: id.as_bytes().to_vec() };
    let Told::Transaction { height, part } = ask(aelf, question).await? else {
        return Err(NoAnswer::Failed("it answered another question".into()));
    };
    let Some(block) = View::Side(chain).block(aelf, height).map_err(|_| unreadable())? else {
        return Err(NoAnswer::NotYet(format!("block {height} of chain {chain} is not indexed here")));
    };
    let indexed = ProvenBlock { height, hash: block.hash, tx_root: block.tx_root };
    match (part.verify(chain, &indexed), part) {
        (Ok(_), Transaction::Aelf(part)) if part.id == id => Ok(part.path),
        (Ok(_), Transaction::Aelf(_)) => Err(NoAnswer::Failed("it proves another transaction".into())),
        (Ok(_), _) => Err(NoAnswer::Unsupported),
        (Err(why), _) => Err(NoAnswer::Failed(format!(
            "what the source of chain {chain} gives does not lead to block {height}: {why}"
        ))),
    }
}

/// Asks the chain's source. How long that may take is the server's setting.
async fn ask<R: BlockReader>(aelf: &Aelf<R>, question: Question) -> Result<Told, NoAnswer> {
    aelf.node.questions.ask(&question).await.map_err(NoAnswer::from)
}

/// An answer that says nothing but a status.
fn of_status(id: Hash, status: &str) -> Value {
    let mut told: Map<String, Value> =
        nothing().map(|(name, empty)| (name.to_owned(), empty)).into_iter().collect();
    told.insert("TransactionId".into(), hex(id).into());
    told.insert("Status".into(), status.into());
    Value::Object(told)
}

fn unreadable() -> NoAnswer {
    NoAnswer::Failed("this node could not read its log".into())
}
