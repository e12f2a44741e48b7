// Who is connected, and who was refused and why.

import { age, bytes, h, hash, ms, num, panel, problem, put, setAge, short } from "./dom.js";
import { get, live } from "./live.js";
import { table } from "./table.js";

const chainsOf = (peer) => `${num(peer.speaks_for)} of ${num(peer.chains)}`;

const COLUMNS = [
  { name: "session", title: "Session", class: "right wide-only", sort: (peer) => peer.session, update: (cell, peer) => put(cell, peer.session) },
  { name: "key", title: "Key", sort: (peer) => peer.key, cell: () => h("code", {}), update: (cell, peer) => { put(cell, `${peer.key.slice(0, 8)}…${peer.key.slice(-4)}`); cell.title = peer.key; } },
  { name: "address", title: "Address", class: "wide-only", sort: (peer) => peer.address, update: (cell, peer) => put(cell, peer.address) },
  { name: "software", title: "Software", class: "wide-only", sort: (peer) => peer.software, update: (cell, peer) => { put(cell, peer.software || "–"); cell.title = peer.software; } },
  { name: "chains", title: "Speaks for", class: "right", sort: (peer) => peer.speaks_for, update: (cell, peer) => put(cell, chainsOf(peer)) },
  { name: "behind", title: "Behind", class: "right", sort: (peer) => peer.behind ?? -1, update: (cell, peer) => put(cell, num(peer.behind ?? undefined)) },
  { name: "blocks", title: "Blocks", class: "right wide-only", sort: (peer) => peer.blocks, update: (cell, peer) => put(cell, short(peer.blocks)) },
  { name: "bytes", title: "Bytes", class: "right wide-only", sort: (peer) => peer.bytes, update: (cell, peer) => put(cell, bytes(peer.bytes)) },
  { name: "rtt", title: "Round trip", class: "right wide-only", sort: (peer) => peer.rtt_us, update: (cell, peer) => put(cell, ms(peer.rtt_us / 1000)) },
  { name: "last", title: "Last frame", class: "right wide-only", sort: (peer) => peer.last_frame ?? 0, cell: () => h("time", { class: "age" }), update: (cell, peer) => setAge(cell, peer.last_frame ?? undefined, "") },
];

export default function peers(page, { query }) {
  const view = { name: "session", down: false, search: query.get("q") ?? "" };
  const stop = new AbortController();
  const search = h("input", { type: "search", placeholder: "Search by key, address or software", "aria-label": "Search sessions", value: view.search, autocomplete: "off", spellcheck: "false" });
  const total = h("span", { class: "total", role: "status" });
  const rows = table({
    label: "Sessions", columns: COLUMNS, rows: 14, id: (peer) => `${peer.software} at ${peer.address}`,
    onsort(name) { view.down = view.name === name ? !view.down : true; view.name = name; draw(); },
  });
  rows.element.firstElementChild.classList.add("peers-grid");
  const refused = panel("Refused", {}, h("p", { class: "missing", text: "Nobody was refused since the node was started." }));
  page.append(h("div", { class: "heading" }, h("h1", { text: "Peers" })), h("div", { class: "tools" }, search, total), rows.element, refused);
  let all = [];
  let failed;

  function draw() {
    const needle = view.search.trim().toLowerCase();
    const column = COLUMNS.find(({ name }) => name === view.name);
    const shown = all.filter((peer) => [peer.key, peer.presented, peer.address, peer.software].some((field) => field?.toLowerCase().includes(needle)));
    shown.sort((one, other) => (view.down ? -1 : 1) * (column.sort(one) < column.sort(other) ? -1 : column.sort(one) > column.sort(other) ? 1 : one.session - other.session));
    rows.sorted(view);
    rows.show(shown);
    put(total, shown.length === all.length ? `${num(all.length)} ${all.length === 1 ? "session" : "sessions"}` : `${num(shown.length)} of ${num(all.length)} sessions`);
  }

  async function ask() {
    if (document.hidden || live.link === "lost") return;
    try {
      const found = [];
      let after;
      do {
        const answer = await get(`/v1/peers?limit=1000${after === undefined ? "" : `&after=${after}`}`, { signal: stop.signal });
        found.push(...answer.peers);
        after = answer.next ?? undefined;
      } while (after !== undefined && found.length < 20_000);
      const { refusals } = await get("/v1/refusals", { signal: stop.signal });
      all = found;
      failed?.remove();
      draw();
      showRefusals(refusals);
    } catch (error) {
      if (stop.signal.aborted || error.status === 0) return;
      failed?.remove();
      failed = problem(error, "strong");
      rows.element.before(failed);
    }
  }

  let said;
  function showRefusals(refusals) {
    const now = JSON.stringify(refusals);
    if (now === said || refusals.length === 0) return;
    said = now;
    const lines = refusals.slice(0, 200).map((one) => h("tr", {},
      h("td", {}, age(one.time)), h("td", {}, hash(one.key), h("div", { class: "none", text: one.registered ? "registered" : "not registered" })), h("td", { text: one.address }),
      h("td", {}, h("code", { class: "bad-link", text: one.code }), h("div", { class: "none", text: one.count > 1 ? `${num(one.count)} times` : "" })),
      h("td", { class: "wrap" }, one.chain ? h("div", {}, "Chain ", h("a", { href: `#/chains/${encodeURIComponent(one.chain)}`, text: one.chain })) : null, h("div", { text: one.detail }), h("div", { class: "none" }, h("b", { text: "What to do: " }), one.remedy))));
    refused.replaceChildren(refused.firstElementChild, h("div", { class: "overflow", tabindex: "0", role: "region", "aria-label": "Refused" }, h("table", {}, h("thead", {}, h("tr", {}, ["When", "Key", "Address", "Refused for", "What happened"].map((title) => h("th", { scope: "col", text: title })))), h("tbody", {}, lines))));
  }

  search.addEventListener("input", () => { view.search = search.value; draw(); });
  void ask();
  const off = live.on("arrived", ask);
  const timer = setInterval(ask, 2_000);
  return () => { stop.abort(); off(); clearInterval(timer); rows.close(); };
}
