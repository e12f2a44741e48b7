// The contracts on anvil: what they accept and refuse is what the JavaScript verifier does, no flipped bit is accepted, and what it costs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { encodeHeader } from "../../js/binary-form.mjs";
import { headerHash, hex, parse, readReceipt, toBytes, verify } from "../../js/mainstem-verify.mjs";
import { commitments, made, vectors } from "../../js/tests/cases.mjs";
import { Random, World, evmBlock, fabricate } from "../../js/tests/maker.mjs";
import { compile } from "../compile.mjs";
import { startAnvil } from "./chain.mjs";

const KINDS = ["block", "transaction", "consistency"];
const METHODS = { block: "verifyBlock", transaction: "verifyTransaction", consistency: "verifyConsistency" };
const contracts = compile();
const { accepted, refused } = vectors();
const cases = [...commitments(), ...accepted, ...made()].filter(({ document }) => KINDS.includes(document.kind ?? "block"));
let chain;
let harness;

before(async () => {
  chain = await startAnvil();
  harness = await chain.deploy(contracts.Harness);
});
after(() => chain?.stop());

/** What the JavaScript verifier proves, in the contract's words. */
function expected(document) {
  const result = verify(document);
  const header = (given) => ({
    chainId: BigInt(given.chain_id), height: given.height, hash: headerHash(given), sideRoot: given.side_root, historyRoot: given.history_root,
  });
  if (result.kind === "consistency") return { from: header(result.header), to: header(result.trusted) };
  const side = ({ chain_id, block }) => ({ chainId: BigInt(chain_id), height: block.height, hash: block.hash, txRoot: block.tx_root });
  const under = { header: header(result.header), trusted: header(result.trusted) };
  if (result.kind === "block") return { block_: side(document), ...under };
  const blocks = [];
  let [inner, claim] = [document, result.claim];
  for (; inner.kind === "transaction"; inner = inner.transaction.proof, claim = claim.proof?.claim ?? claim) {
    blocks.push(side(inner.block));
    if (inner.transaction.type !== "mainstem") break;
  }
  if (inner.kind === undefined) blocks.push(side(inner));
  const kind = inner.kind === undefined ? 0n : { aelf: 1n, evm: 2n, sim: 3n }[claim.type];
  return { blocks, ...under, kind, claim: kind === 0n ? undefined : claim };
}

test("what is right is accepted, and says the same", async () => {
  for (const { name, document } of cases) {
    const bytes = toBytes(document);
    const got = await harness.call(METHODS[document.kind ?? "block"], bytes);
    const { claim, ...same } = expected(document);
    if (document.kind === "transaction") {
      const { id, index, transaction, receipt, data, ...rest } = got;
      assert.deepEqual(rest, same, name);
      const part = ({ start, length }) => hex(bytes.subarray(Number(start), Number(start + length)));
      assert.equal(id, claim?.id ?? `0x${"00".repeat(32)}`, name);
      assert.equal(index, BigInt(claim?.index ?? 0), name);
      assert.equal(part(transaction), hex(claim?.transaction ?? []), name);
      assert.equal(part(receipt), hex(claim?.receipt ?? []), name);
      assert.equal(part(data), hex(claim?.data ?? []), name);
    } else {
      assert.deepEqual(got, same, name);
    }
  }
  assert(cases.length > 60);
});

test("no flipped bit is accepted", async () => {
  let tried = 0;
  // Of two equal siblings it is all the same on which side each is.
  for (const { name, document, trusted } of cases.filter(({ name }) => !name.includes("of 2 equal ones"))) {
    const bytes = toBytes(document);
    const all = name.startsWith("commitments") || process.env.MAINSTEM_ALL_BITS === "1";
    const step = all ? 1 : Math.floor(bytes.length / 20) | 1;
    const count = Math.ceil((8 * bytes.length) / step);
    for (let from = 0; from < count; from += 1000) {
      const { accepted, last } = await harness.call("flip", bytes, trusted, from * step, Math.min(1000, count - from), step);
      assert.equal(accepted, 0n, `${name}: bit ${last}`);
    }
    tried += count;
    assert.equal((await harness.call("flip", bytes, trusted, 8 * bytes.length, 1, 1)).accepted, 0n);
  }
  console.log(`${tried} flipped bits refused`);
});

