// What Ethereum commits to: RLP, the Merkle-Patricia trie over a block's transactions or receipts, the header.

import { equal, hex, must } from "./bytes.mjs";
import { keccak256 } from "./keccak256.mjs";

/** Reads one RLP item, all of `bytes`: { list, payload, raw }, where raw has its head too. One encoding only: lengths are as short as can be. */
export function rlpItem(bytes, field) {
  const { item, next } = rlpAt(bytes, 0, field);
  must(next === bytes.length, field, () => `${bytes.length - next} bytes after the RLP item`);
  return item;
}

/** The items of an RLP list, all of `bytes`. Of more than `most` items it is refused before they take memory. */
export function rlpList(bytes, most, field) {
  const { list, payload } = rlpItem(bytes, field);
  must(list, field, "no RLP list");
  const items = [];
  for (let at = 0; at < payload.length; ) {
    must(items.length < most, field, () => `an RLP list of more than ${most} items`);
    const { item, next } = rlpAt(payload, at, field);
    items.push(item);
    at = next;
  }
  return items;
}

function rlpAt(bytes, at, field) {
  const first = bytes[at];
  must(first !== undefined, field, "empty RLP");
  if (first < 0x80) return { item: { list: false, payload: bytes.subarray(at, at + 1), raw: bytes.subarray(at, at + 1) }, next: at + 1 };
  const list = first >= 0xc0;
  const form = first & (list ? 0x3f : 0x7f);
  let [start, length] = [at + 1, form];
  if (form > 55) {
    // Four bytes of length are more than any document has.
    const size = form - 55;
    must(size <= 4 && start + size <= bytes.length, field, "an RLP length is cut off or too long");
    length = bytes.subarray(start, start + size).reduce((sum, byte) => sum * 256 + byte, 0);
    must(bytes[start] !== 0 && length > 55, field, "an RLP length has a shorter form");
    start += size;
  }
  const next = start + length;
  must(next <= bytes.length, field, "an RLP item is cut off");
  const payload = bytes.subarray(start, next);
  must(list || length !== 1 || payload[0] >= 0x80, field, "an RLP byte has a shorter form");
  return { item: { list, payload, raw: bytes.subarray(at, next) }, next };
}

/** The text of an item that must be a string of so many bytes. */
function fixed(item, length, field) {
  must(item && !item.list && item.payload.length === length, field, `no string of ${length} bytes`);
  return item.payload;
}

