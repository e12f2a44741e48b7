// A main chain to prove things of, and its proofs, put together from the recursive definitions of RFC 9162 and the Ethereum yellow
// paper: another way than the one that the verifier goes. Shared by the tests of all verifiers.

import { concat, hex, le, unhex } from "../bytes.mjs";
import { rlpInteger } from "../evm.mjs";
import { keccak256 } from "../keccak256.mjs";
import { headerHash } from "../mainstem-verify.mjs";
import { sha256 } from "../sha256.mjs";

export const ZERO = `0x${"00".repeat(32)}`;
export const digest = (...parts) => hex(sha256(...parts.map((part) => (typeof part === "string" ? unhex(part) : part))));
export const node = (left, right) => digest(left, right);

const tagged = (tag, ...parts) => digest(Uint8Array.of(tag), ...parts);
const sideLeaf = (chain, { height, hash, tx_root }) => tagged(1, le(chain, 4), le(height, 8), hash, tx_root);
const chainLeaf = (chain, first, count, root) => tagged(2, le(chain, 4), le(first, 8), le(count, 4), root);
const historyLeaf = (header) => tagged(4, le(header.height, 8), headerHash(header));

/** SplitMix64: what is random follows from a seed. */
export class Random {
  constructor(seed) {
    this.state = BigInt(seed);
  }

  word() {
    this.state = BigInt.asUintN(64, this.state + 0x9e3779b97f4a7c15n);
    let z = this.state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }

  below(end) {
    return Number(this.word() % BigInt(end));
  }

  bytes(length) {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  hash() {
    return hex(this.bytes(32));
  }
}

// Trees, by definition.

const split = (n) => 2 ** (Math.ceil(Math.log2(n)) - 1);

export function root(leaves) {
  if (leaves.length < 2) return leaves[0] ?? ZERO;
  const k = split(leaves.length);
  return node(root(leaves.slice(0, k)), root(leaves.slice(k)));
}

export function path(index, leaves) {
  if (leaves.length < 2) return [];
  const k = split(leaves.length);
  const [low, high] = [leaves.slice(0, k), leaves.slice(k)];
  return index < k
    ? [...path(index, low), { hash: root(high), left: false }]
    : [...path(index - k, high), { hash: root(low), left: true }];
}

export function consistency(m, leaves, own = true) {
  if (m === 0) return [];
  if (m === leaves.length) return own ? [] : [root(leaves)];
  const k = split(leaves.length);
  return m <= k
    ? [...consistency(m, leaves.slice(0, k), own), root(leaves.slice(k))]
    : [...consistency(m - k, leaves.slice(k), false), root(leaves.slice(0, k))];
}

/** The nodes that complete known leaves, level by level. */
export function missing(indices, leaves) {
  const nodes = [];
  let [row, known] = [leaves, new Set(indices)];
  while (row.length > 1) {
    row.forEach((hash, i) => !known.has(i) && known.has(i ^ 1) && nodes.push(hash));
    known = new Set([...known].map((i) => i >> 1));
    row = Array.from({ length: Math.ceil(row.length / 2) }, (_, i) => (2 * i + 1 < row.length ? node(row[2 * i], row[2 * i + 1]) : row[2 * i]));
  }
  return nodes;
}

// A main chain.

export const MAIN_ID = 9_992_731;

/** A header; what is not given is random. */
export function makeHeader(random, fields) {
  return {
    version: 1, chain_id: MAIN_ID, height: 1n, time: 1_700_000_000_000n, parent: random.hash(), side_root: random.hash(), chain_count: 1,
    leaf_count: 1n, ops_root: ZERO, state_root: random.hash(), history_root: ZERO, aelf_root: ZERO, ...fields,
  };
}

export class World {
  /** `plan(mainHeight)` gives [[chain id, [side block, ..]], ..] by ascending id; side blocks without a height follow on. */
  constructor(plan, blocks, seed = 1) {
    const random = new Random(seed);
    const next = new Map();
    this.blocks = [];
    for (let at = 1; at <= blocks; at += 1) {
      const chains = plan(at, random).map(([chain_id, given]) => {
        const first_height = given[0].height ?? next.get(chain_id) ?? 1n;
        const blocks = given.map((block, i) => ({ height: first_height + BigInt(i), hash: random.hash(), tx_root: random.hash(), ...block }));
        next.set(chain_id, first_height + BigInt(blocks.length));
        const leaves = blocks.map((block) => sideLeaf(chain_id, block));
        return { chain_id, first_height, blocks, leaves, root: root(leaves) };
      });
      const leaves = chains.map((chain) => chainLeaf(chain.chain_id, chain.first_height, chain.blocks.length, chain.root));
      const header = makeHeader(random, {
        height: BigInt(at), time: 1_700_000_000_000n + 1000n * BigInt(at), side_root: root(leaves), chain_count: chains.length,
        parent: at > 1 ? headerHash(this.header(at - 1)) : random.hash(),
        leaf_count: BigInt(chains.reduce((sum, chain) => sum + chain.blocks.length, 0)), history_root: root(this.history(at - 1)),
      });
      this.blocks.push({ header, chains, leaves });
    }
  }

