// Verifies what a Mainstem main chain proves, in browsers and in Node.js, without dependencies. The forms and the rules are those
// of docs/protocol.md, section "Proofs".
//
//   import { parse, verify } from "./mainstem-verify.mjs";
//   const result = verify(parse(bytesOrText), { trusted: "0x.." });
//
// A proof is worth as much as the one header hash that it ends in. Give the hash that you trust as `trusted`, or compare
// `result.trustedHash` yourself. Everything throws a ProofError, whose `field` says where; nothing returns "false".

import { ProofError, equal, hex, le, must, unhex } from "./bytes.mjs";
import { HEADER_BYTES, decode, encode, encodeHeader } from "./binary-form.mjs";
import { header as evmHeader, readReceipt, trieValue } from "./evm.mjs";
import { parseJson, toJsonText } from "./json.mjs";
import { document as fromJson } from "./json-form.mjs";
import { sha256 } from "./sha256.mjs";
import { fold, foldAelf, foldFree, foldMany, foldSteps, verifyConsistency } from "./tree.mjs";

export { HEADER_BYTES, ProofError, encode as toBytes, equal, hex, readReceipt, toJsonText as toJson, unhex };

/** No document is longer, in either form. */
export const MAX_BYTES = 16 << 20;

const MAX_HEIGHT = (1n << 63n) - 1n;
const MAX_BLOCKS = 65_536;
/** How many parts of type `mainstem` may be inside of each other. */
const MAX_LEVELS = 8;
const ZERO = `0x${"00".repeat(32)}`;

/** A document from its binary form (bytes) or its JSON form (bytes or text). */
export function parse(given) {
  must(typeof given === "string" || given instanceof Uint8Array, "document", "expected bytes or text");
  must(given.length <= MAX_BYTES, "document", `longer than ${MAX_BYTES} bytes`);
  if (typeof given !== "string" && given[0] === 1) return decode(given);
  return fromJson(parseJson(typeof given === "string" ? given : utf8(given)));
}

/**
 * Verifies a document from `parse`.
 *
 * The result has `kind`; what was proven: `block`, `blocks`, `claim` (of a transaction) or `absent`; the main `header` that it is
 * under and its `headerHash` (of a consistency proof: `from`; none of several main blocks); and the header that everything rests on:
 * `trusted`, with `trustedHash`. It is `head` (or `to`) where there is one.
 *
 * With `trusted` (0x and 64 digits, or 32 bytes; `undefined` is refused) one of the two must have that hash; the result's `trusted` is that one. Of a
 * consistency proof by its `from` that means: `to` rewrites nothing before it. Who made `to` is another question: anyone can make a
 * header that continues another.
 */
export function verify(document, options = {}) {
  // A hash that was lost somewhere on the way must not mean "whatever it ends in".
  if (!("trusted" in options)) return verifyAny(document, 0);
  const hash = given(options.trusted, "trusted");
  const ends = ending(document);
  must(ends.includes(hash), "trusted", () => `ends in header ${ends.at(-1)}, which is not the trusted ${hash}`);
  const result = verifyAny(document, 0);
  // What is under this header is so whatever came later.
  if (hash === result.headerHash) return { ...result, trusted: result.header, trustedHash: hash };
  must(hash === result.trustedHash, "trusted", () => `ends in header ${result.trustedHash}, which is not the trusted ${hash}`);
  return result;
}

/** The hashes of the headers of which one is to be trusted, the newest one last: known before anything else is hashed. */
function ending(document) {
  const { header, head, from, to, main_blocks } = document.kind === "transaction" ? document.block : document;
  const single = main_blocks?.length === 1 ? main_blocks[0].header : undefined;
  return [from, header ?? single, to ?? head].filter((one) => one !== undefined).map(headerHash);
}

function given(hash, field) {
  const bytes = typeof hash === "string" ? unhex(hash) : hash;
  must(bytes instanceof Uint8Array && bytes.length === 32, field, "expected 0x and 64 hex digits");
  return hex(bytes);
}

/** The hash of a main header: H(0x03 || header). */
export const headerHash = (header) => hash(0x03, encodeHeader(header));

function verifyAny(document, level) {
  must(document.version === 1, "version", () => `version ${document.version} is not known; expected 1`);
  const kind = document.kind ?? "block";
  return { kind, ...KINDS[kind](document, level) };
}

