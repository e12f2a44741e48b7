//! Transactions: the source of a chain is asked, and what it says is held against what is indexed.
//!
//! Under `/aelf/{chain}/` a chain's own node speaks of its own transactions. On the main chain's view nobody says of which
//! chain a transaction is, and any registered chain's node may say anything of any id. So `search` asks all of them, and
//! what is said there can be relied on: that a transaction is mined only with a path to an indexed block, that there is
//! none only when every chain could be asked and says so, and nothing where two chains claim the same one.

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
const MAX_ASKED: usize = 256;

/// How many of them at a time.
const MAX_AT_ONCE: usize = 64;

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
    let told = match view {
        View::Side(chain) => match record(&aelf, chain, id).await {
            Ok(record) => Some(record.value),
            Err(NoAnswer::Unknown) => None,
            Err(NoAnswer::NotYet(_)) => Some(of_status(id, "PENDING")),
            Err(why) => return Err(Refusal::because(Code::NotFound, why)),
        },
        View::Main => {
            let of_chain = |chain| {
                let aelf = Arc::clone(&aelf);
                async move { claim(&aelf, chain, id).await }
            };
            search(&aelf, of_chain).await?.transpose()?
        }
    };
    let told = told.unwrap_or_else(|| of_status(id, "NOTEXISTED"));
    super::long_json(&headers, &aelf.node.answers, &told)
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
    let found = match view {
        View::Side(chain) => path(&aelf, chain, id).await.map(Some),
        View::Main => {
            let of_chain = |chain| {
                let aelf = Arc::clone(&aelf);
                async move { path(&aelf, chain, id).await }
            };
            Ok(search(&aelf, of_chain).await?)
        }
    };
    let found = found.and_then(|found| found.ok_or(NoAnswer::Unknown));
    let (_, path) = found.map_err(|why| Refusal::because(Code::NotFound, why))?;
    let nodes: Vec<_> =
        path.iter().map(|step| json!({ "Hash": hex(step.hash), "IsLeftChildNode": step.left })).collect();
    super::json(&headers, &json!({ "MerklePathNodes": nodes }))
}

fn transaction_id(uri: &Uri) -> Result<Hash, Refusal> {
    let query = Parameters::of(uri)?;
    read_hash(query.text("transactionId")).ok_or(Refusal::new(Code::InvalidTransactionId))
}

/// Asks every chain. What the only one that claims the transaction says; `None` when all say that there is none.
async fn search<R, T, F>(aelf: &Aelf<R>, ask: impl Fn(ChainId) -> F) -> Result<Option<T>, Refusal>
where
    R: BlockReader,
    T: Send + 'static,
    F: Future<Output = Result<T, NoAnswer>> + Send + 'static,
{
    let _room = aelf.searches.try_acquire().map_err(|_| {
        let text = "as many searches through all chains are under way as may be: ask again later, or ask under \
                    /aelf/{chain}/ of the transaction's chain";
        Refusal::because(Code::NotFound, text)
    })?;
    let mut heard = Heard::default();
    let mut connected = Vec::new();
    for lane in aelf.node.cache.lanes() {
        let chain = lane.chain();
        if lane.speaker().is_none() {
            heard.unsure(chain, NoAnswer::Failed("no node of it is connected".into()));
        } else if connected.len() < MAX_ASKED {
            connected.push(chain);
        } else {
            let text = format!("more than {MAX_ASKED} chains would have to be asked");
            heard.unsure(chain, NoAnswer::Failed(text));
            break;
        }
    }
    let mut connected = connected.into_iter();
    let one = |chain: ChainId| {
        let told = ask(chain);
        async move { (chain, told.await) }
    };
    let mut asked: JoinSet<_> = connected.by_ref().take(MAX_AT_ONCE).map(one).collect();
    while let Some(told) = asked.join_next().await {
        let (chain, told) = told.map_err(Refusal::internal)?;
        heard.hear(chain, told)?;
        if let Some(chain) = connected.next() {
            asked.spawn(one(chain));
        }
    }
    heard.outcome()
}

/// What chains have said so far of a transaction, whatever the order in which they said it.
#[derive(Debug)]
struct Heard<T> {
    /// The chain that knows it, and what it says.
    claimed: Option<(ChainId, T)>,
    /// One that may know it and did not say, for the text.
    unsure: Option<(ChainId, NoAnswer)>,
}

