// The binary form of documents (docs/protocol.md, section "Proofs"). It has no lengths and no sides where they follow from the
// heights and counts before, and each document has exactly one.

import { ProofError, concat, hex, le, must, unhex } from "./bytes.mjs";
import { consistencyLength, countMissing, sides } from "./tree.mjs";

/** Bytes of an encoded header. */
export const HEADER_BYTES = 226;

/** A header's fields in order, with their bytes; 32 is a hash. */
const HEADER = [
  ["version", 2], ["chain_id", 4], ["height", 8], ["time", 8], ["parent", 32], ["side_root", 32], ["chain_count", 4],
  ["leaf_count", 8], ["ops_root", 32], ["state_root", 32], ["history_root", 32], ["aelf_root", 32],
];
const KINDS = [undefined, "transaction", "blocks", "consistency", "chain", "absence"];
const TYPES = [undefined, "aelf", "evm", "sim", "mainstem"];
/** Limits of the form itself. */
const MAX = { steps: 32, header: 4096, data: 1 << 20, levels: 8 };

/** The 226 bytes of a main header. */
export function encodeHeader(header) {
  return concat(HEADER.map(([name, size]) => (size === 32 ? unhex(header[name]) : le(header[name], size))));
}

/** Reads a document, all of `bytes`. */
export function decode(bytes) {
  const input = new Input(bytes);
  const read = readDocument(input);
  must(input.at === bytes.length, "document", () => `${bytes.length - input.at} bytes after the end`);
  return read;
}

