// Mainstem's trees: a node is H(left || right); split at the largest power of two below the size (RFC 9162, section
// 2.1), which is: level by level, an odd last node moves up unchanged. Hashes are texts here, indices BigInt.

import { hex, must, unhex } from "./bytes.mjs";
import { sha256 } from "./sha256.mjs";

export const node = (left, right) => hex(sha256(unhex(left), unhex(right)));

/** For each sibling on the way from leaf `index` of a tree of `size` to the root: whether it stands on the left. */
export function sides(index, size) {
  const found = [];
  for (let [at, width] = [index, index < size ? size : 0n]; width > 1n; [at, width] = [at >> 1n, (width + 1n) >> 1n]) {
    if ((at ^ 1n) < width) found.push((at & 1n) === 1n);
  }
  return found;
}

/** The root that `path` (texts) leads to from leaf `index` of a tree of `size`. */
export function fold(leaf, index, size, path, field) {
  must(index < size, field, () => `leaf ${index} of a tree of ${size}`);
  const expected = sides(index, size);
  must(path.length === expected.length, field, () =>
    `${path.length} steps; leaf ${index} of a tree of ${size} has ${expected.length}`);
  return path.reduce((below, hash, i) => (expected[i] ? node(hash, below) : node(below, hash)), leaf);
}

/** As `fold`, of a path that tells its sides: they must be the only right ones. */
export function foldSteps(leaf, index, size, steps, field) {
  const root = fold(leaf, index, size, steps.map((step) => step.hash), field);
  sides(index, size).forEach((left, i) => must(steps[i].left === left, `${field}[${i}].left`, () => `must be ${left}`));
  return root;
}

/** A path whose sides do not follow. */
export function foldFree(leaf, path) {
  must(path.length <= 32, "path", () => `${path.length} steps; at most 32`);
  return path.reduce((below, step) => (step.left ? node(step.hash, below) : node(below, step.hash)), leaf);
}

/** As `foldFree`, in AElf's tree: a sibling equal to the running hash completes an odd row, and so is on the right. */
export function foldAelf(leaf, path) {
  must(path.length <= 32, "path", () => `${path.length} steps; at most 32`);
  return path.reduce((below, step, i) => {
    must(!(step.left && step.hash === below), `path[${i}].left`, "the copy that completes an odd row stands on the right");
    return step.left ? node(step.hash, below) : node(below, step.hash);
  }, leaf);
}

/** How many nodes it takes to fold leaves of these indices (ascending) together. */
export function countMissing(indices, size) {
  let missing = 0;
  climb(indices.map((index) => [index, undefined]), size, () => (missing += 1));
  return missing;
}

/** The root over known leaves, [index, hash] by ascending index, and `nodes`, all of which are used up. */
export function foldMany(leaves, size, nodes, field) {
  let used = 0;
  const root = climb(leaves, size, (left, right) => {
    must(used < nodes.length, field, () => `${nodes.length} nodes are too few`);
    used += 1;
    return left === undefined ? node(nodes[used - 1], right) : node(left, nodes[used - 1]);
  }, node);
  must(used === nodes.length, field, () => `${nodes.length} nodes, but ${used} are needed`);
  return root;
}

/** Level by level, each from left to right. `lone(left, right)` joins a node whose sibling, the undefined one, is not known. */
function climb(leaves, size, lone, join = () => undefined) {
  let row = leaves;
  for (let width = size; width > 1n; width = (width + 1n) >> 1n) {
    const above = [];
    for (let i = 0; i < row.length; i += 1) {
      const [index, hash] = row[i];
      const sibling = index ^ 1n;
      if (sibling >= width) above.push([index >> 1n, hash]);
      else if (i + 1 < row.length && row[i + 1][0] === sibling) above.push([index >> 1n, join(hash, row[(i += 1)][1])]);
      else above.push([index >> 1n, sibling < index ? lone(undefined, hash) : lone(hash, undefined)]);
    }
    row = above;
  }
  return row[0]?.[1];
}

/**
 * How the proof of RFC 9162, section 2.1.4, that a tree of `m` leaves begins one of `n` is put together, 0 < m < n: whether it
 * begins with a hash of its own (else with the root of m), and for each further one whether it stands on the left of both trees.
 */
function consistencyShape(m, n) {
  let [first, last] = [m - 1n, n - 1n];
  while (first & 1n) [first, last] = [first >> 1n, last >> 1n];
  const own = first !== 0n;
  const lefts = [];
  for (; last > 0n; [first, last] = [first >> 1n, last >> 1n]) {
    const left = (first & 1n) === 1n || first === last;
    lefts.push(left);
    if (left) while (first !== 0n && !(first & 1n)) [first, last] = [first >> 1n, last >> 1n];
  }
  return { own, lefts };
}

/** How many hashes prove that a tree of `m` leaves begins one of `n`, m <= n. */
export function consistencyLength(m, n) {
  if (m === 0n || m === n) return 0;
  const { own, lefts } = consistencyShape(m, n);
  return lefts.length + (own ? 1 : 0);
}

/** Checks that the tree of `m` leaves with root `rootM` begins that of `n` leaves with `rootN`, m < n. */
export function verifyConsistency(m, n, rootM, rootN, hashes, field) {
  const expected = consistencyLength(m, n);
  must(hashes.length === expected, field, () => `${hashes.length} hashes; of ${m} leaves in ${n} there are ${expected}`);
  if (m === 0n) return;
  const { own, lefts } = consistencyShape(m, n);
  const rest = own ? hashes.slice(1) : hashes;
  let [small, large] = own ? [hashes[0], hashes[0]] : [rootM, rootM];
  lefts.forEach((left, i) => {
    if (left) small = node(rest[i], small);
    large = left ? node(rest[i], large) : node(large, rest[i]);
  });
  must(small === rootM, field, () => `leads to ${small}, but from.history_root is ${rootM}`);
  must(large === rootN, field, () => `leads to ${large}, but to.history_root is ${rootN}`);
}