const KINDS = {
  block(proof) {
    const { chain_id, block, chain, chain_path, side_path, header } = proof;
    checkHeader(header, "header");
    const index = checkPart(chain, "chain", block.height, "block.height");
    const root = foldSteps(sideLeaf(chain_id, block), index, BigInt(chain.count), chain_path, "chain_path");
    const leaf = chainLeaf(chain_id, chain.first_height, chain.count, root);
    const side = foldSteps(leaf, BigInt(chain.index), BigInt(header.chain_count), side_path, "side_path");
    leadsTo(side, header.side_root, "side_path", "header.side_root");
    return { chainId: chain_id, block, ...upToHead(proof) };
  },

  transaction({ transaction, block: proof }, level) {
    const field = "transaction";
    must(proof.version === 1, "block.version", "expected 1");
    const under = within("block", () => KINDS.block(proof));
    const claim = within(field, () => PARTS[transaction.type](transaction, proof, level));
    return { ...under, claim: { type: transaction.type, ...claim } };
  },

  blocks({ main_blocks, history, head }) {
    must(main_blocks.length > 0, "main_blocks", "none");
    must((history === undefined) === (head === undefined), "head", "history and head: one is given without the other");
    must(head !== undefined || main_blocks.length === 1, "head", "missing, with more than one main block");
    const blocks = [];
    const headers = main_blocks.map((main, i) => {
      const field = `main_blocks[${i}]`;
      checkHeader(main.header, `${field}.header`);
      const { height, chain_id } = main.header;
      const first = main_blocks[0].header;
      must(chain_id === first.chain_id, `${field}.header.chain_id`, "another main chain");
      must(i === 0 || height > main_blocks[i - 1].header.height, `${field}.header.height`, "not ascending");
      const under = { mainHeight: height, headerHash: headerHash(main.header) };
      foldMain(main, field).forEach((block) => blocks.push({ ...block, ...under }));
      must(blocks.length <= MAX_BLOCKS, field, `more than ${MAX_BLOCKS} blocks`);
      return under;
    });
    const [header, hash] = [main_blocks[0].header, headers[0].headerHash];
    const single = main_blocks.length === 1 ? { header, headerHash: hash } : {};
    if (head === undefined) return { blocks, ...single, trusted: header, trustedHash: hash };

    checkHeader(head, "head");
    must(head.chain_id === header.chain_id, "head.chain_id", "another main chain");
    const trustedHash = headerHash(head);
    const below = headers.filter(({ mainHeight }) => mainHeight !== head.height);
    const last = headers.at(-1);
    must(last.mainHeight <= head.height, "head.height", () => `${head.height} is below ${last.mainHeight}`);
    must(last.mainHeight < head.height || last.headerHash === trustedHash, "head", "is another header than the last main block's");
    must(below.length > 0, "head", "is the only main block's own header, and so is not needed");
    const leaves = below.map(({ mainHeight, headerHash }) => [mainHeight - 1n, historyLeaf(mainHeight, headerHash)]);
    leadsTo(foldMany(leaves, head.height - 1n, history, "history"), head.history_root, "history", "head.history_root");
    return { blocks, ...single, trusted: head, trustedHash };
  },

  consistency({ from, to, consistency, inclusion }) {
    checkHeader(from, "from");
    checkHeader(to, "to");
    must(from.chain_id === to.chain_id, "to.chain_id", "another main chain");
    must(from.height <= to.height, "to.height", () => `${to.height} is below from.height, ${from.height}`);
    const [fromHash, toHash] = [headerHash(from), headerHash(to)];
    const [m, n] = [from.height - 1n, to.height - 1n];
    if (m === n) {
      must(fromHash === toHash, "to", "is another header of the same height");
      must(consistency.length === 0, "consistency", "not needed");
      must(inclusion.length === 0, "inclusion", "not needed");
    } else {
      must(m > 0n || from.history_root === ZERO, "from.history_root", "block 1 has no history: expected zero");
      verifyConsistency(m, n, from.history_root, to.history_root, consistency, "consistency");
      const root = fold(historyLeaf(from.height, fromHash), m, n, inclusion, "inclusion");
      leadsTo(root, to.history_root, "inclusion", "to.history_root");
    }
    return { header: from, headerHash: fromHash, trusted: to, trustedHash: toHash };
  },

  chain(proof) {
    const { chain_id, first_height, blocks, index, side_path, header } = proof;
    checkHeader(header, "header");
    must(blocks.length > 0, "blocks", "none");
    checkHeight(first_height, "first_height");
    checkHeight(first_height + BigInt(blocks.length) - 1n, "first_height + blocks - 1");
    const proven = blocks.map((block, i) => ({ chainId: chain_id, height: first_height + BigInt(i), ...block }));
    const leaves = proven.map((block, i) => [BigInt(i), sideLeaf(chain_id, block)]);
    const root = foldMany(leaves, BigInt(blocks.length), [], "blocks");
    const leaf = chainLeaf(chain_id, first_height, blocks.length, root);
    const side = foldSteps(leaf, BigInt(index), BigInt(header.chain_count), side_path, "side_path");
    leadsTo(side, header.side_root, "side_path", "header.side_root");
    return { chainId: chain_id, blocks: proven, ...upToHead(proof) };
  },

  absence(proof) {
    const { chain_id, index, before, after, header } = proof;
    checkHeader(header, "header");
    const size = header.chain_count;
    must(index <= size, "index", () => `${index} of ${size} chains`);
    must((before === null) === (index === 0), "before", "the leaf before index, and none at 0");
    must((after === null) === (index === size), "after", "the leaf at index, and none behind the last");
    must(size > 0 || header.side_root === ZERO, "header.side_root", "without chains: expected zero");
    const neighbour = (leaf, at, field) => {
      const start = chainLeaf(leaf.chain_id, leaf.first_height, leaf.count, leaf.chain_root);
      const root = foldSteps(start, BigInt(at), BigInt(size), leaf.path, `${field}.path`);
      leadsTo(root, header.side_root, `${field}.path`, "header.side_root");
    };
    if (before) {
      must(before.chain_id < chain_id, "before.chain_id", () => `${before.chain_id} is not below ${chain_id}`);
      neighbour(before, index - 1, "before");
    }
    if (after) {
      must(after.chain_id > chain_id, "after.chain_id", () => `${after.chain_id} is not above ${chain_id}`);
      neighbour(after, index, "after");
    }
    return { absent: chain_id, ...upToHead(proof) };
  },
};