impl<T> Default for Heard<T> {
    fn default() -> Self {
        Self { claimed: None, unsure: None }
    }
}

impl<T> Heard<T> {
    /// # Errors
    /// Two chains claim it. Nothing tells which of them is meant, and either may say so only to be in the way.
    fn hear(&mut self, chain: ChainId, told: Result<T, NoAnswer>) -> Result<(), Refusal> {
        match (told, &self.claimed) {
            (Ok(_), Some((other, _))) => {
                let (first, second) = (chain.min(*other), chain.max(*other));
                let text = format!(
                    "more than one chain says that it has this transaction: ask under /aelf/{first}/ or \
                     /aelf/{second}/"
                );
                return Err(Refusal::because(Code::NotFound, text));
            }
            (Ok(told), None) => self.claimed = Some((chain, told)),
            (Err(NoAnswer::Unknown), _) => {}
            // Whoever answers no such questions may have it all the same.
            (Err(why), _) => self.unsure(chain, why),
        }
        Ok(())
    }

    /// Always the same one of several is told.
    fn unsure(&mut self, chain: ChainId, why: NoAnswer) {
        if self.unsure.as_ref().is_none_or(|(other, _)| chain < *other) {
            self.unsure = Some((chain, why));
        }
    }

    fn outcome(self) -> Result<Option<T>, Refusal> {
        match (self.claimed, self.unsure) {
            (Some((_, told)), _) => Ok(Some(told)),
            (None, None) => Ok(None),
            (None, Some((chain, why))) => {
                let text = format!(
                    "no chain says that it has this transaction, and not every one could say: chain {chain}: {why}; \
                     ask under /aelf/{{chain}}/ of the transaction's chain"
                );
                Err(Refusal::because(Code::NotFound, text))
            }
        }
    }
}

/// What a node says of a transaction of its chain.
#[derive(Debug)]
struct Record {
    /// In capitals.
    status: String,
    /// The block that it is in.
    block: Option<(Height, Hash)>,
    value: Value,
}

/// What a chain's node says of a transaction that may be another chain's: mined only with a proof. An error outside says
/// that it does not have it, or that nothing can be said; one within, that it says more than it proves.
async fn claim<R: BlockReader>(
    aelf: &Aelf<R>,
    chain: ChainId,
    id: Hash,
) -> Result<Result<Value, Refusal>, NoAnswer> {
    let record = record(aelf, chain, id).await?;
    match (&*record.status, record.block) {
        ("MINED", Some((height, _))) => {
            if View::Side(chain).block(aelf, height).map_err(|_| unreadable())?.is_none() {
                return Ok(Ok(of_status(id, "PENDING")));
            }
            // Its hash is the indexed one: `record` has compared them.
            match path(aelf, chain, id).await {
                Ok((proven, _)) if proven == height => Ok(Ok(record.value)),
                Ok((proven, _)) => Err(NoAnswer::Failed(format!(
                    "it says that the transaction is in block {height}, and proves that it is in {proven}"
                ))),
                Err(NoAnswer::Unknown) => Err(NoAnswer::Failed("it says MINED, and gives no path".into())),
                Err(why) => Err(why),
            }
        }
        ("PENDING" | "PENDING_VALIDATION" | "PENDINGVALIDATION", _) => Ok(Ok(of_status(id, "PENDING"))),
        (status, _) => {
            let status: String = status.chars().take(40).collect();
            let text = format!(
                "chain {chain} says that its status is {status:?}, of which there is no proof: ask under /aelf/{chain}/"
            );
            Ok(Err(Refusal::because(Code::NotFound, text)))
        }
    }
}

