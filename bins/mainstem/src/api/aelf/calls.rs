//! The calls that are answered from the log, or refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use engine::aelf::{chain_id, extra_data};
use engine::chain::{ChainId, Hash, Height, Timestamp};
use engine::store::BlockReader;
use serde_json::{Value, json};

use super::contracts::{Contract, read_address};
use super::refusal::{Code, Refusal};
use super::view::{Block, View};
use super::{Aelf, Answer, hex};

/// Calls that would change a chain, or ask what one would cost.
pub(super) const TAKEN_BY_NOBODY: [&str; 6] = [
    "/sendTransaction",
    "/sendTransactions",
    "/sendRawTransaction",
    "/rawTransaction",
    "/executeRawTransaction",
    "/calculateTransactionFee",
];

/// Main blocks that are looked through for a hash, from the newest on: there is no index by hash. Of a side chain, no more
/// of them than have [`SEARCHED_HASHES`] blocks of it.
pub(super) const SEARCHED_BLOCKS: u64 = 1_024;

/// Side blocks that are looked through for a hash: 32 bytes each are read.
const SEARCHED_HASHES: usize = 1 << 18;

pub(super) async fn status<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
) -> Answer {
    let height = view.head(&aelf)?;
    let chain = view.chain(&aelf);
    let head = view.block(&aelf, height)?.map_or(Hash::ZERO, |block| block.hash);
    let first = view.block(&aelf, Height(1))?.map_or(Hash::ZERO, |block| block.hash);
    let branches = BTreeMap::from([(hex(head), height)]);
    let genesis = Contract::Genesis.address(chain, view.is_main());
    super::json(
        &headers,
        &json!({
            "ChainId": base58(chain),
            "Branches": branches,
            "NotLinkedBlocks": {},
            "LongestChainHeight": height,
            "LongestChainHash": hex(head),
            "GenesisBlockHash": hex(first),
            "GenesisContractAddress": genesis.to_string(),
            "LastIrreversibleBlockHash": hex(head),
            "LastIrreversibleBlockHeight": height,
            "BestChainHash": hex(head),
            "BestChainHeight": height,
        }),
    )
}

pub(super) async fn height<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
) -> Answer {
    super::json(&headers, &view.head(&aelf)?)
}

pub(super) async fn block_by_height<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let query = Parameters::of(&uri)?;
    let height: i64 = query.number("blockHeight")?;
    // As AElf does: heights that cannot be are not there.
    let height = u64::try_from(height).map_err(|_| Refusal::new(Code::NotFound))?;
    let block = view.block(&aelf, Height(height))?.ok_or(Refusal::new(Code::NotFound))?;
    super::json(&headers, &of_block(&aelf, view, &block, &query))
}

pub(super) async fn block<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let query = Parameters::of(&uri)?;
    let block = by_hash(&aelf, view, &query)?;
    super::json(&headers, &of_block(&aelf, view, &block, &query))
}

/// The block that the parameter `blockHash` names.
pub(super) fn by_hash<R: BlockReader>(
    aelf: &Aelf<R>,
    view: View,
    query: &Parameters,
) -> Result<Block, Refusal> {
    let hash = read_hash(query.text("blockHash")).ok_or(Refusal::new(Code::InvalidBlockHash))?;
    view.block_by_hash(aelf, hash, SEARCHED_BLOCKS, SEARCHED_HASHES)?.ok_or_else(|| {
        let details = format!("no block of the newest {SEARCHED_BLOCKS} main blocks has this hash");
        Refusal::because(Code::NotFound, details)
    })
}

pub(super) async fn descriptors<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let contract = contract(&aelf, view, &uri)?;
    super::json(&headers, &BASE64.encode(contract.descriptors()))
}

pub(super) async fn view_methods<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let contract = contract(&aelf, view, &uri)?;
    super::json(&headers, &contract.views())
}

