// The JSON form of documents (docs/protocol.md, section "Proofs"): what each has, and nothing else.
//
// A document, once read, is what its JSON is: hashes are lower-case texts, u16 and u32 are Number, u64 are BigInt, other
// bytes are Uint8Array, what is not there is undefined,
// and what is null in a field that must be there is null.

import { ProofError, hex, must, unhex } from "./bytes.mjs";

const integer = (bits) => (value, field) => {
  const right = typeof value === "bigint" && value >= 0n && value < 1n << BigInt(bits);
  must(right, field, `expected an integer of ${bits} bits`);
  return bits === 64 ? value : Number(value);
};
const [u16, u32, u64] = [integer(16), integer(32), integer(64)];

const boolean = (value, field) => {
  must(typeof value === "boolean", field, "expected true or false");
  return value;
};

const bytes = (value, field) => {
  const read = unhex(value);
  must(read !== undefined, field, "expected 0x and hex digits");
  return read;
};

const hash = (value, field) => {
  const read = bytes(value, field);
  must(read.length === 32, field, "expected 0x and 64 hex digits");
  return hex(read);
};

const exactly = (text) => (value, field) => {
  must(value === text, field, `expected ${JSON.stringify(text)}`);
  return value;
};

const list = (item) => (value, field) => {
  must(Array.isArray(value), field, "expected a list");
  return value.map((each, i) => item(each, `${field}[${i}]`));
};

/** A field that may be left out, and is not null: no document has two forms. */
const optional = (item) => Object.assign((value, field) => item(value, field), { optional: true });

/** A field that must be there, and may be null. */
const nullable = (item) => (value, field) => (value === null ? null : item(value, field));

const object = (fields) => (value, field) => {
  const right = value !== null && typeof value === "object" && !Array.isArray(value);
  must(right, field || "document", "expected an object");
  const at = (name) => (field ? `${field}.${name}` : name);
  for (const name of Object.keys(value)) must(Object.hasOwn(fields, name), at(name), "no such field");
  const read = {};
  for (const [name, item] of Object.entries(fields)) {
    const given = Object.hasOwn(value, name);
    must(given || item.optional, at(name), "missing");
    read[name] = given ? item(value[name], at(name)) : undefined;
  }
  return read;
};

const header = object({
  version: u16, chain_id: u32, height: u64, time: u64, parent: hash, side_root: hash, chain_count: u32,
  leaf_count: u64, ops_root: hash, state_root: hash, history_root: hash, aelf_root: hash,
});
const steps = list(object({ hash, left: boolean }));
const block = object({ height: u64, hash, tx_root: hash });
const history = { header, history_path: optional(steps), head: optional(header) };

const blockProof = object({
  version: u16, chain_id: u32, block, chain_path: steps,
  chain: object({ first_height: u64, count: u32, index: u32 }), side_path: steps, ...history,
});

const parts = {
  aelf: object({ type: exactly("aelf"), id: hash, path: steps }),
  evm: object({
    type: exactly("evm"), header: bytes, index: u32, transaction: optional(list(bytes)), receipt: optional(list(bytes)),
  }),
  sim: object({ type: exactly("sim"), data: bytes, path: steps }),
  mainstem: object({ type: exactly("mainstem"), proof: (value, field) => document(value, field) }),
};

const transactionPart = (value, field) => {
  const type = value?.type;
  must(typeof type === "string" && Object.hasOwn(parts, type), `${field}.type`, "expected aelf, evm, sim or mainstem");
  return parts[type](value, field);
};

const chainLeaf = object({ chain_id: u32, first_height: u64, count: u32, chain_root: hash, path: steps });

const kinds = {
  transaction: { transaction: transactionPart, block: blockProof },
  blocks: {
    main_blocks: list(object({
      header,
      chains: list(object({
        chain_id: u32, first_height: u64, count: u32, index: u32, blocks: list(block), nodes: list(hash),
      })),
      nodes: list(hash),
    })),
    history: optional(list(hash)),
    head: optional(header),
  },
  consistency: { from: header, to: header, consistency: list(hash), inclusion: list(hash) },
  chain: {
    chain_id: u32, first_height: u64, blocks: list(object({ hash, tx_root: hash })), index: u32, side_path: steps, ...history,
  },
  absence: { chain_id: u32, index: u32, before: nullable(chainLeaf), after: nullable(chainLeaf), ...history },
};

/** A document from the value that its JSON has. */
export function document(value, field = "") {
  const kind = value?.kind;
  if (kind === undefined) return blockProof(value, field);
  const known = typeof kind === "string" && Object.hasOwn(kinds, kind);
  if (!known) throw new ProofError(field ? `${field}.kind` : "kind", `expected ${Object.keys(kinds).join(", ")}, or none at all`);
  return object({ version: u16, kind: exactly(kind), ...kinds[kind] })(value, field);
}