function integer(item, field) {
  must(item && !item.list && item.payload.length <= 8 && item.payload[0] !== 0, field, "no RLP integer of at most 64 bits");
  return item.payload.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

/** The RLP of an integer of at most 32 bits. */
export function rlpInteger(value) {
  if (value > 0 && value < 0x80) return Uint8Array.of(value);
  const bytes = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Uint8Array.of(0x80 + bytes.length, ...bytes);
}

/** Bytes of a header's first fifteen fields, which all forks have; `undefined`: any string. Forks add fields behind these. */
const HEADER = [32, 32, 20, 32, 32, 32, 256, undefined, undefined, undefined, undefined, undefined, undefined, 32, 8];

/** No header has so many fields: an item has a byte, and a header at most 4096. */
const MAX_FIELDS = 4096;
/** The most items of a node: 16 children of a branch, and its value. */
const MAX_ITEMS = 17;
/** The most bytes of a hex-prefix: the flags, and a key of 32 bytes. */
const MAX_PREFIX = 33;

/** What is needed of a block header. */
export function header(bytes, field) {
  const items = rlpList(bytes, MAX_FIELDS, field);
  HEADER.forEach((length, i) => fixed(items[i], length ?? items[i]?.payload.length, `${field}[${i}]`));
  return {
    hash: hex(keccak256(bytes)),
    transactionsRoot: hex(items[4].payload),
    receiptsRoot: hex(items[5].payload),
    number: integer(items[8], `${field}.number`),
  };
}

/** The value at `index` in the trie under `root`: in the last of `nodes`, a leaf. Each node is used, none left over. */
export function trieValue(root, index, nodes, field) {
  const key = Array.from(rlpInteger(index)).flatMap((byte) => [byte >> 4, byte & 15]);
  let [used, at] = [0, 0];
  // What the next node is: its hash or, of less than 32 bytes and not the root, itself.
  let [next, embedded] = [root, undefined];
  for (;;) {
    const here = `${field}[${embedded ? used - 1 : used}]`;
    const bytes = embedded ?? nodes[used];
    must(bytes !== undefined, field, "ends before a leaf");
    if (!embedded) {
      const hash = hex(keccak256(bytes));
      must(hash === next, here, () => `hashes to ${hash}, but ${next} is what leads on`);
      must(used === 0 || bytes.length >= 32, here, "a node of less than 32 bytes, which stands in the one above");
      used += 1;
    }
    const items = rlpList(bytes, MAX_ITEMS, here);
    let child;
    if (items.length === 17) {
      for (const item of items.slice(0, 16)) must(isEmpty(item) || isChild(item), here, NO_CHILD);
      must(isEmpty(items[16]), here, "a branch with a value");
      must(at < key.length, here, "the key ends in a branch");
      child = items[key[at]];
      at += 1;
    } else {
      must(items.length === 2, here, () => `${items.length} items; a node has 2 or 17`);
      const { leaf, nibbles } = hexPrefix(items[0], here);
      must(equal(nibbles, key.slice(at, at + nibbles.length)), here, "leads to another key");
      at += nibbles.length;
      if (leaf) {
        must(at === key.length, here, "a leaf of a shorter key");
        must(used === nodes.length, `${field}[${used}]`, "a node after the leaf");
        must(!items[1].list && items[1].payload.length > 0, here, "a leaf without a value");
        return items[1].payload;
      }
      must(nibbles.length > 0, here, "an extension by nothing");
      child = items[1];
    }
    must(isChild(child), here, NO_CHILD);
    embedded = child.list ? child.raw : undefined;
    if (!embedded) next = hex(child.payload);
  }
}

const NO_CHILD = "a child is the hash of a node, or the node itself where that has less than 32 bytes";
const isEmpty = ({ list, payload }) => !list && payload.length === 0;
const isChild = ({ list, payload, raw }) => (list ? raw.length < 32 : payload.length === 32);

function hexPrefix({ list, payload }, field) {
  must(!list && payload.length > 0 && payload[0] < 0x40, field, "no hex-prefix");
  must(payload.length <= MAX_PREFIX, field, () => `a hex-prefix of more than ${MAX_PREFIX} bytes`);
  const [odd, leaf] = [(payload[0] & 0x10) !== 0, (payload[0] & 0x20) !== 0];
  must(odd || (payload[0] & 15) === 0, field, "a hex-prefix has a shorter form");
  const nibbles = Array.from(payload.subarray(1)).flatMap((byte) => [byte >> 4, byte & 15]);
  return { leaf, nibbles: odd ? [payload[0] & 15, ...nibbles] : nibbles };
}

/** The fewest bytes of a log: those of the list, the address, no topics, no data. */
const MIN_LOG = 24;

/** A proven receipt (EIP-2718), read: { type, status, gasUsed, logs: [{ address, topics, data }] }. */
export function readReceipt(bytes, field = "receipt") {
  const type = bytes[0] < 0x80 ? bytes[0] : 0;
  const items = rlpList(bytes[0] < 0x80 ? bytes.subarray(1) : bytes, 4, field);
  must(items.length === 4 && items[3].list, field, "a receipt has status, gas, bloom and logs");
  const logs = rlpList(items[3].raw, Math.floor(items[3].payload.length / MIN_LOG), `${field}.logs`).map((log, i) => {
    const here = `${field}.logs[${i}]`;
    const parts = rlpList(log.raw, 3, here);
    must(parts.length === 3 && parts[1].list && !parts[2].list, here, "a log has address, topics and data");
    return {
      address: hex(fixed(parts[0], 20, `${here}.address`)),
      topics: rlpList(parts[1].raw, 4, here).map((topic) => hex(fixed(topic, 32, `${here}.topics`))),
      data: hex(parts[2].payload),
    };
  });
  // Before Byzantium a state root stood where the status is now.
  const status = items[0].payload.length === 32 ? hex(items[0].payload) : integer(items[0], `${field}.status`);
  return { type, status, gasUsed: integer(items[1], `${field}.gas`), logs };
}