test("what is cut off or goes on is refused, with an error that says so", async () => {
  for (const { document } of cases.slice(0, 30)) {
    const bytes = toBytes(document);
    const method = METHODS[document.kind ?? "block"];
    for (const length of [0, 1, 2, 90, 320, bytes.length - 32, bytes.length - 1].filter((length) => length < bytes.length)) {
      await assert.rejects(harness.call(method, bytes.subarray(0, length)), /WrongLength|WrongValue|WrongHash|WrongRlp/, `cut to ${length}`);
    }
    await assert.rejects(harness.call(method, Uint8Array.of(...bytes, 0)), /WrongLength/);
  }
});

test("what is to be refused is refused", async () => {
  let tried = 0;
  for (const { name, given, reason } of refused) {
    // What has a binary form at all, and in it still what is wrong with it: sides, for one, are not there.
    const bytes = attempt(() => (typeof given === "string" ? toBytes(parse(given)) : given));
    if (!bytes || bytes[0] !== 1 || ![0, 1, 3].includes(bytes[1]) || attempt(() => verify(parse(bytes)))) continue;
    await assert.rejects(harness.call("trusted", bytes), /WrongLength|WrongValue|WrongHash|WrongRlp/, `${name}: ${reason}`);
    tried += 1;
  }
  console.log(`${tried} of ${refused.length} vectors apply`);
  assert(tried > 90);
});

function attempt(work) {
  try {
    return work();
  } catch {
    return undefined;
  }
}

