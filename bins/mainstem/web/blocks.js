// Main blocks: the newest ones as they come, and each by itself.

import { age, facts, h, hash, known, num, panel, problem, put, setAge, short, stamp, whole } from "./dom.js";
import { get, live } from "./live.js";
import { table } from "./table.js";

const NEWEST = 40;

export default function blocks(page, { parts }) {
  return parts[0] ? block(page, parts[0]) : list(page);
}

function list(page) {
  const body = h("tbody", {});
  const jump = h("input", { type: "search", inputmode: "numeric", placeholder: "Height", "aria-label": "Go to main block of height" });
  page.append(
    h("div", { class: "heading" }, h("h1", { text: "Main blocks" }), h("form", { class: "end", onsubmit: (event) => { event.preventDefault(); const height = jump.value.replace(/[^0-9]/g, ""); if (height) window.location.hash = `#/blocks/${height}`; } }, jump, h("button", { class: "button", text: "Go" }))),
    h("section", { class: "panel overflow", tabindex: "0", "aria-label": "Newest main blocks" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "Height" }), h("th", { scope: "col", class: "wide-only", text: "Side root" }), h("th", { scope: "col", class: "right", text: "Chains" }), h("th", { scope: "col", class: "right", text: "Side blocks" }), h("th", { scope: "col", class: "right", text: "Interval" }), h("th", { scope: "col", class: "right", text: "Age" }))), body)));
  const stop = new AbortController();
  let busy = false;

  /** The headers above those that are shown, or the newest ones. */
  async function more() {
    if (busy || document.hidden || !live.head) return;
    busy = true;
    try {
      const shown = Number(body.rows[0]?.dataset.height ?? 0);
      const head = live.head.height;
      const first = live.status?.first_block ?? 1;
      const from = Math.max(first, head - NEWEST + 1, shown > head ? 1 : shown + 1);
      if (from <= head) {
        const { headers } = await get(`/v1/headers?from=${from}&limit=${NEWEST}`, { signal: stop.signal });
        if (shown > head || from > shown + 1) body.replaceChildren();
        for (const header of headers) {
          const before = body.rows[0];
          const took = before && header.height === Number(before.dataset.height) + 1 ? header.time - Number(before.dataset.time) : undefined;
          body.prepend(h("tr", { "data-height": header.height, "data-time": header.time },
            h("td", {}, h("a", { href: `#/blocks/${header.height}`, text: num(header.height) })), h("td", { class: "wide-only" }, hash(header.side_root)), h("td", { class: "right", text: num(header.chain_count) }), h("td", { class: "right", text: num(header.leaf_count) }),
            h("td", { class: "right", text: known(took) ? `${num(took)} ms` : "–" }), h("td", { class: "right" }, age(header.time, ""))));
        }
        while (body.rows.length > NEWEST) body.lastElementChild.remove();
      }
    } catch {
      // The link shows what is wrong; the next head asks again.
    }
    setTimeout(() => { busy = false; }, 900);
  }

  void more();
  const off = [live.on("head", more), live.on("arrived", more)];
  const timer = setInterval(more, 1_000);
  return () => { stop.abort(); clearInterval(timer); off.forEach((end) => end()); };
}

/** What each field of a header is. */
const FIELDS = [
  ["height", "Height"], ["time", "Time"], ["chain_id", "Main chain"], ["version", "Version"], ["leaf_count", "Side blocks"], ["chain_count", "Chains"],
  ["parent", "Parent", "Hash of the header before"], ["side_root", "Side root", "Over the chains in this block"], ["history_root", "History root", "Over all main blocks before this one"],
  ["state_root", "State root", "Over all chains and their indexed heights"], ["ops_root", "Operations root", "Over the operations in this block"], ["aelf_root", "AElf root", "The side root as AElf's contracts know it"],
];

function block(page, wanted) {
  const stop = new AbortController();
  let rows;
  const load = async () => {
    try {
      const found = await get(`/v1/blocks/${encodeURIComponent(wanted)}`, { signal: stop.signal });
      rows?.close();
      rows = show(page, found);
      void phases(page, found.header.height, stop.signal);
    } catch (error) {
      if (!stop.signal.aborted) page.replaceChildren(h("p", { class: "crumbs" }, h("a", { href: "#/blocks", text: "Main blocks" })), problem(error));
    }
  };
  void load();
  const off = live.on("arrived", () => { if (!rows) void load(); });
  return () => { stop.abort(); off(); rows?.close(); };
}