/// What the source's node says of a transaction, as far as it fits what is indexed.
async fn record<R: BlockReader>(aelf: &Aelf<R>, chain: ChainId, id: Hash) -> Result<Record, NoAnswer> {
    let question = Question::Record { chain, id: id.as_bytes().to_vec() };
    let Told::Record(bytes) = ask(aelf, question).await? else {
        return Err(NoAnswer::Failed("it answered another question".into()));
    };
    let broken =
        |what: &str| NoAnswer::Failed(format!("the source of chain {chain} says of {}: {what}", hex(id)));
    let mut told: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| broken(&error.to_string()))?;
    drop(bytes);
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    if text("TransactionId").and_then(read_hash) != Some(id) {
        return Err(broken("another TransactionId"));
    }
    let status = text("Status").unwrap_or("NOTEXISTED").to_ascii_uppercase();
    if status == "NOTEXISTED" {
        return Err(NoAnswer::Unknown);
    }
    let height = told.get("BlockNumber").and_then(Value::as_u64).map(Height);
    let block = height.zip(text("BlockHash").and_then(read_hash));
    if let Some((height, hash)) = block {
        // What is not indexed yet cannot be compared; clients see by the height that it is not.
        let indexed = View::Side(chain).block(aelf, height).map_err(|_| unreadable())?;
        if indexed.is_some_and(|block| block.hash != hash) {
            return Err(broken("a BlockHash that is not the indexed one of this height"));
        }
    } else if status == "MINED" {
        return Err(broken("MINED, and no BlockNumber or BlockHash"));
    }
    let known = nothing().map(|(name, empty)| {
        let value = told.remove(name).unwrap_or(empty);
        (name.to_owned(), value)
    });
    Ok(Record { status, block, value: Value::Object(known.into_iter().collect()) })
}

/// The path from a transaction to the root of its block, verified, and which block that is.
async fn path<R: BlockReader>(
    aelf: &Aelf<R>,
    chain: ChainId,
    id: Hash,
) -> Result<(Height, Vec<Step>), NoAnswer> {
    let question = Question::Transaction { chain, id: id.as_bytes().to_vec() };
    let Told::Transaction { height, part } = ask(aelf, question).await? else {
        return Err(NoAnswer::Failed("it answered another question".into()));
    };
    let Some(block) = View::Side(chain).block(aelf, height).map_err(|_| unreadable())? else {
        return Err(NoAnswer::NotYet(format!("block {height} of chain {chain} is not indexed here")));
    };
    let indexed = ProvenBlock { height, hash: block.hash, tx_root: block.tx_root };
    match (part.verify(chain, &indexed), part) {
        (Ok(_), Transaction::Aelf(part)) if part.id == id => Ok((height, part.path)),
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

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ChainId = ChainId(1);
    const TWO: ChainId = ChainId(2);

    /// What comes of it when chains answer in this order.
    fn heard(told: &[(ChainId, Result<u8, NoAnswer>)]) -> Result<Option<u8>, Refusal> {
        let mut heard = Heard::default();
        for (chain, told) in told {
            heard.hear(*chain, told.clone())?;
        }
        heard.outcome()
    }

    #[test]
    fn a_transaction_does_not_exist_only_when_every_chain_says_so() {
        assert_eq!(heard(&[(ONE, Err(NoAnswer::Unknown)), (TWO, Err(NoAnswer::Unknown))]), Ok(None));
        for why in [
            NoAnswer::NotYet("later".into()),
            NoAnswer::Unsupported,
            NoAnswer::Failed("no node of it is connected".into()),
        ] {
            let (silent, no) = ((ONE, Err(why.clone())), (TWO, Err(NoAnswer::Unknown)));
            let refused = heard(&[silent.clone(), no.clone()]).unwrap_err();
            assert!(format!("{refused:?}").contains(&why.to_string()), "{refused:?}");
            assert_eq!(heard(&[no, silent.clone()]), Err(refused), "whoever answers last");
            // One that knows it is enough.
            assert_eq!(heard(&[silent.clone(), (TWO, Ok(7))]), Ok(Some(7)));
            assert_eq!(heard(&[(TWO, Ok(7)), silent]), Ok(Some(7)));
        }
    }

    #[test]
    fn two_chains_that_claim_one_transaction_are_not_chosen_between() {
        let refused = heard(&[(ONE, Ok(1)), (TWO, Ok(2))]).unwrap_err();
        assert_eq!(heard(&[(TWO, Ok(2)), (ONE, Ok(1))]), Err(refused.clone()));
        let text = format!("{refused:?}");
        assert!(text.contains(&format!("/aelf/{ONE}/ or /aelf/{TWO}/")), "{text}");
    }

    #[test]
    fn of_several_that_do_not_say_the_same_one_is_told() {
        let (one, two) = ((ONE, Err(NoAnswer::Unsupported)), (TWO, Err(NoAnswer::NotYet("later".into()))));
        assert_eq!(heard(&[one.clone(), two.clone()]), heard(&[two, one]));
    }
}
