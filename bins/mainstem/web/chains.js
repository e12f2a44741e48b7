// All chains: searched, filtered, sorted, live.

import { h, num, put, setAge, short, span } from "./dom.js";
import { get, live } from "./live.js";
import { STATES, label, pill, rank, reasonOf, setPill, stateOf } from "./states.js";
import { table } from "./table.js";

/** One name or several, with commas, as in the API. */
const names = (text) => text.split(",").filter(Boolean);
const path = (chain) => `#/chains/${encodeURIComponent(chain.chain)}`;
const lag = (chain) => chain.lag_blocks ?? Math.max(0, chain.received - chain.durable);

const COLUMNS = [
  { name: "chain", title: "Chain", sort: (chain) => chain.chain, cell: () => h("span", { class: "two" }, h("a", { class: "mono", tabindex: "-1" }), h("small", { class: "phone-only" })), update: (cell, chain) => { const [id, name] = cell.children; put(id, chain.chain); id.setAttribute("href", path(chain)); put(name, chain.name); } },
  { name: "name", title: "Name", class: "wide-only", sort: (chain) => chain.name, update: (cell, chain) => { put(cell, chain.name); cell.title = chain.name; } },
  { name: "state", title: "State", sort: (chain) => rank(stateOf(chain)), cell: () => pill("unknown"), update: (cell, chain) => setPill(cell, stateOf(chain)) },
  { name: "reason", title: "Reason", class: "soft wide-only", sort: reasonOf, update: (cell, chain) => { put(cell, reasonOf(chain)); cell.title = chain.status?.text ?? ""; } },
  { name: "received", title: "Received", class: "right wide-only", sort: (chain) => chain.received, update: (cell, chain) => put(cell, num(chain.received)) },
  { name: "durable", title: "Durable", class: "right", sort: (chain) => chain.durable, update: (cell, chain) => put(cell, num(chain.durable)) },
  { name: "lag", title: "Lag", class: "right", sort: lag, update: (cell, chain) => put(cell, num(lag(chain))) },
  { name: "seconds", title: "Lag time", class: "right wide-only", sort: (chain) => chain.lag_seconds ?? -1, update: (cell, chain) => put(cell, chain.lag_seconds >= 120 ? span(chain.lag_seconds * 1000) : typeof chain.lag_seconds === "number" ? `${short(chain.lag_seconds)} s` : "–") },
  { name: "rate", title: "Rate/s", class: "right wide-only", sort: (chain) => chain.rate ?? -1, update: (cell, chain) => put(cell, short(chain.rate)) },
  { name: "last", title: "Last block", class: "right soft wide-only", sort: (chain) => chain.last_block ?? 0, cell: () => h("time", { class: "age" }), update: (cell, chain) => { if (cell.known !== chain.last_block) { cell.known = chain.last_block; setAge(cell, chain.last_block ?? undefined, ""); } } },
];