fn contract<R: BlockReader>(aelf: &Aelf<R>, view: View, uri: &Uri) -> Result<Contract, Refusal> {
    let query = Parameters::of(uri)?;
    let found = read_address(query.text("address"))
        .and_then(|address| Contract::at(&address.0, view.chain(aelf), view.is_main()));
    found.ok_or(Refusal::new(Code::NotFound))
}

pub(super) async fn takes_no_transactions<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
) -> Refusal {
    let chain = base58(view.chain(&aelf));
    let details = format!(
        "this node indexes blocks and takes no transactions: it is a node of chain {chain} that does"
    );
    Refusal::because(Code::InvalidTransaction, details)
}

/// A block in AElf's form.
fn of_block<R: BlockReader>(aelf: &Aelf<R>, view: View, block: &Block, query: &Parameters) -> Value {
    let extra = if block.aelf_root == Hash::ZERO {
        json!({})
    } else {
        json!({ "CrossChain": BASE64.encode(extra_data::of_root(block.aelf_root)) })
    };
    let with_transactions =
        query.find("includeTransactions").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    json!({
        "BlockHash": hex(block.hash),
        "Header": {
            "PreviousBlockHash": hex(block.parent),
            "MerkleTreeRootOfTransactions": hex(Hash::ZERO),
            "MerkleTreeRootOfWorldState": hex(Hash::ZERO),
            "MerkleTreeRootOfTransactionState": hex(block.tx_root),
            "Extra": extra.to_string(),
            "Height": block.height,
            "Time": time_text(block.time),
            "ChainId": base58(view.chain(aelf)),
            "Bloom": BASE64.encode([0; 256]),
            "SignerPubkey": "",
        },
        "Body": {
            "TransactionsCount": 0,
            "Transactions": with_transactions.then(|| json!([])),
        },
        "BlockSize": 0,
    })
}

/// A chain id as AElf writes it; as a number where it has more than three bytes, which AElf's never have.
pub(super) fn base58(chain: ChainId) -> String {
    if chain.0 >> 24 == 0 { chain_id::text(chain) } else { chain.to_string() }
}

/// A hash with or without `0x`.
pub(super) fn read_hash(text: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    let digits = text.strip_prefix("0x").unwrap_or(text);
    (digits.len() == 64).then(|| const_hex::decode_to_slice(digits, &mut bytes).ok()).flatten()?;
    Some(Hash(bytes))
}

/// As .NET writes a UTC time; the time it has for none where it cannot write this one.
fn time_text(time: Timestamp) -> String {
    let millis = time.as_millis();
    let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
    // The last day of the year 9999.
    if days > 2_932_896 {
        return "0001-01-01T00:00:00".to_owned();
    }
    // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days: years begin with March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (seconds, millis) = (of_day / 1_000, of_day % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The parameters of a query, as ASP.NET reads them: names without regard to case, others ignored.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let Query(pairs) = Query::try_from_uri(uri)
            .map_err(|error| Refusal::because(Code::InvalidParams, error.body_text()))?;
        Ok(Self(pairs))
    }

    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A text, which is empty where it is not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// A number, which is 0 where it is not given.
    pub(super) fn number(&self, name: &str) -> Result<i64, Refusal> {
        let text = self.find(name).unwrap_or("0");
        text.parse().map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            Refusal::because(Code::InvalidParams, format_args!("{name} = {shown:?}: expected a number"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dotnet_does() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "0001-01-01T00:00:00"),
            (u64::MAX, "0001-01-01T00:00:00"),
        ];
        for (millis, text) in cases {
            assert_eq!(time_text(Timestamp::from_millis(millis)), text);
        }
    }

    #[test]
    fn chain_ids_are_in_base58_also_where_it_looks_like_a_number() {
        let cases = [(9_992_731, "AELF"), (1_866_392, "tDVV"), (2_685_442, "2111"), (1 << 24, "16777216")];
        for (chain, text) in cases {
            assert_eq!(base58(ChainId(chain)), text);
        }
    }
}