class Input {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(length, field) {
    must(this.at + length <= this.bytes.length, field, () => `cut off: ${length} bytes wanted at ${this.at} of ${this.bytes.length}`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  u64(field, size = 8) {
    return this.take(size, field).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  }

  u8(field) {
    return this.take(1, field)[0];
  }

  u16(field) {
    return Number(this.u64(field, 2));
  }

  u32(field) {
    return Number(this.u64(field, 4));
  }

  hash(field) {
    return hex(this.take(32, field));
  }

  hashes(count, field) {
    return this.times(count, (i) => this.hash(`${field}[${i}]`));
  }

  /** `count` may be any u32: the bytes run out before memory does. */
  times(count, read) {
    const items = [];
    for (let i = 0; i < count; i += 1) items.push(read(i));
    return items;
  }

  /** The steps of a path whose length and sides follow. */
  steps(index, size, field) {
    return sides(index, size).map((left, i) => ({ hash: this.hash(`${field}[${i}]`), left }));
  }

  flag(field) {
    const flag = this.u8(field);
    must(flag < 2, field, `${flag}; expected 0 or 1`);
    return flag === 1;
  }

  header(field) {
    const read = {};
    for (const [name, size] of HEADER) {
      const here = `${field}.${name}`;
      if (size === 32) read[name] = this.hash(here);
      else read[name] = size === 8 ? this.u64(here) : Number(this.u64(here, size));
    }
    return read;
  }

  head() {
    return this.flag("head flag") ? this.header("head") : undefined;
  }

  /** From a header up to `head`. */
  historyPath({ height }, head) {
    return head && this.steps(height - 1n, head.height - 1n, "history_path");
  }
}

function readDocument(input, level = 0) {
  must(level <= MAX.levels, "proof", `more than ${MAX.levels} levels`);
  const version = readVersion(input, "version");
  const kind = input.u8("kind");
  must(kind < KINDS.length, "kind", () => `${kind} is not known`);
  return kind === 0 ? readBlock(input, version) : { version, kind: KINDS[kind], ...READ[KINDS[kind]](input, level) };
}

function readVersion(input, field) {
  const version = input.u8(field);
  must(version === 1, field, () => `version ${version} is not known; expected 1`);
  return version;
}

function readBlock(input, version) {
  const chain_id = input.u32("chain_id");
  const block = readSideBlock(input, "block");
  const chain = { first_height: input.u64("chain.first_height"), count: input.u32("chain.count"), index: input.u32("chain.index") };
  const header = input.header("header");
  const head = input.head();
  const offset = BigInt.asUintN(64, block.height - chain.first_height);
  const chain_path = input.steps(offset, BigInt(chain.count), "chain_path");
  const side_path = input.steps(BigInt(chain.index), BigInt(header.chain_count), "side_path");
  const history_path = input.historyPath(header, head);
  return { version, chain_id, block, chain_path, chain, side_path, header, history_path, head };
}

function readSideBlock(input, field) {
  return { height: input.u64(`${field}.height`), hash: input.hash(`${field}.hash`), tx_root: input.hash(`${field}.tx_root`) };
}

const READ = {
  transaction(input, level) {
    const type = input.u8("transaction.type");
    must(type > 0 && type < TYPES.length, "transaction.type", () => `${type} is not known`);
    const transaction = { type: TYPES[type], ...READ_PART[TYPES[type]](input, level) };
    // Nothing else is read there, and so nothing that has another in it.
    const version = readVersion(input, "block.version");
    must(input.u8("block.kind") === 0, "block.kind", "expected a block proof");
    return { transaction, block: readBlock(input, version) };
  },
  blocks(input) {
    const main_blocks = input.times(input.u32("main_blocks"), (i) => {
      const field = `main_blocks[${i}]`;
      const header = input.header(`${field}.header`);
      const chains = input.times(input.u32(`${field}.chains`), (j) => {
        const here = `${field}.chains[${j}]`;
        const [chain_id, first_height] = [input.u32(`${here}.chain_id`), input.u64(`${here}.first_height`)];
        const [count, index] = [input.u32(`${here}.count`), input.u32(`${here}.index`)];
        const blocks = input.times(input.u32(`${here}.blocks`), (k) => readSideBlock(input, `${here}.blocks[${k}]`));
        const known = ascending(blocks.map((block) => block.height - first_height), BigInt(count), `${here}.blocks`);
        const nodes = input.hashes(countMissing(known, BigInt(count)), `${here}.nodes`);
        return { chain_id, first_height, count, index, blocks, nodes };
      });
      const known = ascending(chains.map((chain) => BigInt(chain.index)), BigInt(header.chain_count), `${field}.chains`);
      const nodes = input.hashes(countMissing(known, BigInt(header.chain_count)), `${field}.nodes`);
      return { header, chains, nodes };
    });
    const head = input.head();
    if (head === undefined) return { main_blocks, history: undefined, head };
    const below = main_blocks.map(({ header }) => header.height - 1n);
    if (below.at(-1) === head.height - 1n) below.pop();
    const known = ascending(below, head.height - 1n, "main_blocks");
    return { main_blocks, history: input.hashes(countMissing(known, head.height - 1n), "history"), head };
  },
  consistency(input) {
    const [from, to] = [input.header("from"), input.header("to")];
    const [m, n] = [from.height - 1n, to.height - 1n];
    must(m >= 0n && m <= n, "to.height", () => `${to.height} is below from.height, ${from.height}`);
    const consistency = input.hashes(consistencyLength(m, n), "consistency");
    return { from, to, consistency, inclusion: input.hashes(sides(m, n).length, "inclusion") };
  },
  chain(input) {
    const [chain_id, first_height] = [input.u32("chain_id"), input.u64("first_height")];
    const [count, index] = [input.u32("count"), input.u32("index")];
    const header = input.header("header");
    const head = input.head();
    const blocks = input.times(count, (i) => ({ hash: input.hash(`blocks[${i}].hash`), tx_root: input.hash(`blocks[${i}].tx_root`) }));
    const side_path = input.steps(BigInt(index), BigInt(header.chain_count), "side_path");
    return { chain_id, first_height, blocks, index, side_path, header, history_path: input.historyPath(header, head), head };
  },
  absence(input) {
    const [chain_id, index] = [input.u32("chain_id"), input.u32("index")];
    const header = input.header("header");
    const head = input.head();
    const leaf = (field) => ({
      chain_id: input.u32(`${field}.chain_id`), first_height: input.u64(`${field}.first_height`),
      count: input.u32(`${field}.count`), chain_root: input.hash(`${field}.chain_root`),
    });
    const before = index > 0 ? leaf("before") : null;
    const after = index < header.chain_count ? leaf("after") : null;
    const size = BigInt(header.chain_count);
    if (before) before.path = input.steps(BigInt(index) - 1n, size, "before.path");
    if (after) after.path = input.steps(BigInt(index), size, "after.path");
    return { chain_id, index, before, after, header, history_path: input.historyPath(header, head), head };
  },
};

/** Indices below `size` that ascend: anything else has no number of nodes. */
function ascending(indices, size, field) {
  indices.forEach((index, i) => {
    const right = index >= 0n && index < size && (i === 0 || index > indices[i - 1]);
    must(right, `${field}[${i}]`, () => `index ${index} of ${size} is out of range or order`);
  });
  return indices;
}

const READ_PART = {
  aelf: (input) => ({ id: input.hash("transaction.id"), path: readFreePath(input) }),
  evm(input) {
    const length = input.u16("transaction.header");
    must(length <= MAX.header, "transaction.header", () => `${length} bytes; at most ${MAX.header}`);
    const header = input.take(length, "transaction.header").slice();
    const index = input.u32("transaction.index");
    const flags = input.u8("transaction.flags");
    must(flags > 0 && flags < 4, "transaction.flags", () => `${flags}; expected 1, 2 or 3`);
    const nodes = (field) =>
      input.times(input.u8(field), (i) => input.take(input.u32(`${field}[${i}]`), `${field}[${i}]`).slice());
    const transaction = flags & 1 ? nodes("transaction.transaction") : undefined;
    return { header, index, transaction, receipt: flags & 2 ? nodes("transaction.receipt") : undefined };
  },
  sim(input) {
    const length = input.u32("transaction.data");
    must(length <= MAX.data, "transaction.data", () => `${length} bytes; at most ${MAX.data}`);
    return { data: input.take(length, "transaction.data").slice(), path: readFreePath(input) };
  },
  mainstem: (input, level) => ({ proof: readDocument(input, level + 1) }),
};

/** A path whose sides do not follow from anything. */
function readFreePath(input) {
  const field = "transaction.path";
  const [count, bits] = [input.u8(field), input.u32(field)];
  must(count <= MAX.steps, field, () => `${count} steps; at most ${MAX.steps}`);
  must(bits < 2 ** count, field, "unused bits of the sides are set");
  return input.times(count, (i) => ({ hash: input.hash(`${field}[${i}]`), left: ((bits >>> i) & 1) === 1 }));
}

/** The binary form of a document. What breaks a rule of the form is refused when it is verified or read again. */
export function encode(document) {
  const { version, kind } = document;
  const number = KINDS.indexOf(kind);
  if (version !== 1 || number < 0) throw new ProofError("version", "expected 1, and a known kind");
  const start = Uint8Array.of(version, number);
  return concat([start, ...WRITE[kind ?? "block"](document)]);
}

const hashes = (list) => list.map(unhex);
const pathHashes = (path) => (path ?? []).map((step) => unhex(step.hash));
const writeHead = (head) => (head ? [Uint8Array.of(1), encodeHeader(head)] : [Uint8Array.of(0)]);
const writeSideBlock = (block) => [le(block.height, 8), unhex(block.hash), unhex(block.tx_root)];
const many = (items, write) => [le(items.length, 4), ...items.flatMap(write)];

const WRITE = {
  block: ({ chain_id, block, chain, chain_path, side_path, header, history_path, head }) => [
    le(chain_id, 4), ...writeSideBlock(block), le(chain.first_height, 8), le(chain.count, 4), le(chain.index, 4),
    encodeHeader(header), ...writeHead(head), ...[chain_path, side_path, history_path].flatMap(pathHashes),
  ],
  transaction: ({ transaction, block }) => [
    Uint8Array.of(TYPES.indexOf(transaction.type)), ...WRITE_PART[transaction.type](transaction), encode(block),
  ],
  blocks: ({ main_blocks, history, head }) => [
    ...many(main_blocks, (main) => [
      encodeHeader(main.header),
      ...many(main.chains, (chain) => [
        le(chain.chain_id, 4), le(chain.first_height, 8), le(chain.count, 4), le(chain.index, 4),
        ...many(chain.blocks, writeSideBlock), ...hashes(chain.nodes),
      ]),
      ...hashes(main.nodes),
    ]),
    ...writeHead(head), ...hashes(history ?? []),
  ],
  consistency: ({ from, to, consistency, inclusion }) => [
    encodeHeader(from), encodeHeader(to), ...hashes(consistency), ...hashes(inclusion),
  ],
  chain: ({ chain_id, first_height, blocks, index, side_path, header, history_path, head }) => [
    le(chain_id, 4), le(first_height, 8), le(blocks.length, 4), le(index, 4), encodeHeader(header), ...writeHead(head),
    ...blocks.flatMap((block) => [unhex(block.hash), unhex(block.tx_root)]), ...pathHashes(side_path), ...pathHashes(history_path),
  ],
  absence: ({ chain_id, index, before, after, header, history_path, head }) => [
    le(chain_id, 4), le(index, 4), encodeHeader(header), ...writeHead(head),
    ...[before, after].filter(Boolean).flatMap((leaf) => [
      le(leaf.chain_id, 4), le(leaf.first_height, 8), le(leaf.count, 4), unhex(leaf.chain_root),
    ]),
    ...[before?.path, after?.path, history_path].flatMap(pathHashes),
  ],
};

const WRITE_PART = {
  aelf: ({ id, path }) => [unhex(id), ...writeFreePath(path)],
  evm: ({ header, index, transaction, receipt }) => [
    le(header.length, 2), header, le(index, 4), Uint8Array.of((transaction ? 1 : 0) | (receipt ? 2 : 0)),
    ...[transaction, receipt].filter(Boolean).flatMap((nodes) => [
      Uint8Array.of(nodes.length), ...nodes.flatMap((node) => [le(node.length, 4), node]),
    ]),
  ],
  sim: ({ data, path }) => [le(data.length, 4), data, ...writeFreePath(path)],
  mainstem: ({ proof }) => [encode(proof)],
};

function writeFreePath(path) {
  const bits = path.reduce((sum, step, i) => sum + (step.left ? 2 ** i : 0), 0);
  return [Uint8Array.of(path.length), le(bits, 4), ...pathHashes(path)];
}
