//! An EVM node for tests: real headers and receipts over real HTTP, and every fault on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::transaction::TxEip4844;
use alloy_consensus::{
    EMPTY_ROOT_HASH, Eip658Value, EthereumTxEnvelope, Header, Receipt, ReceiptEnvelope,
    SignableTransaction as _, TxEip1559, TxType,
};
use alloy_primitives::{Address, B256, Bytes, Log, Signature, TxKind, U256};
use engine::chain::Hash;
use serde_json::{Value, json};

/// The node. It serves until the test ends.
pub(super) struct FakeNode {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What it has and how it behaves; a test changes it at will.
pub(super) struct State {
    /// By number, from 0 on.
    pub(super) blocks: Vec<FakeBlock>,
    /// What the `finalized` tag says; `None` for a node that does not know the tag.
    pub(super) finalized: Option<u64>,
    pub(super) chain_id: u64,
    pub(super) client: &'static str,
    pub(super) block_receipts: bool,
    /// Most calls in one request, and how more are refused.
    pub(super) batch: Option<(usize, Refusal)>,
    /// Answers to the next requests, in the place of the right ones.
    pub(super) instead: VecDeque<Instead>,
    /// Changes to the JSON of blocks, by number.
    pub(super) edits: BTreeMap<u64, fn(&mut Value)>,
    /// Method and number of calls of every request.
    pub(super) requests: Vec<(String, usize)>,
}

pub(super) struct FakeBlock {
    pub(super) header: Header,
    pub(super) receipts: Vec<ReceiptEnvelope>,
    pub(super) transactions: Vec<Envelope>,
}

type Envelope = EthereumTxEnvelope<TxEip4844>;

#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// One error outside an array.
    Object,
    /// As geth does: an array with one error, for the first call.
    ArrayOfOne,
    /// As proxies do.
    Status413,
    /// As geth does when the answers become too many bytes: the calls after `n` fail.
    TooManyBytes,
}

pub(super) enum Instead {
    Status(u16),
    Body(String),
    /// Nothing, for so long, and then the connection ends.
    Silence(Duration),
}

impl FakeNode {
    /// A node with blocks 0 to `last`, all final.
    pub(super) fn new(last: u64) -> Self {
        let mut state = State {
            blocks: Vec::new(),
            finalized: Some(last),
            chain_id: 31_337,
            client: "Fake/v1",
            block_receipts: true,
            batch: None,
            instead: VecDeque::new(),
            edits: BTreeMap::new(),
            requests: Vec::new(),
        };
        state.grow(last, 0);
        let state = Arc::new(Mutex::new(state));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn hash(&self, height: u64) -> Hash {
        self.state().hash(height)
    }
}

impl State {
    /// Adds blocks up to `last`. Other salts give other blocks.
    pub(super) fn grow(&mut self, last: u64, salt: u8) {
        for number in self.blocks.len() as u64..=last {
            // Some blocks have no transactions, as on real chains.
            let types = [TxType::Legacy, TxType::Eip2930, TxType::Eip1559, TxType::Eip4844, TxType::Eip7702];
            let count = if number == 0 { 0 } else { number % 4 };
            let receipts: Vec<_> =
                (1..=count).map(|position| receipt(types[(number % 5) as usize], position)).collect();
            let receipts_root =
                if receipts.is_empty() { EMPTY_ROOT_HASH } else { calculate_receipt_root(&receipts) };
            let transactions: Vec<_> = (0..count).map(|position| transaction(number, position)).collect();
            let parent_hash = self.blocks.last().map(|block| block.header.hash_slow()).unwrap_or_default();
            let header = Header {
                number,
                parent_hash,
                receipts_root,
                transactions_root: calculate_transaction_root(&transactions),
                gas_limit: 30_000_000,
                timestamp: 1_700_000_000 + 12 * number,
                extra_data: Bytes::copy_from_slice(&[salt]),
                difficulty: U256::ZERO,
                base_fee_per_gas: Some(7),
                withdrawals_root: Some(EMPTY_ROOT_HASH),
                blob_gas_used: Some(0),
                excess_blob_gas: Some(0),
                parent_beacon_block_root: Some(B256::ZERO),
                ..Header::default()
            };
            self.blocks.push(FakeBlock { header, receipts, transactions });
        }
    }

    /// Replaces the blocks from `first` on.
    pub(super) fn reorganise(&mut self, first: u64, last: u64, salt: u8) {
        self.blocks.truncate(first as usize);
        self.grow(last, salt);
    }

    pub(super) fn hash(&self, height: u64) -> Hash {
        Hash(self.blocks[height as usize].header.hash_slow().0)
    }

    fn block(&self, number: u64, whole: bool) -> Value {
        let Some(block) = self.blocks.get(number as usize) else { return Value::Null };
        let mut json = serde_json::to_value(&block.header).unwrap();
        json["hash"] = json!(block.header.hash_slow());
        let hashes: Vec<_> = block
            .transactions
            .iter()
            .take(block.receipts.len())
            .map(|transaction| *transaction.tx_hash())
            .collect();
        json["transactions"] = if whole { json!(block.transactions) } else { json!(hashes) };
        json["uncles"] = json!([]);
        if let Some(edit) = self.edits.get(&number) {
            edit(&mut json);
        }
        json
    }