  header(at) {
    return this.blocks[at - 1].header;
  }

  history(count) {
    return this.blocks.slice(0, count).map(({ header }) => historyLeaf(header));
  }

  up(at, head) {
    const later = head !== undefined && head > at;
    return {
      header: this.header(at),
      history_path: later ? path(at - 1, this.history(head - 1)) : undefined,
      head: later ? this.header(head) : undefined,
    };
  }

  block(chain_id, height, head) {
    for (const [i, { chains, leaves }] of this.blocks.entries()) {
      const index = chains.findIndex((chain) => chain.chain_id === chain_id);
      const chain = chains[index];
      const offset = chain ? Number(BigInt(height) - chain.first_height) : -1;
      if (!chain?.blocks[offset]) continue;
      return {
        version: 1, chain_id, block: chain.blocks[offset], chain_path: path(offset, chain.leaves),
        chain: { first_height: chain.first_height, count: chain.blocks.length, index }, side_path: path(index, leaves), ...this.up(i + 1, head),
      };
    }
    throw new Error(`no block ${height} of chain ${chain_id}`);
  }

  /** `wanted`: { main height: { chain id: [offset, ..] } } */
  many(wanted, head) {
    const heights = Object.keys(wanted).map(Number);
    const main_blocks = heights.map((at) => {
      const { header, chains, leaves } = this.blocks[at - 1];
      const found = chains.flatMap((chain, index) => {
        const offsets = wanted[at][chain.chain_id];
        if (!offsets) return [];
        const { chain_id, first_height, blocks } = chain;
        return [{
          chain_id, first_height, count: blocks.length, index, blocks: offsets.map((offset) => blocks[offset]),
          nodes: missing(offsets, chain.leaves),
        }];
      });
      return { header, chains: found, nodes: missing(found.map((chain) => chain.index), leaves) };
    });
    const below = heights.filter((at) => at !== head).map((at) => at - 1);
    const up = head === undefined ? {} : { history: missing(below, this.history(head - 1)), head: this.header(head) };
    return { version: 1, kind: "blocks", main_blocks, ...up };
  }

  consistency(from, to) {
    const history = this.history(to - 1);
    return {
      version: 1, kind: "consistency", from: this.header(from), to: this.header(to),
      consistency: from === to ? [] : consistency(from - 1, history), inclusion: from === to ? [] : path(from - 1, history).map((step) => step.hash),
    };
  }

  chain(chain_id, at, head) {
    const { chains, leaves } = this.blocks[at - 1];
    const index = chains.findIndex((chain) => chain.chain_id === chain_id);
    const { first_height, blocks } = chains[index];
    return {
      version: 1, kind: "chain", chain_id, first_height, blocks: blocks.map(({ hash, tx_root }) => ({ hash, tx_root })), index,
      side_path: path(index, leaves), ...this.up(at, head),
    };
  }

