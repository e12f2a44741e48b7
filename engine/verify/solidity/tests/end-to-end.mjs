// A contract on one EVM chain says something; a contract on another one believes it, by proof of a main chain that indexes the first.
//
//   node end-to-end.mjs SOURCE_RPC TARGET_RPC MAINSTEM_API CHAIN
//
// The end-to-end test `solidity` of bins/mainstem starts all of these. The source must finalize its blocks (anvil: --slots-in-an-epoch 1).

import assert from "node:assert/strict";

import { encodeHeader } from "../../js/binary-form.mjs";
import { hex, parse, readReceipt, toBytes, verify } from "../../js/mainstem-verify.mjs";
import { compile } from "../compile.mjs";
import { encodeCall } from "./abi.mjs";
import { Chain } from "./chain.mjs";

const [sourceUrl, targetUrl, api, chainName] = process.argv.slice(2);
const [source, target] = [new Chain(sourceUrl), new Chain(targetUrl)];
const contracts = compile();

async function get(path) {
  const response = await fetch(api + path);
  if (!response.ok) throw Object.assign(new Error(`${path}: ${response.status} ${await response.text()}`), { status: response.status });
  return new Uint8Array(await response.arrayBuffer());
}
const json = async (path) => JSON.parse(new TextDecoder().decode(await get(path)));

async function until(what, probe) {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await new Promise((resolve) => setTimeout(resolve, 50))) {
    const found = await probe();
    if (found !== undefined) return found;
  }
  throw new Error(`${what} did not happen in a minute`);
}

// On the source: two contracts of one code; five calls of the first, one of them failing, and one of the second, all in one block.
const emitter = await source.deploy(contracts.Emitter);
const stranger = await source.deploy(contracts.Emitter);
// What comes from here on is in a later main block than the first one, which the target starts from.
const mine = async (blocks) => {
  for (let block = 0; block < blocks; block += 1) await source.rpc("evm_mine");
};
const durable = async () => (await json(`/v1/chains/${chainName}`)).durable;
await mine(4);
await until("the first block to be indexed", async () => ((await durable()) > 0 ? true : undefined));

const from = (await source.accounts())[0];
const to = `0x${"ab".repeat(20)}`;
const say = (contract, number, data) => source.rpc("eth_sendTransaction", {
  from, to: contract.address, gas: "0x186a0", data: encodeCall(contract.item("send"), [to, number, data]),
});
await source.rpc("evm_setAutomine", false);
const said = [];
for (const [contract, number] of [[emitter, 10], [emitter, 20], [emitter, 0], [emitter, 30], [stranger, 40]]) {
  said.push(await say(contract, number, new TextEncoder().encode(`number ${number}`)));
}
await source.rpc("evm_mine");
const later = await say(emitter, 50, new Uint8Array(100));
await source.rpc("evm_mine");
await mine(4);
const receipts = await Promise.all(said.map((id) => source.rpc("eth_getTransactionReceipt", id)));
assert.deepEqual(receipts.map(({ status }) => status), ["0x1", "0x1", "0x0", "0x1", "0x1"]);
assert.equal(new Set(receipts.map(({ blockNumber }) => blockNumber)).size, 1, "all are in one block");
const height = Number(receipts[0].blockNumber);

// The main chain indexes them.
await until("the block of the logs to be indexed", async () => ((await durable()) > height ? true : undefined));
const newest = (await json("/v1/blocks/latest")).header.height;
const consistency = await get(`/v1/consistency?from=1&to=${newest}&format=binary`);
const { from: first } = parse(consistency);
const fetchProof = (id, head = newest) => get(`/v1/proofs/tx/${chainName}/${id}?head=${head}&format=binary`);

// On the target: the main chain's first header, two witnesses of three, and a contract that waits for logs of the first contract.
const accounts = await target.accounts();
const headers = await target.deploy(contracts.MainstemHeaders, encodeHeader(first), accounts.slice(0, 3), 2);
const document = parse(await fetchProof(said[0]));
const { chain_id } = document.block;
const inbox = await target.deploy(contracts.ReceiptInbox, headers.address, chain_id, emitter.address);
const deliver = (proof, log) => inbox.send(7, "receive_", proof, log);
const trusted = document.block.head ?? document.block.header;