test("errors name the field", async () => {
  const { document } = cases.find(({ name }) => name === "block, far head");
  const proof = toBytes(document);
  const change = (at, by) => proof.with(at, proof[at] ^ by);
  await assert.rejects(harness.call("verifyBlock", change(0, 3)), { message: "WrongValue(version, 2)" });
  await assert.rejects(harness.call("verifyBlock", change(14, 1)), /^Error: WrongHash\(side_path, /);
  await assert.rejects(harness.call("verifyBlock", change(13, 128)), /^Error: WrongValue\(block.height, /);
  await assert.rejects(harness.call("verifyBlock", change(321 + 162, 1)), /^Error: WrongHash\(history_path, /);
});

test("a receipt's logs can be read", async () => {
  const { document } = cases.find(({ name }) => name === "evm 2 of 3");
  const { logs } = readReceipt(verify(document).claim.receipt);
  const { success, log } = await harness.call("readReceipt", toBytes(document), 0);
  assert.deepEqual({ success, ...log }, { success: true, emitter: logs[0].address, topics: logs[0].topics, data: logs[0].data });
  await assert.rejects(harness.call("readReceipt", toBytes(document), 1), /WrongRlp/);
});

test("headers move on by consistency proofs that witnesses attest, and never back or aside", async () => {
  const plan = () => [[2, [{}, {}]]];
  const world = new World(plan, 20);
  const accounts = await chain.accounts();
  const start = encodeHeader(world.header(3));
  await assert.rejects(chain.deploy(contracts.MainstemHeaders, start, accounts.slice(0, 2), 3));
  const headers = await chain.deploy(contracts.MainstemHeaders, start, accounts.slice(0, 3), 2);
  assert.equal(await headers.call("newest"), headerHash(world.header(3)));
  const proof = (from, to) => toBytes(parse(toBytes(world.consistency(from, to))));
  const hash = (at) => headerHash(world.header(at));

  await assert.rejects(headers.send(5, "advance", proof(3, 9)), /NotAttested/);
  await assert.rejects(headers.send(5, "attest", hash(9)), /NotAWitness/);
  await headers.send(1, "attest", hash(9));
  await headers.send(1, "attest", hash(9));
  await assert.rejects(headers.send(5, "advance", proof(3, 9)), /NotAttested/, "one witness twice is one witness");
  await headers.send(2, "attest", hash(9));
  await headers.send(5, "advance", proof(3, 9));
  assert.equal(await headers.call("newestHeight"), 9n);
  // A witness who moves it on attests by that.
  await headers.send(0, "attest", hash(20));
  await assert.rejects(headers.send(1, "advance", proof(3, 20)), /NotNewest/);
  await assert.rejects(headers.send(1, "advance", proof(9, 9)), /NotLater/);
  await headers.send(1, "advance", proof(9, 20));
  assert.deepEqual([await headers.call("heightOf", hash(9)), await headers.call("heightOf", hash(20)), await headers.call("heightOf", hash(10))], [9n, 20n, 0n]);

  // Another history is refused even if all witnesses attest it.
  const other = new World(plan, 22, 2);
  for (const witness of [0, 1, 2]) await headers.send(witness, "attest", headerHash(other.header(22)));
  await assert.rejects(headers.send(0, "advance", toBytes(other.consistency(20, 22))), /NotNewest/);
  const forged = { ...other.consistency(20, 22), from: world.header(20) };
  await assert.rejects(headers.send(0, "advance", toBytes(forged)), /WrongHash\((consistency|inclusion)/);

  const block = world.block(2, 30, 20);
  assert.equal((await headers.call("verifyBlock", toBytes(block))).block_.height, 30n);
  await assert.rejects(headers.call("verifyBlock", toBytes(world.block(2, 30, 19))), /NotTrusted/);
  await assert.rejects(headers.call("verifyBlock", toBytes(world.block(2, 30))), /NotTrusted/);
});

test("what it costs", async () => {
  const random = new Random(9);
  const block = () => ({ height: 5_000_000n, hash: random.hash(), tx_root: random.hash() });
  const rows = [];
  const add = async (what, document) => {
    const bytes = toBytes(document);
    const execution = await harness.call("gasOf", bytes);
    const calldata = bytes.reduce((sum, byte) => sum + (byte === 0 ? 4n : 16n), 0n);
    rows.push([what, bytes.length, execution, calldata]);
  };
  const million = { count: 1_000_000, offset: 500_001, main: 9_000_000 };
  await add("block proof, 1 leaf", fabricate(random, block(), { count: 1, offset: 0 }));
  await add("block proof, 1,000 leaves", fabricate(random, block(), { count: 1000, offset: 500 }));
  await add("block proof, 1,000,000 leaves", fabricate(random, block(), million));
  await add("block proof, 1,000 chains of 1,000", fabricate(random, block(), { count: 1000, offset: 500, chain_count: 1000, index: 500 }));
  await add("block proof, 1,000,000 leaves, head at 10,000,000", fabricate(random, block(), { ...million, head: 10_000_000 }));
  for (const [count, what] of [[1, "1"], [20, "20"], [200, "200"], [1000, "1,000"]]) {
    const { block: side, part } = evmBlock(random, 5_000_000, count);
    const proof = fabricate(random, side, { count: 100, offset: 50, chain_count: 16, index: 5, main: 9_000_000, head: 10_000_000 });
    await add(`receipt of a block of ${what}, head at 10,000,000`, { version: 1, kind: "transaction", transaction: part(Math.floor(count / 2)), block: proof });
  }
  const world = new World(() => [[2, [{}]]], 100);
  await add("consistency proof, 51 to 100", world.consistency(51, 100));
  console.log(["", "| what | bytes | gas to verify | gas of its calldata |", "|---|---:|---:|---:|",
    ...rows.map(([what, ...numbers]) => `| ${what} | ${numbers.map((number) => Number(number).toLocaleString("en")).join(" | ")} |`), ""].join("\n"));
  assert(rows.every(([, , execution]) => execution > 1000n && execution < 1_000_000n));
});