  absence(chain_id, at, head) {
    const { chains, leaves } = this.blocks[at - 1];
    const index = chains.filter((chain) => chain.chain_id < chain_id).length;
    const leaf = (i) => chains[i] === undefined ? null : {
      chain_id: chains[i].chain_id, first_height: chains[i].first_height, count: chains[i].blocks.length, chain_root: chains[i].root,
      path: path(i, leaves),
    };
    return { version: 1, kind: "absence", chain_id, index, before: leaf(index - 1), after: leaf(index), ...this.up(at, head) };
  }
}

/**
 * A block proof of any size: siblings are random, and roots what they lead to. `sizes`: count, offset, chain_count, index, main, head (heights).
 */
export function fabricate(random, block, { count, offset, chain_count = 1, index = 0, main = 1, head }, chain_id = 7) {
  const climb = (leaf, at, size) => {
    const steps = [];
    let hash = leaf;
    for (; size > 1; at = Math.floor(at / 2), size = Math.ceil(size / 2)) {
      if (at % 2 === 0 && at + 1 === size) continue;
      const step = { hash: random.hash(), left: at % 2 === 1 };
      steps.push(step);
      hash = step.left ? node(step.hash, hash) : node(hash, step.hash);
    }
    return [steps, hash];
  };
  const first_height = block.height - BigInt(offset);
  const [chain_path, chainRoot] = climb(sideLeaf(chain_id, block), offset, count);
  const [side_path, side_root] = climb(chainLeaf(chain_id, first_height, count, chainRoot), index, chain_count);
  const header = makeHeader(random, { height: BigInt(main), side_root, chain_count, leaf_count: BigInt(count) });
  const proof = { version: 1, chain_id, block, chain_path, chain: { first_height, count, index }, side_path, header };
  if (head === undefined) return proof;
  const [history_path, history_root] = climb(historyLeaf(header), main - 1, head - 1);
  return { ...proof, history_path, head: makeHeader(random, { height: BigInt(head), history_root }) };
}

// EVM: RLP and a trie over a list.

export function rlp(value) {
  if (Array.isArray(value)) return wrap(0xc0, concat(value.map(rlp)));
  if (typeof value === "string") return rlp(unhex(value));
  if (typeof value === "number" || typeof value === "bigint") {
    const digits = value === 0 || value === 0n ? "" : value.toString(16);
    return rlp(unhex(`0x${digits.length % 2 ? "0" : ""}${digits}`));
  }
  return value.length === 1 && value[0] < 0x80 ? value : wrap(0x80, value);
}

function wrap(tag, payload) {
  if (payload.length < 56) return concat([Uint8Array.of(tag + payload.length), payload]);
  const length = le(payload.length, 4).reverse();
  const short = length.subarray(length.findIndex((byte) => byte !== 0));
  return concat([Uint8Array.of(tag + 55 + short.length), short, payload]);
}

/** The trie over values by index: its root, and the nodes that lead to each. Values are of at least 32 bytes. */
export function trie(values) {
  const entries = values.map((value, i) => [[...rlpInteger(i)].flatMap((byte) => [byte >> 4, byte & 15]), value, i]);
  const proofs = values.map(() => []);
  const build = (entries, depth) => {
    const [first, ...rest] = entries;
    let node;
    if (rest.length === 0) {
      node = [prefix(first[0].slice(depth), true), first[1]];
    } else {
      let common = depth;
      while (rest.every(([key]) => key[common] === first[0][common])) common += 1;
      if (common > depth) {
        node = [prefix(first[0].slice(depth, common), false), build(entries, common)];
      } else {
        node = [...Array(16).keys()].map((nibble) => {
          const below = entries.filter(([key]) => key[depth] === nibble);
          return below.length > 0 ? build(below, depth + 1) : new Uint8Array();
        });
        node.push(new Uint8Array());
      }
    }
    const bytes = rlp(node);
    for (const [, , i] of entries) proofs[i].unshift(bytes);
    return keccak256(bytes);
  };
  return values.length === 0 ? { root: hex(keccak256(rlp(new Uint8Array()))), proofs } : { root: hex(build(entries, 0)), proofs };
}

function prefix(nibbles, leaf) {
  const odd = nibbles.length % 2;
  const all = [(leaf ? 2 : 0) + odd, ...(odd ? [] : [0]), ...nibbles];
  return Uint8Array.from({ length: all.length / 2 }, (_, i) => all[2 * i] * 16 + all[2 * i + 1]);
}

/** An EVM block of `count` transactions: { block (side block), part(index, which) }. Each receipt has one log of `dataBytes`. */
export function evmBlock(random, number, count, dataBytes = 32) {
  const receipts = Array.from({ length: count }, (_, i) =>
    concat([Uint8Array.of(2), rlp([1, 21_000 * (i + 1), new Uint8Array(256), [[random.bytes(20), [random.hash(), random.hash()], random.bytes(dataBytes)]]])]));
  const transactions = Array.from({ length: count }, (_, i) =>
    concat([Uint8Array.of(2), rlp([31_337, i, 1, 100, 21_000, random.bytes(20), 5, new Uint8Array(), [], 1, random.hash(), random.hash()])]));
  return evmParts(random, number, transactions, receipts);
}

/** As `evmBlock`, of given transactions and receipts. */
export function evmParts(random, number, transactions, receipts) {
  const [sent, got] = [trie(transactions), trie(receipts)];
  const header = rlp([
    random.hash(), random.hash(), random.bytes(20), random.hash(), sent.root, got.root, new Uint8Array(256), 0, number, 30_000_000, 21_000,
    1_700_000_000, new Uint8Array(), random.hash(), new Uint8Array(8), 7,
  ]);
  const part = (index, { transaction = false, receipt = true } = {}) => ({
    type: "evm", header, index, transaction: transaction ? sent.proofs[index] : undefined, receipt: receipt ? got.proofs[index] : undefined,
  });
  return { block: { height: BigInt(number), hash: hex(keccak256(header)), tx_root: got.root }, part, transactions, receipts };
}
