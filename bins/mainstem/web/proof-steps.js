// The steps of a proof, hash by hash, for the picture. What is right is for the verifier to say; this computes the same hashes
// without judging, so that also a proof that fails can be drawn up to the step at which it does.

import { hex, le, unhex } from "./bytes.mjs";
import { sha256 } from "./sha256.mjs";
import { foldMany, node, sides } from "./tree.mjs";
import { headerHash } from "./verify.mjs";

const hash = (tag, ...parts) => hex(sha256(Uint8Array.of(tag), ...parts));
const sideLeaf = (chain, { height, hash: own, tx_root }) => hash(0x01, le(chain, 4), le(height, 8), unhex(own), unhex(tx_root));
const chainLeaf = (chain, first, count, root) => hash(0x02, le(chain, 4), le(first, 8), le(count, 4), unhex(root));
const historyLeaf = (height, header) => hash(0x04, le(height, 8), unhex(header));

/** From `start` over the siblings of `path` to a root: [{ sibling, left, result }]. */
function climb(start, path) {
  let below = start;
  return path.map(({ hash: sibling, left }) => {
    const result = left ? node(sibling, below) : node(below, sibling);
    const step = { sibling, left, below, result };
    below = result;
    return step;
  });
}

const end = (start, steps) => steps.at(-1)?.result ?? start;

/**
 * The parts of a document, in the order in which they rest on each other. Each has `fields`, the fields of the document that it is
 * about; with a `tree` it is drawn: { start, startName, steps, root, rootName }; its `check` compares what was computed with what is
 * stated.
 */
export function partsOf(document, nameOf = String) {
  const kind = document.kind ?? "block";
  const parts = KINDS[kind](document, nameOf);
  const top = document.kind === "transaction" ? document.block : document;
  parts.push(last(top));
  return parts;
}

const KINDS = {
  block(proof, nameOf) {
    const { chain_id, block, chain, chain_path, header } = proof;
    const start = sideLeaf(chain_id, block);
    const steps = climb(start, chain_path);
    const root = end(start, steps);
    return [
      {
        fields: /^(version|chain_id|block|chain_path|chain\b(?!\.index))/, path: "chain_path", title: "Block in its chain",
        about: `Block ${block.height} of ${nameOf(chain_id)}${chain.count === 1 ? "" : `, one of ${chain.count} here`}`,
        tree: { start, startName: `Leaf of block ${block.height}`, startOf: "chain id, height, block hash, transaction root", steps, root, rootName: "Chain root" },
        note: steps.length === 0 ? "The only block of its chain here: its leaf is the chain root." : `${count(steps.length, "sibling leads", "siblings lead")} from the block to the chain root.`,
      },
      chainIn(proof, chainLeaf(chain_id, chain.first_height, chain.count, root), nameOf),
      ...history(proof, header),
    ];
  },

  chain(proof, nameOf) {
    const { chain_id, first_height, blocks, header } = proof;
    const leaves = blocks.map((block, i) => [BigInt(i), sideLeaf(chain_id, { height: first_height + BigInt(i), ...block })]);
    const root = leaves.length > 0 ? foldMany(leaves, BigInt(blocks.length), [], "blocks") : ZERO;
    return [
      { fields: /^(version|chain_id|first_height|blocks)/, title: "All blocks of the chain", about: `${nameOf(chain_id)}, ${count(blocks.length, "block")} from ${first_height} on`, value: ["Chain root", root], note: `It is the root over all ${blocks.length} leaves: no block is missing, none was added.` },
      chainIn(proof, chainLeaf(chain_id, first_height, blocks.length, root), nameOf),
      ...history(proof, header),
    ];
  },

  absence(proof, nameOf) {
    const { chain_id, before, after, header } = proof;
    const neighbour = (leaf, field, title) => {
      if (!leaf) return undefined;
      const start = chainLeaf(leaf.chain_id, leaf.first_height, leaf.count, leaf.chain_root);
      const steps = climb(start, leaf.path);
      const root = end(start, steps);
      return {
        fields: new RegExp(`^(${field}|index|version)`), path: `${field}.path`, title, about: `${nameOf(leaf.chain_id)} stands right ${field} the place of ${nameOf(chain_id)}`,
        tree: { start, startName: `Leaf of ${nameOf(leaf.chain_id)}`, startOf: "chain id, first height, count, chain root", steps, root, rootName: "Side root" },
        check: { name: "header.side_root", computed: root, stated: header.side_root },
      };
    };
    return [neighbour(before, "before", "Neighbour before"), neighbour(after, "after", "Neighbour after"), ...history(proof, header)].filter(Boolean);
  },

  consistency({ from, to, inclusion, consistency }) {
    const start = historyLeaf(from.height, headerHash(from));
    const places = from.height <= to.height ? sides(from.height - 1n, to.height - 1n) : [];
    const steps = climb(start, inclusion.map((sibling, i) => ({ hash: sibling, left: places[i] ?? false })));
    const root = end(start, steps);
    return [
      { fields: /^(from|consistency)/, title: "The earlier history", about: `All before main block ${from.height}`, note: `${count(consistency.length, "hash", "hashes")} show that the history of main block ${to.height} begins with that of ${from.height}.`, value: ["History root", from.history_root] },
      {
        fields: /^(inclusion|to)/, path: "inclusion", title: "The earlier header in the later history", about: `Main block ${from.height} in the history of ${to.height}`,
        tree: from.height < to.height ? { start, startName: `Main block ${from.height}`, startOf: "height, header hash", steps, root, rootName: "History root" } : undefined,
        check: from.height < to.height ? { name: "to.history_root", computed: root, stated: to.history_root } : undefined,
      },
    ];
  },

  blocks({ main_blocks, history: nodes, head }) {
    const parts = main_blocks.slice(0, 24).map((one, i) => ({
      fields: new RegExp(`^main_blocks\\[${i}\\]`), title: `Main block ${one.header.height}`, about: `${count(one.chains.reduce((sum, chain) => sum + chain.blocks.length, 0), "side block")} of ${count(one.chains.length, "chain")}`,
      value: ["Side root", one.header.side_root],
    }));
    if (main_blocks.length > 24) parts.push({ fields: /^main_blocks/, title: "Further main blocks", about: `${main_blocks.length - 24} more` });
    if (head) parts.push({ fields: /^(history|head)/, title: "Main blocks in history", about: `In the history of main block ${head.height}`, note: `${count(nodes.length, "hash", "hashes")} complete the tree.`, value: ["History root", head.history_root] });
    return parts;
  },

  transaction({ transaction, block: proof }, nameOf) {
    return [{ fields: /^transaction/, path: "transaction.path", title: "Transaction in its block", ...PARTS[transaction.type](transaction, proof.block) }, ...KINDS.block(proof, nameOf).map((part) => ({ ...part, fields: new RegExp(`^block\\.(?:${part.fields.source.replace(/^\^/, "")})`), path: part.path && `block.${part.path}` }))];
  },
};