export default function chains(page, where) {
  if (where.parts.length > 0) {
    let [leave, left] = [undefined, false];
    void import("./chain.js").then(({ default: chain }) => { if (!left) leave = chain(page, where); });
    return () => { left = true; leave?.(); };
  }
  const { query } = where;
  const view = { search: query.get("q") ?? "", state: query.get("state") ?? "", reason: query.get("reason") ?? "", name: query.get("sort")?.replace(/^-/, "") ?? "chain", down: query.get("sort")?.startsWith("-") ?? false };

  const pressed = (state) => (state ? names(view.state).includes(state) : !view.state);
  const search = h("input", { type: "search", placeholder: "Search by id, name, reason or key", "aria-label": "Search chains", value: view.search, autocomplete: "off", spellcheck: "false" });
  const reasons = h("select", { "aria-label": "Reason" }, h("option", { value: "", text: "Any reason" }));
  const chips = new Map(["", ...STATES].map((state) => {
    const count = h("b", {});
    const element = h("button", { type: "button", class: "chip", "data-state": state || undefined, "aria-pressed": String(pressed(state)) }, state && h("i", { class: "dot", "aria-hidden": "true" }), state ? label(state) : "All", count);
    element.addEventListener("click", () => { view.state = state; change(); });
    return [state, { element, count }];
  }));
  const total = h("span", { class: "total", role: "status" });
  const rows = table({
    label: "Chains", columns: COLUMNS, link: path, id: (chain) => `${chain.chain}, ${label(stateOf(chain))}`,
    onsort(name) {
      view.down = view.name === name ? !view.down : ["received", "durable", "lag", "seconds", "rate", "last"].includes(name);
      view.name = name;
      change();
    },
  });
  rows.element.classList.add("fill");
  rows.element.firstElementChild.classList.add("chains-grid");
  const reset = h("button", { type: "button", class: "button", text: "Show all chains", onclick: () => { Object.assign(view, { search: "", state: "", reason: "" }); search.value = ""; change(); search.focus(); } });
  const nothing = h("div", { class: "empty nothing", hidden: true }, h("strong", { text: "No chain is like that" }), h("p", {}, reset));
  rows.element.append(nothing);
  page.append(h("h1", { class: "unseen", text: "Chains" }),
    h("div", { class: "tools" }, search, reasons, total), h("div", { class: "chips", role: "group", "aria-label": "State" }, [...chips.values()].map(({ element }) => element)), rows.element);

  let [sortedAt, counted, order] = [0, 0, []];

  function draw({ sort = true } = {}) {
    const all = [...live.chains.values()];
    const counts = new Map();
    const known = new Set();
    for (const chain of all) {
      const state = stateOf(chain);
      counts.set(state, (counts.get(state) ?? 0) + 1);
      if (chain.status?.reason) known.add(chain.status.reason);
    }
    for (const [state, { element, count }] of chips) {
      const found = state ? counts.get(state) ?? 0 : all.length;
      put(count, num(found));
      element.hidden = state !== "" && found === 0 && !pressed(state);
      element.setAttribute("aria-pressed", String(pressed(state)));
    }
    setOptions(reasons, [...known].sort(), view.reason);

    // Rows that jump about cannot be read: while figures change, the order is made anew every two seconds at most.
    const now = performance.now();
    const moves = view.state || view.reason || !["chain", "name"].includes(view.name);
    if (sort || all.length !== counted || (moves && now - sortedAt > 2_000)) {
      [sortedAt, counted] = [now, all.length];
      const needle = view.search.trim().toLowerCase();
      order = all.filter((chain) => matches(chain, needle));
      const column = COLUMNS.find(({ name }) => name === view.name) ?? COLUMNS[0];
      const way = view.down ? -1 : 1;
      const keyed = order.map((chain) => [column.sort(chain), chain]);
      keyed.sort(([a, one], [b, other]) => way * (a < b ? -1 : a > b ? 1 : 0) || (one.chain < other.chain ? -1 : 1));
      order = keyed.map(([, chain]) => chain);
    }
    rows.sorted(view);
    rows.show(order);
    nothing.hidden = order.length > 0 || !live.chainsLoaded || all.length === 0;
    const wanted = live.status?.chains;
    put(total, !live.chainsLoaded && wanted ? `Loading ${num(all.length)} of ${num(wanted)}` : order.length === all.length ? `${num(all.length)} chains` : `${num(order.length)} of ${num(all.length)} chains`);
  }

  function matches(chain, needle) {
    if (view.state && !names(view.state).includes(stateOf(chain))) return false;
    if (view.reason && !names(view.reason).includes(reasonOf(chain))) return false;
    if (!needle) return true;
    const fields = [chain.chain, String(chain.chain_id), chain.name, reasonOf(chain), chain.speaker, chain.speaker_address, ...(chain.nodes ?? [])];
    return fields.some((field) => field?.toLowerCase().includes(needle));
  }

  /** Another view is another address, so that it can be kept and sent; it is not another page. */
  function change() {
    const next = new URLSearchParams();
    if (view.search) next.set("q", view.search);
    if (view.state) next.set("state", view.state);
    if (view.reason) next.set("reason", view.reason);
    if (view.name !== "chain" || view.down) next.set("sort", `${view.down ? "-" : ""}${view.name}`);
    history.replaceState(null, "", `#/chains${next.size ? `?${next}` : ""}`);
    rows.top();
    draw();
  }

  search.addEventListener("input", () => { view.search = search.value; change(); });
  reasons.addEventListener("change", () => { view.reason = reasons.value; change(); });
  const done = live.wantChains();
  const off = live.on("chains", () => draw({ sort: !live.chainsLoaded }));
  const stop = new AbortController();

  /** Of many chains, those in view are kept up to date more often than all of them are. */
  async function follow() {
    if (document.hidden || live.link === "lost" || live.chains.size <= 1_000) return;
    const ids = rows.inView().map(({ chain_id }) => chain_id);
    const ask = async () => {
      for (let id = ids.pop(); id !== undefined && !stop.signal.aborted; id = ids.pop()) live.take(await get(`/v1/chains/${id}`, { signal: stop.signal }));
    };
    await Promise.all([ask(), ask(), ask()]).catch(() => undefined);
  }
  let timer = setTimeout(async function again() {
    await follow();
    if (!stop.signal.aborted) timer = setTimeout(again, 1_500);
  }, 1_500);
  draw();
  if (query.has("search")) search.focus();
  return () => { stop.abort(); clearTimeout(timer); off(); done(); rows.close(); };
}

function setOptions(select, names, chosen) {
  const wanted = ["", ...new Set(chosen ? [...names, chosen] : names)];
  if ([...select.options].map(({ value }) => value).join() !== wanted.join()) {
    select.replaceChildren(...wanted.map((name) => h("option", { value: name, text: name || "Any reason" })));
  }
  select.value = chosen;
  select.hidden = wanted.length < 2;
}
