// The frame around the pages: which one is shown, how the node is reached, and what the keys do.

import { h, put } from "./dom.js";
import { live } from "./live.js";
import overview from "./overview.js";

/** By the first part of the location hash. Pages but the first are loaded when they are opened. */
const PAGES = {
  "": { title: "Overview", load: async () => overview },
  chains: { title: "Chains", load: () => import("./chains.js").then((module) => module.default) },
  blocks: { title: "Blocks", load: () => import("./blocks.js").then((module) => module.default) },
  proof: { title: "Proofs", load: () => import("./proof.js").then((module) => module.default) },
  peers: { title: "Peers", load: () => import("./peers.js").then((module) => module.default) },
};

const main = document.getElementById("main");
let [leave, shown] = [undefined, 0];

/** `#/chains/tDVV?x=1` as its parts and its parameters. */
function location() {
  const [path, query = ""] = window.location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** A page is a function: it gets the element to fill and where we are, and gives what ends it. */
async function show() {
  const turn = (shown += 1);
  const { parts, query } = location();
  const page = PAGES[parts[0] ?? ""];
  let open;
  try {
    open = page && await page.load();
  } catch (error) {
    return fill(h("div", { class: "empty" }, h("h1", { text: "This page could not be loaded" }), h("p", { text: String(error.message) })));
  }
  if (turn !== shown) return;
  leave?.();
  leave = undefined;
  for (const link of document.querySelectorAll("#pages a")) {
    const here = link.getAttribute("href") === `#/${parts[0] ?? ""}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!open) return fill(h("div", { class: "empty" }, h("h1", { text: "There is no such page" }), h("p", {}, h("a", { href: "#/", text: "Overview" }))));
  document.title = [...parts.slice(1), page.title, "Mainstem"].join(" · ");
  const element = h("div", { class: "page", "data-page": parts[0] || "overview" });
  fill(element);
  leave = open(element, { parts: parts.slice(1), query });
  if (turn > 1) {
    window.scrollTo(0, 0);
    // Whoever reads with a screen reader or the keyboard goes on from the new page.
    main.focus({ preventScroll: true });
  }
}

const fill = (element) => main.replaceChildren(element);

// How the node is reached.

const LINK = {
  connecting: ["Connecting", ""],
  live: ["Live", "New figures come as they are made"],
  polling: ["Polling", "The node sends no events: it is asked once a second"],
  lost: ["Not reachable", ""],
};
const [link, banner] = [document.getElementById("link"), document.getElementById("banner")];
let lostSince;

function showLink(state) {
  const [text, usual] = LINK[state];
  const title = state === "polling" && live.crowded ? "The node has no room for another stream of events (api.max_streams): it is asked once a second" : usual;
  link.dataset.state = state;
  link.title = title;
  put(link.lastElementChild, text);
  lostSince = state === "lost" ? lostSince ?? Date.now() : undefined;
  banner.hidden = state !== "lost";
  document.body.classList.toggle("stale", state === "lost");
  if (state === "lost") put(banner, `The node at ${window.location.host} is not reachable. What you see is as it was; the dashboard goes on by itself as soon as the node answers.`);
}

// Colours.

function switchTheme() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("mainstem.theme", next);
  } catch {
    // It holds until the page is loaded again.
  }
  window.dispatchEvent(new Event("themechange"));
}

// Keys.

const KEYS = [
  ["g o", "Overview"], ["g c", "Chains"], ["g b", "Blocks"], ["g p", "Proofs"], ["g n", "Peers (nodes)"],
  ["/", "Search chains"], ["j  k", "Next, previous row"], ["Enter", "Open the row"], ["Esc", "Leave the field"], ["t", "Dark or light"], ["?", "This help"],
];
const GO = { o: "#/", c: "#/chains", b: "#/blocks", p: "#/proof", n: "#/peers" };
let going = 0;

const help = document.getElementById("help");
help.append(
  h("h2", { id: "help-title", text: "Keyboard" }),
  h("dl", { class: "keys" }, KEYS.map(([keys, what]) => h("div", {}, h("dt", {}, keys.split(" ").filter(Boolean).map((key) => h("kbd", { text: key }))), h("dd", { text: what })))),
  h("form", { method: "dialog" }, h("button", { class: "button", text: "Close" })),
);

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const target = event.target;
  const typing = target.closest?.("input, textarea, select");
  if (event.key === "Escape" && typing) return target.blur();
  if (typing) return;
  const went = going;
  going = 0;
  if (went && performance.now() - went < 1500 && GO[event.key]) window.location.hash = GO[event.key];
  else if (event.key === "g") going = performance.now();
  else if (event.key === "t") switchTheme();
  else if (event.key === "?") help.showModal();
  else if (event.key === "/") {
    event.preventDefault();
    const search = main.querySelector("input[type=search]");
    if (search) search.select();
    else window.location.hash = "#/chains?search";
  } else return;
  event.preventDefault();
}

document.addEventListener("keydown", key);
document.getElementById("theme").addEventListener("click", switchTheme);
document.getElementById("keys").addEventListener("click", () => help.showModal());
help.addEventListener("click", (event) => { if (event.target === help) help.close(); });
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
window.addEventListener("hashchange", show);
live.on("link", showLink);
live.on("status", ({ main_chain }) => {
  if (main_chain?.chain) put(document.getElementById("main-chain"), main_chain.chain);
});
live.start();
void show();