function show(page, { hash: own, header, chains, operations }) {
  const { height } = header;
  const value = (name) => {
    const given = header[name];
    if (name === "time") return stamp(given);
    if (name === "parent" && height > 1) return h("a", { href: `#/blocks/${height - 1}` }, whole(given));
    return typeof given === "string" ? (/^0x0+$/.test(given) ? h("span", { class: "none", text: "none" }) : whole(given)) : name === "chain_id" ? String(given) : num(given);
  };
  const at = (chain) => `#/chains/${encodeURIComponent(chain.chain)}`;
  const rows = table({
    label: "Chains in this main block", link: at, rows: 14, id: (chain) => chain.chain,
    columns: [
      { title: "Chain", cell: () => h("a", { class: "mono", tabindex: "-1" }), update: (cell, chain) => { put(cell, chain.chain); cell.href = at(chain); } },
      { title: "Blocks", update: (cell, { first_height, count }) => put(cell, count === 1 ? num(first_height) : `${num(first_height)} – ${num(first_height + count - 1)}`) },
      { title: "Count", class: "right", update: (cell, chain) => put(cell, num(chain.count)) },
      { title: "Chain root", class: "wide-only", cell: () => h("code", {}), update: (cell, chain) => { put(cell, `${chain.chain_root.slice(0, 14)}…${chain.chain_root.slice(-8)}`); cell.title = chain.chain_root; } },
      { title: "Proof", unseen: true, class: "right", cell: () => h("a", { text: "Prove", tabindex: "-1" }), update: (cell, chain) => { cell.href = `#/proof/${encodeURIComponent(chain.chain)}/${chain.first_height}`; } },
    ],
  });
  rows.element.firstElementChild.classList.add("block-grid");
  page.replaceChildren(
    h("p", { class: "crumbs" }, h("a", { href: "#/blocks", text: "Main blocks" }), ` / ${num(height)}`),
    h("div", { class: "heading" }, h("h1", { text: `Main block ${num(height)}` }), h("small", {}, hash(own)), h("small", {}, age(header.time)),
      h("div", { class: "end" },
        h("a", { class: "button", href: `#/blocks/${height - 1}`, "aria-label": "Previous main block", text: "←", "aria-disabled": String(height <= 1) }),
        h("a", { class: "button", href: `#/blocks/${height + 1}`, "aria-label": "Next main block", text: "→" }))),
    h("div", { class: "columns even top" },
      panel("Header", {}, facts([["Hash", whole(own)], ...FIELDS.filter(([name]) => name in header).map(([name, title, about]) => [title, value(name), about])], { class: "facts list" })),
      h("div", { class: "page" }, h("section", { class: "panel" }, h("h2", { text: `Chains in it: ${num(chains.length)}` }), rows.element),
        operations?.length ? panel("Operations", {}, h("ol", { class: "timeline" }, operations.map((operation) => h("li", {}, h("i", { class: "dot", "aria-hidden": "true" }), h("code", { class: "whole", text: JSON.stringify(operation) }))))) : null,
        h("div", { id: "phases" }))),
  );
  rows.show(chains);
  return rows;
}

/** Where the time went, while the node still knows. */
async function phases(page, height, signal) {
  let trace;
  try {
    trace = await get(`/v1/trace/blocks/${height}`, { signal });
  } catch {
    return;
  }
  const place = page.querySelector("#phases");
  const steps = (trace.phases ?? []).filter((phase) => known(phase.end_us ?? phase.at_us));
  if (!place || steps.length === 0) return;
  const start = Math.min(...steps.map((phase) => phase.start_us ?? phase.at_us));
  const end = Math.max(...steps.map((phase) => phase.end_us ?? phase.at_us));
  const lines = steps.map((phase) => {
    const from = phase.start_us ?? phase.at_us;
    const to = phase.end_us ?? phase.at_us;
    const bar = h("i", {});
    bar.style.marginLeft = `${Math.min(99.4, ((from - start) / Math.max(1, end - start)) * 100)}%`;
    bar.style.width = `${((to - from) / Math.max(1, end - start)) * 100}%`;
    return h("div", {}, h("span", { text: phase.name }), h("span", { class: "track" }, bar), h("strong", { class: "right", text: `${short((to - from) / 1000)} ms` }));
  });
  place.replaceChildren(panel("Where the time went", {}, h("div", { class: "waterfall" }, lines)));
}
