// Documents that are right, of every kind and of many shapes, each with the hash that it ends in.

import { readFileSync } from "node:fs";

import { parseJson } from "../json.mjs";
import { headerHash, parse, toJson, unhex } from "../mainstem-verify.mjs";
import { Random, World, digest, evmBlock, fabricate, node } from "./maker.mjs";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const ending = (document) => headerHash(document.head ?? document.to ?? document.header ?? document.block?.head ?? document.block?.header ?? document.main_blocks[0].header);

/** Those of the commitments, written by an independent program. */
export function commitments() {
  const { main_chain, proofs } = JSON.parse(read("../../../tests/vectors/mainstem_commitments.json"));
  return proofs.map((proof, i) => ({
    name: `commitments ${i}`,
    // Without numbers above 2^53, so that nothing is lost on the way.
    document: parse(JSON.stringify(proof)),
    json: JSON.stringify(proof),
    trusted: main_chain[(proof.head ?? proof.header).height - 1].header_hash,
  }));
}

/** Those of all kinds that all verifiers share. */
export function vectors() {
  // Among those to be refused is one with a fraction, which our own reader would refuse here already.
  const { accepted, refused } = parseJson(read("../../vectors/proofs.json").replace(/":(\d+\.\d+)/g, (_, number) => `":{"fraction":"${number}"}`));
  const text = (json) => toJson(json).replace(/{"fraction":"([^"]+)"}/g, "$1");
  return {
    accepted: accepted.map(({ name, json, binary, trusted }) => ({
      name: `vectors: ${name}`, document: parse(text(json)), json: text(json), binary: unhex(binary), trusted,
    })),
    refused: refused.map(({ name, json, binary, reason, error }) => ({ name, given: json === undefined ? unhex(binary) : text(json), reason, error })),
  };
}

/** An AElf path: a row of odd length is completed by its last node. */
export function aelfPath(index, leaves) {
  const steps = [];
  for (let row = leaves; row.length > 1 || steps.length === 0; index >>= 1) {
    if (row.length % 2) row = [...row, row.at(-1)];
    steps.push({ hash: row[index ^ 1], left: index % 2 === 1 });
    row = row.filter((_, i) => i % 2 === 0).map((left, i) => node(left, row[2 * i + 1]));
  }
  return steps;
}

const follow = (leaf, steps) => steps.reduce((below, step) => (step.left ? node(step.hash, below) : node(below, step.hash)), leaf);

function transactions(random) {
  const found = [];
  const add = (name, transaction, block, sizes, chain) =>
    found.push([name, { version: 1, kind: "transaction", transaction, block: fabricate(random, block, sizes, chain) }]);
  const sizes = { count: 5, offset: 3, chain_count: 3, index: 1, main: 6, head: 11 };

  const ids = Array.from({ length: 5 }, () => random.hash());
  const leaves = ids.map((id) => digest(id, new TextEncoder().encode("Mined")));
  ids.forEach((id, i) => {
    const path = aelfPath(i, leaves);
    const block = { height: 90n, hash: random.hash(), tx_root: follow(leaves[i], path) };
    add(`aelf ${i}`, { type: "aelf", id, path }, block, i % 2 ? sizes : { count: 1, offset: 0 });
  });

  for (const [count, index, which] of [[1, 0, {}], [3, 2, { transaction: true }], [200, 130, { transaction: true, receipt: false }], [17, 16, {}]]) {
    const { block, part } = evmBlock(random, 1234, count);
    add(`evm ${index} of ${count}`, part(index, which), block, count > 1 ? sizes : { count: 1, offset: 0 });
  }

  for (const [length, steps] of [[0, 0], [62, 3], [64, 32], [5000, 1]]) {
    const data = random.bytes(length);
    const path = Array.from({ length: steps }, () => ({ hash: random.hash(), left: random.below(2) === 1 }));
    const block = { height: 5n, hash: random.hash(), tx_root: follow(digest(Uint8Array.of(0x10), data), path) };
    add(`sim of ${length} bytes`, { type: "sim", data, path }, block, sizes);
  }

  const evm = evmBlock(random, 77, 4);
  let inner = { version: 1, kind: "transaction", transaction: evm.part(3), block: fabricate(random, evm.block, sizes) };
  for (let level = 2; level <= 9; level += 1) {
    const top = inner.block.head ?? inner.block.header;
    const block = { height: top.height, hash: headerHash(top), tx_root: top.side_root };
    const part = { type: "mainstem", proof: level === 3 ? inner.block : inner };
    const outer = level % 2 ? { count: 14, offset: 9, chain_count: 2, index: 0, main: 3 } : { ...sizes, count: 20, offset: 2 };
    inner = { version: 1, kind: "transaction", transaction: part, block: fabricate(random, block, outer, top.chain_id) };
    if (level === 3) inner.transaction.proof = found.at(-1)[1];
    found.push([`mainstem, ${level - 1} inside`, inner]);
  }
  const proof = fabricate(random, { height: 4n, hash: random.hash(), tx_root: random.hash() }, { count: 3, offset: 0, main: 9 });
  const block = { height: 9n, hash: headerHash(proof.header), tx_root: proof.header.side_root };
  add("mainstem of a block", { type: "mainstem", proof }, block, sizes, proof.header.chain_id);
  return found;
}

/** Of our own making. */
export function made() {
  const random = new Random(6);
  const plan = (at) => {
    const chains = at === 4 ? [] : [2, 5, 9, 4_294_967_295].filter((_, i) => at !== 6 || i === 1);
    return chains.map((chain, i) => [chain, Array(((at * 7 + i * 3) % 9) + 1).fill({})]);
  };
  const world = new World(plan, 13);
  const found = [
    ["block alone", world.block(2, 1)],
    ["block, next head", world.block(9, 20, 9)],
    ["block, far head", world.block(4_294_967_295, 3, 13)],
    ["block of a million", fabricate(random, { height: 5_000_000n, hash: random.hash(), tx_root: random.hash() }, { count: 1_000_000, offset: 77_777, chain_count: 10_000, index: 9_999, main: 1_234_567, head: 10_000_000 })],
    ["block at the highest height", fabricate(random, { height: (1n << 63n) - 1n, hash: random.hash(), tx_root: random.hash() }, { count: 4_294_967_295, offset: 4_294_967_294, chain_count: 4_294_967_295, index: 4_294_967_294 })],
    ["blocks of one main block", world.many({ 5: { 2: [0, 1, 3], 9: [0] } })],
    ["all blocks of one chain, as blocks", world.many({ 6: { 5: [...world.blocks[5].chains[0].blocks.keys()] } })],
    ["blocks of many main blocks", world.many({ 1: { 2: [0] }, 2: { 5: [1, 2], 9: [0, 1] }, 7: { 4294967295: [0] }, 12: { 9: [0] } }, 13)],
    ["blocks with the head among them", world.many({ 3: { 2: [0] }, 9: { 9: [0] } }, 9)],
    ["blocks of one main block, head", world.many({ 2: { 2: [4] } }, 11)],
    ["all main blocks", world.many(Object.fromEntries([1, 2, 3, 5, 7, 8, 9, 10, 11, 12].map((at) => [at, { 2: [0] }])), 13)],
    ["absence without chains", world.absence(5, 4)],
    ["absence without chains, head", world.absence(5, 4, 9)],
    ["absence before the first", world.absence(1, 3)],
    ["absence between", world.absence(7, 5, 13)],
    ["absence behind the last", world.absence(7, 6, 12)],
  ];
  for (let from = 1; from <= 13; from += 1) {
    for (let to = from; to <= 13; to += from === 1 || from === 7 ? 1 : 3) found.push([`consistency ${from} to ${to}`, world.consistency(from, to)]);
  }
  for (const at of [1, 2, 3, 6]) found.push([`chain in ${at}`, world.chain(5, at, at === 1 ? undefined : 9)]);
  found.push(...transactions(random));
  return found.map(([name, document]) => ({ name, document: parse(toJson(document)), json: toJson(document), trusted: ending(document) }));
}
