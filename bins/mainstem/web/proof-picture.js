// Draws the parts of a proof: each a path from a leaf down to its root, with the siblings that the proof gives beside it.

import { clip, facts, h, s, stamp } from "./dom.js";

const [WIDTH, LEVEL, BOX, TALL] = [320, 48, 138, 28];
const [LEFT, RIGHT, MIDDLE] = [BOX / 2 + 2, WIDTH - BOX / 2 - 2, WIDTH / 2];

const SIGN = { good: "✓", bad: "✕", idle: "·", open: "?" };

/** `outcomes[i]` is good, bad, open or idle (after what failed); `failed` says what is wrong with part `at`, step `step`. */
export function picture(parts, outcomes, failed) {
  const inspect = h("p", { class: "inspect" }, "Point at a hash, or reach it by Tab and the arrow keys, to see the whole of it.");
  const tell = (name, value) => {
    // From now on it stays in view.
    inspect.classList.add("used");
    inspect.replaceChildren(`${name} `, h("code", { text: value }));
  };
  const cards = parts.map((part, i) => card(part, i, outcomes[i], failed?.at === i ? failed : undefined, tell));
  return h("div", { class: "page" }, h("div", { class: "picture" }, cards), inspect);
}

function card(part, i, outcome, failed, tell) {
  const { tree, check, note, value, header } = part;
  const wrong = outcome === "bad" && check && check.computed !== check.stated;
  const body = [];
  if (tree) body.push(drawn(tree, { failed, wrong }, tell));
  if (value) body.push(h("p", { class: "check" }, `${value[0]} `, h("code", { class: "whole", text: value[1] })));
  if (header) body.push(facts([["Height", String(header.height)], ["Time", stamp(Number(header.time))], ["Side blocks", String(header.leaf_count)], ["Chains", String(header.chain_count)]], { class: "facts list tight" }));
  if (outcome === "open") body.push(h("p", { class: "check", text: "Compared with nothing yet." }));
  if (header && outcome === "good") body.push(h("p", { class: "check" }, h("b", { text: "✓ " }), part.under));
  if (note) body.push(h("p", { class: "check", text: note }));
  if (check && outcome !== "idle") body.push(h("p", { class: `check${wrong ? " bad" : ""}` }, ...(wrong
    ? [h("b", { text: "✕ " }), "computed ", h("code", { text: clip(check.computed), title: check.computed }), `, but ${check.name} is `, h("code", { text: clip(check.stated), title: check.stated })]
    : [h("b", { text: check.computed === check.stated ? "✓ " : "" }), `computed = ${check.name}`])));
  if (failed && !wrong) body.push(h("p", { class: "check bad" }, h("b", { text: "✕ " }), failed.message));
  return h("article", { class: "part", "data-outcome": outcome, "aria-label": `${part.title}: ${{ good: "right", bad: "wrong", idle: "not reached", open: "not compared" }[outcome]}` },
    h("header", {}, h("b", { text: SIGN[outcome], "aria-hidden": "true" }), h("h3", { text: part.title }), h("p", { text: part.about })), ...body);
}

function drawn({ start, startName, startOf, steps, root, rootName }, { failed, wrong }, tell) {
  const top = 34;
  const height = top + steps.length * LEVEL + TALL + (steps.length > 0 ? 18 : 4);
  // The running hash stands where its sibling does not; the root in the middle.
  const place = (i) => (i >= steps.length ? MIDDLE : steps[i].left ? RIGHT : LEFT);
  const y = (i) => top + i * LEVEL;
  const edges = [];
  const boxes = [];
  steps.forEach(({ sibling, left, below }, i) => {
    const other = left ? LEFT : RIGHT;
    const broken = failed?.step === i;
    edges.push(edge(other, y(i), place(i + 1), y(i + 1), ""), edge(place(i), y(i), place(i + 1), y(i + 1), "run"));
    boxes.push(box(other, y(i), sibling, `given${broken ? " wrong" : ""}`, `Sibling on the ${left ? "left" : "right"}, given by the proof:`, tell));
    boxes.push(box(place(i), y(i), below, i === 0 ? "from" : "run", i === 0 ? `${startName}, hash of ${startOf}:` : "Computed, hash of the two above:", tell));
  });
  const last = steps.length === 0 ? `${startName}, hash of ${startOf}; the root:` : `${rootName}, computed:`;
  boxes.push(box(MIDDLE, y(steps.length), root, wrong ? "root wrong" : "root", last, tell));
  const names = [name(place(0), y(0) - 22, startName)];
  if (steps.length > 0) names.push(name(MIDDLE, y(steps.length) + 24, rootName));
  const tree = s("svg", { class: "tree", viewBox: `0 0 ${WIDTH} ${height}`, role: "group", "aria-label": `${startName}: ${steps.length} steps to the ${rootName}` }, edges, names, boxes);
  rove(tree, boxes);
  return tree;
}

function edge(x, y, toX, toY, kind) {
  const [from, to] = [y + TALL / 2, toY - TALL / 2];
  const middle = (from + to) / 2;
  return s("path", { class: `edge ${kind}`, d: `M${x} ${from}C${x} ${middle} ${toX} ${middle} ${toX} ${to}` });
}

function box(x, y, value, kind, label, tell) {
  const group = s("g", { class: kind, tabindex: "-1", role: "img", "aria-label": `${label} ${value}` },
    s("title", { text: `${label}\n${value}` }),
    s("rect", { class: "box", x: x - BOX / 2, y: y - TALL / 2, width: BOX, height: TALL, rx: 7 }),
    s("text", { x, y, text: clip(value) }));
  group.addEventListener("focus", () => tell(label, value));
  group.addEventListener("pointerenter", () => tell(label, value));
  group.addEventListener("click", () => group.focus());
  return group;
}

const name = (x, y, text) => s("text", { class: "name", x, y, text });

/** One stop for Tab; the arrow keys go from hash to hash. */
function rove(tree, boxes) {
  boxes[0].setAttribute("tabindex", "0");
  tree.addEventListener("keydown", (event) => {
    const at = boxes.indexOf(document.activeElement);
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const next = boxes[at + by];
    if (at < 0 || !next) return;
    boxes[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
    event.preventDefault();
  });
}