    fn answer(&mut self, call: &Value) -> Value {
        let latest = self.blocks.len() as u64 - 1;
        let parameter = call["params"][0].as_str().unwrap_or_default();
        let number = || u64::from_str_radix(parameter.trim_start_matches("0x"), 16).unwrap();
        let unknown = |code: i64, message: &str| Err((code, message.to_owned()));
        let result = match call["method"].as_str().unwrap() {
            "eth_chainId" => Ok(json!(format!("{:#x}", self.chain_id))),
            "web3_clientVersion" => Ok(json!(self.client)),
            "eth_blockNumber" => Ok(json!(format!("{latest:#x}"))),
            "eth_getBlockByNumber" if parameter == "finalized" => match self.finalized {
                Some(number) => Ok(self.block(number, false)),
                None => unknown(-32_602, "invalid argument 0: hex string without 0x prefix"),
            },
            "eth_getBlockByNumber" => Ok(self.block(number(), call["params"][1] == true)),
            "eth_getTransactionByHash" => Ok(self.transaction(parameter)),
            "eth_getBlockReceipts" if self.block_receipts => {
                Ok(json!(self.blocks[number() as usize].receipts))
            }
            "eth_getTransactionReceipt" => Ok(self.receipt(parameter)),
            method => unknown(-32_601, &format!("the method {method} does not exist/is not available")),
        };
        match result {
            Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
            Err((code, message)) => error(&call["id"], code, &message),
        }
    }

    fn find(&self, hash: &str) -> Option<(&FakeBlock, usize)> {
        self.blocks.iter().find_map(|block| {
            let mut hashes = block.transactions.iter().map(|transaction| transaction.tx_hash().to_string());
            Some((block, hashes.position(|other| other == hash)?))
        })
    }

    fn transaction(&self, hash: &str) -> Value {
        self.find(hash).map(|(block, position)| json!(block.transactions[position])).unwrap_or_default()
    }

    fn receipt(&self, hash: &str) -> Value {
        let Some((block, position)) = self.find(hash) else { return Value::Null };
        let Some(receipt) = block.receipts.get(position) else { return Value::Null };
        let mut receipt = json!(receipt);
        receipt["blockHash"] = json!(block.header.hash_slow());
        receipt["blockNumber"] = json!(format!("{:#x}", block.header.number));
        receipt["transactionIndex"] = json!(format!("{position:#x}"));
        receipt
    }

    /// Status and body, or nothing at all.
    fn respond(&mut self, body: &[u8]) -> Result<(u16, String), Duration> {
        let request: Value = serde_json::from_slice(body).unwrap();
        let calls = request.as_array().map_or(std::slice::from_ref(&request), Vec::as_slice).to_vec();
        self.requests.push((calls[0]["method"].as_str().unwrap().to_owned(), calls.len()));
        match self.instead.pop_front() {
            Some(Instead::Status(status)) => return Ok((status, "<html>no</html>".to_owned())),
            Some(Instead::Body(body)) => return Ok((200, body)),
            Some(Instead::Silence(time)) => return Err(time),
            None => {}
        }
        if !request.is_array() {
            return Ok((200, self.answer(&request).to_string()));
        }
        let mut answers: Vec<Value> = calls.iter().map(|call| self.answer(call)).collect();
        if let Some((most, refusal)) = self.batch
            && calls.len() > most
        {
            match refusal {
                Refusal::Object => {
                    return Ok((200, error(&Value::Null, -32_600, "batches are limited").to_string()));
                }
                Refusal::ArrayOfOne => answers = vec![error(&calls[0]["id"], -32_600, "batch too large")],
                Refusal::Status413 => return Ok((413, "Request Entity Too Large".to_owned())),
                Refusal::TooManyBytes => {
                    for (answer, call) in answers.iter_mut().zip(&calls).skip(most) {
                        *answer = error(&call["id"], -32_003, "response too large");
                    }
                }
            }
        }
        // The order of answers is the node's own affair.
        answers.reverse();
        Ok((200, Value::from(answers).to_string()))
    }
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

fn transaction(number: u64, position: u64) -> Envelope {
    let transaction = TxEip1559 {
        chain_id: 31_337,
        nonce: 100 * number + position,
        gas_limit: 21_000,
        max_fee_per_gas: 7,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(5)),
        value: U256::from(position),
        ..TxEip1559::default()
    };
    transaction.into_signed(Signature::test_signature()).into()
}

/// A receipt with up to three logs.
pub(super) fn receipt(kind: TxType, position: u64) -> ReceiptEnvelope {
    let log = Log::new_unchecked(Address::repeat_byte(1), vec![B256::repeat_byte(2)], vec![3; 40].into());
    let receipt = Receipt {
        status: Eip658Value::Eip658(!position.is_multiple_of(3)),
        cumulative_gas_used: 21_000 * position,
        logs: vec![log; position as usize % 4],
    };
    ReceiptEnvelope::from_typed(kind, receipt)
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(body)) = request(&mut reader) {
        let response = state.lock().unwrap().respond(&body);
        let (status, body) = match response {
            Ok(response) => response,
            Err(silence) => return thread::sleep(silence),
        };
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if reader.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat()).is_err() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(body))
}