const PARTS = {
  aelf({ id, path }, block) {
    const start = hex(sha256(unhex(id), new TextEncoder().encode("Mined")));
    const steps = climb(start, path);
    const root = end(start, steps);
    return { about: "An AElf transaction that was mined", tree: { start, startName: "Transaction", startOf: "transaction id, “Mined”", steps, root, rootName: "Transaction root" }, check: { name: "block.tx_root", computed: root, stated: block.tx_root } };
  },
  sim({ data, path }, block) {
    const start = hash(0x10, data);
    const steps = climb(start, path);
    const root = end(start, steps);
    return { about: `${data.length} bytes`, tree: { start, startName: "Transaction", startOf: "its data", steps, root, rootName: "Transaction root" }, check: { name: "block.tx_root", computed: root, stated: block.tx_root } };
  },
  evm: ({ index, transaction, receipt }, block) => ({ about: `Number ${index} of EVM block ${block.height}`, value: ["Receipts root", block.tx_root], note: `The block's header hashes to its block hash; ${[transaction && `${count(transaction.length, "node leads", "nodes lead")} to the transaction`, receipt && `${count(receipt.length, "node leads", "nodes lead")} to the receipt`].filter(Boolean).join(", ")}.` }),
  mainstem: ({ proof }, block) => ({ about: "Another main chain that is a side chain of this one", value: ["Its header", block.hash], note: `Holds a whole ${proof.kind ?? "block"} proof of that chain, which ends in the header that is indexed here.` }),
};

const ZERO = `0x${"00".repeat(32)}`;
const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

function chainIn({ chain_id, side_path, header }, start, nameOf) {
  const steps = climb(start, side_path);
  const root = end(start, steps);
  return {
    fields: /^(chain\.index|index|side_path|header)/, path: "side_path", title: "Chain in the main block", about: `${nameOf(chain_id)}, ${header.chain_count === 1 ? "the only chain" : `one of ${header.chain_count} chains`} in main block ${header.height}`,
    tree: { start, startName: `Leaf of ${nameOf(chain_id)}`, startOf: "chain id, first height, count, chain root", steps, root, rootName: "Side root" },
    check: { name: "header.side_root", computed: root, stated: header.side_root },
  };
}

function history({ history_path, head }, header) {
  if (!head || !history_path) return [];
  const start = historyLeaf(header.height, headerHash(header));
  const steps = climb(start, history_path);
  const root = end(start, steps);
  return [{
    fields: /^(history_path|head)/, path: "history_path", title: "Main block in history", about: `Main block ${header.height} in the history of ${head.height}`,
    tree: { start, startName: `Main block ${header.height}`, startOf: "height, header hash", steps, root, rootName: "History root" },
    check: { name: "head.history_root", computed: root, stated: head.history_root },
  }];
}

/** The header that all rests on. */
function last({ head, to, header, main_blocks }) {
  const top = head ?? to ?? header ?? main_blocks?.[0]?.header;
  return { fields: /^trusted/, title: "The header to trust", about: `Main block ${top.height}`, header: top, value: ["Header hash", headerHash(top)], trust: true };
}