/** The parts of transaction proofs: each leads to the block's hash, its tx_root or both, and gives what it claims. */
const PARTS = {
  aelf({ id, path }, { block }) {
    const leaf = hex(sha256(unhex(id), new TextEncoder().encode("Mined")));
    leadsTo(foldAelf(leaf, path), block.tx_root, "path", "block.tx_root");
    return { id };
  },

  evm({ header, index, transaction, receipt }, { block }) {
    must(header.length <= 4096, "header", "longer than 4096 bytes");
    const { hash, number, transactionsRoot, receiptsRoot } = evmHeader(header, "header");
    leadsTo(hash, block.hash, "header", "block.hash");
    must(number === block.height, "header.number", () => `${number}, but block.height is ${block.height}`);
    must(receiptsRoot === block.tx_root, "header.receipts_root", () => `${receiptsRoot}, but block.tx_root is ${block.tx_root}`);
    must(transaction !== undefined || receipt !== undefined, "receipt", "neither transaction nor receipt");
    const value = (root, nodes, field) => {
      if (nodes === undefined) return undefined;
      must(nodes.length >= 1 && nodes.length <= 32, field, () => `${nodes.length} nodes; expected 1 to 32`);
      return trieValue(root, index, nodes, field);
    };
    return {
      index,
      transaction: value(transactionsRoot, transaction, "transaction"),
      receipt: value(receiptsRoot, receipt, "receipt"),
    };
  },

  sim({ data, path }, { block }) {
    must(data.length <= 1 << 20, "data", "longer than 1 MiB");
    must(data.length !== 63, "data", "63 bytes would make a leaf as long as a node");
    leadsTo(foldFree(hash(0x10, data), path), block.tx_root, "path", "block.tx_root");
    return { data };
  },

  mainstem({ proof }, { chain_id, block }, level) {
    must(level < MAX_LEVELS, "proof", `more than ${MAX_LEVELS} levels`);
    must(proof.kind === undefined || proof.kind === "transaction", "proof.kind", "expected a block proof or a transaction proof");
    const inner = within("proof", () => verifyAny(proof, level + 1));
    const { trusted, trustedHash } = inner;
    must(trusted.chain_id === chain_id, "proof", () => `ends in main chain ${trusted.chain_id}, but chain_id is ${chain_id}`);
    must(trusted.height === block.height, "proof", () => `ends at height ${trusted.height}, but block.height is ${block.height}`);
    leadsTo(trustedHash, block.hash, "proof", "block.hash");
    leadsTo(trusted.side_root, block.tx_root, "proof", "block.tx_root");
    return { proof: inner };
  },
};