let forgeries = 0;
async function refused(what, work, error) {
  await assert.rejects(work, error, what);
  forgeries += 1;
}
const proof = toBytes(document);
await refused("before its header is there", () => deliver(proof, 0), /NotTrusted/);
await headers.send(0, "attest", verify(document).trustedHash);
await refused("one witness alone", () => headers.send(9, "advance", consistency), /NotAttested/);
await headers.send(1, "advance", consistency);
assert.equal(await headers.call("newestHeight"), trusted.height);

// What is right is taken, as it was said.
let proven = 0;
for (const [at, log] of [[0, 0], [0, 1], [3, 0]]) {
  const bytes = await fetchProof(said[at]);
  const { claim, trustedHash } = verify(parse(bytes), { trusted: await headers.call("newest") });
  assert.equal(trustedHash, await headers.call("newest"));
  assert.deepEqual(readReceipt(claim.receipt).logs[log].data, receipts[at].logs[log].data);
  const taken = await inbox.call("receive_", bytes, log);
  const { address, topics, data } = receipts[at].logs[log];
  assert.deepEqual(taken, { emitter: address, topics, data });
  const { logs } = await deliver(bytes, log);
  assert.equal(logs.length, 1);
  assert(logs[0].data.includes(data.slice(2)));
  proven += 1;
}
console.log(`proven: ${proven} logs of chain ${chain_id} on another chain, in main header ${newest}`);

// What is not right is refused.
const change = (edit, base = proof) => {
  const changed = parse(base);
  edit(changed);
  return toBytes(changed);
};
const [second, failed, other, next] = await Promise.all([said[1], said[2], said[4], later].map((id) => fetchProof(id)));
await refused("twice", () => deliver(proof, 0), /TakenBefore/);
await refused("a log that the receipt has not", () => deliver(proof, 2), /WrongRlp/);
await refused("a log of a transaction that failed", () => deliver(failed, 0), /WrongRlp|Failed/);
await refused("a log of another contract", () => deliver(other, 0), /WrongEmitter/);
await refused("another transaction's receipt", () => deliver(change((to) => (to.transaction.receipt = parse(second).transaction.receipt)), 0), /WrongHash|WrongRlp/);
await refused("another transaction's index", () => deliver(change((to) => (to.transaction.index = 1)), 0), /WrongHash|WrongRlp/);
await refused("the header of another block", () => deliver(change((to) => (to.transaction.header = parse(next).transaction.header)), 0), /WrongHash/);
await refused("another block's proof", () => deliver(change((to) => (to.block = parse(next).block)), 0), /WrongHash/);
await refused("another chain's id", () => deliver(change((to) => (to.block.chain_id += 1)), 0), /WrongHash\(side_path/);
await refused("another main header", () => deliver(change((to) => ((to.block.head ?? to.block.header).time += 1n)), 0), /NotTrusted/);
await refused("a receipt without its transaction's block", () => deliver(toBytes(document.block), 0), /WrongValue\(kind/);
const leaf = document.transaction.receipt.at(-1);
const data = receipts[0].logs[0].data.slice(2, 66);
const place = (hex(leaf).indexOf(data, 2) - 2) / 2;
assert(place > 0, "the log's data is in the receipt's node");
await refused("another log in the receipt", () => deliver(change((to) => (to.transaction.receipt.at(-1)[place + 31] ^= 1)), 0), /WrongHash\(receipt/);
for (const length of [proof.length - 1, proof.length - 32]) {
  await refused("a proof that is cut off", () => deliver(proof.subarray(0, length), 0), /WrongLength|WrongHash/);
}
const elsewhere = await target.deploy(contracts.ReceiptInbox, headers.address, chain_id + 1, emitter.address);
await refused("a log of a chain that is not asked for", () => elsewhere.send(7, "receive_", second, 0), /WrongChain/);
console.log(`refused: ${forgeries} forgeries`);

