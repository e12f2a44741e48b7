// Trees and AElf's leaves against the vectors that Rust is held against, too.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { hex } from "../bytes.mjs";
import { ProofError, parse, toJson, verify } from "../mainstem-verify.mjs";
import { sha256 } from "../sha256.mjs";
import { fold, foldAelf, foldMany, foldSteps, verifyConsistency } from "../tree.mjs";
import { aelfPath } from "./cases.mjs";
import { Random, ZERO, consistency, fabricate, missing } from "./maker.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}`, import.meta.url), "utf8"));
/** In both files, leaf `i` is the SHA-256 of `i` in decimal digits. */
const leaves = (count) => Array.from({ length: count }, (_, i) => hex(sha256(new TextEncoder().encode(String(i)))));
/** AElf writes hashes without 0x. */
const bare = (text) => `0x${text}`;
const steps = (path) => path.map(({ hash, is_left_child_node }) => ({ hash: bare(hash), left: is_left_child_node }));

const { trees } = read("mainstem_commitments.json");

test("all leaves of a tree fold to its root", () => {
  assert.equal(trees.length, 15);
  for (const { n, root } of trees) assert.equal(foldMany(leaves(n).map((leaf, i) => [BigInt(i), leaf]), BigInt(n), [], "nodes"), root);
});

test("every path leads to the root from its own place", () => {
  let tried = 0;
  for (const { n, root, paths } of trees) {
    const all = leaves(n);
    for (const [index, path] of Object.entries(paths)) {
      const at = (steps, index) => foldSteps(all[index], BigInt(index), BigInt(n), steps, "path");
      assert.equal(at(path, index), root, `${index} of ${n}`);
      assert.equal(fold(all[index], BigInt(index), BigInt(n), path.map(({ hash }) => hash), "path"), root);
      path.forEach(({ hash, left }, i) => assert.throws(() => at(path.with(i, { hash, left: !left }), index), { field: `path[${i}].left` }));
      assert.throws(() => at([...path, { hash: ZERO, left: false }], index), { field: "path" });
      tried += 1;
    }
  }
  assert.equal(tried, 42);
});

test("several leaves fold together to the root", () => {
  for (const { n, root, paths } of trees) {
    const all = leaves(n);
    const indices = Object.keys(paths).map(Number).sort((a, b) => a - b);
    const nodes = missing(indices, all);
    const known = indices.map((index) => [BigInt(index), all[index]]);
    assert.equal(foldMany(known, BigInt(n), nodes, "nodes"), root, `${indices} of ${n}`);
    known[0] = [known[0][0], ZERO];
    assert.notEqual(foldMany(known, BigInt(n), nodes, "nodes"), root, "another leaf");
  }
});

test("each tree begins each larger one", () => {
  for (const [at, large] of trees.entries()) {
    const all = leaves(large.n);
    for (const small of trees.slice(0, at)) {
      const hashes = consistency(small.n, all);
      const check = (before, after) => verifyConsistency(BigInt(small.n), BigInt(large.n), before, after, hashes, "consistency");
      check(small.root, large.root);
      assert.throws(() => check(ZERO, large.root), ProofError);
      assert.throws(() => check(small.root, ZERO), ProofError);
    }
  }
});

test("paths of AElf lead to the root that AElf says", () => {
  for (const { n, aelf_root } of trees) {
    const all = leaves(n);
    for (const index of [0, n >> 1, n - 1]) assert.equal(foldAelf(all[index], aelfPath(index, all)), aelf_root, `${index} of ${n}`);
  }
  let tried = 0;
  for (const { leaf_count, root, paths } of read("aelf_gen_merkle.json").cases) {
    const all = leaves(leaf_count);
    for (const { index, path } of paths) {
      const given = steps(path);
      assert.deepEqual(given, aelfPath(index, all), `${index} of ${leaf_count}`);
      assert.equal(foldAelf(all[index], given), bare(root), `${index} of ${leaf_count}`);
      given.reduce((below, step, i) => {
        // The same root is reached from the place of a copy, where nothing stands.
        if (step.hash === below) assert.throws(() => foldAelf(all[index], given.with(i, { ...step, left: true })), { field: `path[${i}].left` });
        return foldAelf(below, [step]);
      }, all[index]);
      tried += 1;
    }
  }
  assert.equal(tried, 173);
});

test("only a mined transaction of AElf is proven, by the leaf that AElf says", () => {
  const file = read("aelf_gen_tx_status_leaf.json");
  const random = new Random(5);
  const proven = (id, path, tx_root) => {
    const block = fabricate(random, { height: 4n, hash: random.hash(), tx_root }, { count: 3, offset: 1 });
    const document = { version: 1, kind: "transaction", transaction: { type: "aelf", id, path }, block };
    try {
      return verify(parse(toJson(document))).claim.id === id;
    } catch (error) {
      assert.equal(error.field, "transaction.path");
      return false;
    }
  };
  // Of a tree with but this leaf: without a path, the root is the leaf.
  for (const { transaction_id, status, leaf } of file.leaves) {
    assert.equal(proven(bare(transaction_id), [], bare(leaf)), status === "Mined", status);
  }
  const { transactions, root, paths } = file.block;
  transactions.forEach(({ transaction_id, status }, i) =>
    assert.equal(proven(bare(transaction_id), steps(paths[i]), bare(root)), status === "Mined", status));
  assert(file.leaves.some(({ status }) => status === "Mined") && transactions.some(({ status }) => status !== "Mined"));
});