/** Folds all chains of a main block to its side root; gives the blocks that are in it. */
function foldMain({ header, chains, nodes }, field) {
  must(chains.length > 0, `${field}.chains`, "none");
  const leaves = chains.map((chain, i) => {
    const here = `${field}.chains[${i}]`;
    const { chain_id, first_height, count, index, blocks } = chain;
    must(index < header.chain_count, `${here}.index`, () => `${index} of ${header.chain_count}`);
    must(i === 0 || index > chains[i - 1].index, `${here}.index`, "not ascending");
    must(blocks.length > 0, `${here}.blocks`, "none");
    const side = blocks.map((block, j) => {
      const at = checkPart(chain, here, block.height, `${here}.blocks[${j}].height`);
      must(j === 0 || block.height > blocks[j - 1].height, `${here}.blocks[${j}].height`, "not ascending");
      return [at, sideLeaf(chain_id, block)];
    });
    const root = foldMany(side, BigInt(count), chain.nodes, `${here}.nodes`);
    return [BigInt(index), chainLeaf(chain_id, first_height, count, root)];
  });
  const root = foldMany(leaves, BigInt(header.chain_count), nodes, `${field}.nodes`);
  leadsTo(root, header.side_root, `${field}.nodes`, `${field}.header.side_root`);
  return chains.flatMap(({ chain_id, blocks }) => blocks.map((block) => ({ chainId: chain_id, ...block })));
}

/** From `header` through `history_path` to `head`, where there is one. */
function upToHead({ header, history_path, head }) {
  const hash = headerHash(header);
  must((head === undefined) === (history_path === undefined), "head", "history_path and head: one is given without the other");
  if (head === undefined) return { header, headerHash: hash, trusted: header, trustedHash: hash };
  checkHeader(head, "head");
  must(head.chain_id === header.chain_id, "head.chain_id", "another main chain");
  must(head.height > header.height, "head.height", () => `${head.height} is not above header.height, ${header.height}`);
  const root = foldSteps(historyLeaf(header.height, hash), header.height - 1n, head.height - 1n, history_path, "history_path");
  leadsTo(root, head.history_root, "history_path", "head.history_root");
  return { header, headerHash: hash, trusted: head, trustedHash: headerHash(head) };
}

function checkHeader(header, field) {
  must(header.version === 1, `${field}.version`, () => `version ${header.version} is not known; expected 1`);
  checkHeight(header.height, `${field}.height`);
}

function checkHeight(height, field) {
  must(height >= 1n && height <= MAX_HEIGHT, field, () => `${height} is no height; expected 1 to 2^63 - 1`);
}

/** The heights that a chain part names; gives where among them `height` is. */
function checkPart({ first_height, count }, field, height, heightField) {
  checkHeight(first_height, `${field}.first_height`);
  checkHeight(height, heightField);
  const index = height - first_height;
  must(index >= 0n && index < BigInt(count), heightField, () => `${height} is not among the ${count} heights from ${first_height} on`);
  return index;
}

function leadsTo(got, expected, field, name) {
  must(got === expected, field, () => `leads to ${got}, but ${name} is ${expected}`);
}

/** Names a field of something nested by the whole way to it. */
function within(field, work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof ProofError) throw new ProofError(`${field}.${error.field}`, error.message.slice(error.field.length + 2));
    throw error;
  }
}

const sideLeaf = (chain, { height, hash: own, tx_root }) => hash(0x01, le(chain, 4), le(height, 8), unhex(own), unhex(tx_root));
const chainLeaf = (chain, first, count, root) => hash(0x02, le(chain, 4), le(first, 8), le(count, 4), unhex(root));
const historyLeaf = (height, headerHash) => hash(0x04, le(height, 8), unhex(headerHash));
const hash = (tag, ...parts) => hex(sha256(Uint8Array.of(tag), ...parts));

function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ProofError("document", "neither the binary form nor UTF-8");
  }
}
