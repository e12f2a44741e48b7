// The proof explorer: asks for a proof or takes one, verifies it here in the browser, and shows how.

import { facts, h, hash, num, panel, stamp, whole } from "./dom.js";
import { get, live } from "./live.js";
import { picture } from "./proof-picture.js";
import { partsOf } from "./proof-steps.js";
import { MAX_BYTES, ProofError, parse, toJson, verify } from "./verify.mjs";

/** A hash that was entered to be trusted holds for the next proofs too, as long as this page is open. */
let trustedText = "";

export default function proof(page, { parts, query }) {
  const input = (props) => h("input", { autocomplete: "off", spellcheck: "false", ...props });
  const chain = input({ name: "chain", required: true, placeholder: "tDVV", value: parts[0] ?? "" });
  const height = input({ name: "height", inputmode: "numeric", pattern: "[0-9]+", required: true, placeholder: "1", value: parts[1] ?? "" });
  const head = input({ name: "head", placeholder: "newest", value: query.get("head") ?? "", title: "The later main block that the proof leads on to: a height, “newest”, or “none” for its own main block" });
  const trusted = input({ name: "trusted", class: "mono", placeholder: "0x…", value: trustedText, "aria-describedby": "trust-about" });
  const paste = h("textarea", { name: "document", spellcheck: "false", placeholder: '{"version":1,…}', "aria-label": "Proof, as JSON" });
  const file = h("input", { type: "file", class: "unseen", tabindex: "-1", "aria-hidden": "true" });
  const field = (title, element, more) => h("label", { class: `field ${more ?? ""}` }, title, element);
  const out = h("div", { class: "page", "aria-live": "polite" });
  const drop = h("div", { class: "drop" }, field("Proof of any kind: paste its JSON, or drop a file of either form here", paste, "long"));

  const ask = h("form", {}, field("Chain", chain), field("Height", height), field("Leads on to main block", head), h("button", { class: "button primary", text: "Prove" }));
  const check = h("form", {}, drop, h("button", { class: "button primary", text: "Verify" }), h("button", { type: "button", class: "button", text: "Open a file", onclick: () => file.click() }), file);
  page.append(h("h1", { text: "Proofs" }),
    h("div", { class: "ask" }, panel("Prove a side block", {}, ask, h("div", { class: "trust" }, field("Hash of the header that you trust, for any proof", trusted, "long"), h("p", { class: "missing", id: "trust-about", text: "With one that you have from elsewhere, you need to believe nobody here. Left empty, proofs are held against this node's main chain." }))), panel("Verify a proof that you have", {}, check)),
    out);

  let [given, turn] = [undefined, 0];

  async function show() {
    if (given === undefined) return;
    const mine = (turn += 1);
    trustedText = trusted.value.trim();
    const found = await judge(given, trustedText);
    if (mine === turn) out.replaceChildren(...view(found));
  }

  async function fetchProof() {
    const [name, at] = [encodeURIComponent(chain.value.trim()), height.value.trim()];
    const wanted = head.value.trim();
    const mine = (turn += 1);
    history.replaceState(null, "", `#/proof/${name}/${at}${wanted ? `?head=${encodeURIComponent(wanted)}` : ""}`);
    out.replaceChildren(h("p", { class: "empty", text: "Asking for the proof" }));
    try {
      let to = wanted;
      if (wanted === "" || wanted === "newest") to = (await get("/v1/blocks/latest")).header.height;
      let text;
      const own = `/v1/proofs/${name}/${encodeURIComponent(at)}`;
      if (to === "none") text = await get(own, { text: true });
      else {
        try {
          text = await get(`${own}?head=${encodeURIComponent(to)}`, { text: true });
        } catch (error) {
          // The newest main block may be the one that holds it, which leads on to none.
          if (wanted !== "" && wanted !== "newest") throw error;
          text = await get(own, { text: true });
        }
      }
      if (mine !== turn) return;
      given = text;
      await show();
    } catch (error) {
      if (mine === turn) out.replaceChildren(verdict("bad", error.title ?? "There is no such proof", error.detail ?? error.message));
    }
  }

  async function take(source) {
    if (source.size > MAX_BYTES) return void out.replaceChildren(verdict("bad", "This is no proof", `The file has more than ${num(MAX_BYTES)} bytes.`));
    const bytes = new Uint8Array(await source.arrayBuffer());
    given = bytes;
    if (bytes[0] !== 1) paste.value = new TextDecoder().decode(bytes);
    await show();
  }

  ask.addEventListener("submit", (event) => { event.preventDefault(); void fetchProof(); });
  check.addEventListener("submit", (event) => { event.preventDefault(); if (paste.value.trim()) given = paste.value.trim(); void show(); });
  file.addEventListener("change", () => { if (file.files[0]) void take(file.files[0]); });
  trusted.addEventListener("input", () => void show());
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const dropped = event.dataTransfer.files[0];
    if (dropped) void take(dropped);
    else { paste.value = event.dataTransfer.getData("text"); given = paste.value; void show(); }
  });
  if (parts[0] && parts[1]) void fetchProof();
  return () => { turn += 1; };
}

/** Everything that can be said of a document. Never throws. */
async function judge(given, trusted) {
  let document;
  try {
    document = parse(given);
  } catch (error) {
    return { outcome: "bad", title: "This is no proof", error };
  }
  let parts;
  try {
    parts = partsOf(document, nameOf);
  } catch (error) {
    return { outcome: "bad", title: "The proof is wrong", error, document };
  }
  const outcomes = parts.map(() => "good");
  const fail = (error) => {
    const at = partOf(parts, error.field ?? "");
    for (let i = at; i < parts.length; i += 1) outcomes[i] = i === at ? "bad" : "idle";
    const step = parts[at].path && error.field?.startsWith(`${parts[at].path}[`) ? Number.parseInt(error.field.slice(parts[at].path.length + 1), 10) : undefined;
    return { outcome: "bad", document, parts, outcomes, failed: { at, step, message: error.message }, error };
  };
  let result;
  try {
    result = verify(document);
  } catch (error) {
    return { ...fail(error), title: `The proof fails at “${parts[partOf(parts, error.field ?? "")].title}”` };
  }
  const base = { document, parts, outcomes, result };
  if (trusted) {
    try {
      const held = verify(document, { trusted });
      parts.at(-1).under = "It is the header that you trust.";
      return { ...base, result: held, outcome: "good", title: "Verified", under: "the header that you trust" };
    } catch (error) {
      return { ...base, ...fail(error), title: /expected 0x/.test(error.message) ? "The trusted hash is no hash" : "It does not end in the header that you trust" };
    }
  }
  const at = parts.length - 1;
  const { height } = result.trusted;
  try {
    const block = await get(`/v1/blocks/${height}`);
    parts.at(-1).under = "It is this node's main block.";
    if (block.hash === result.trustedHash) return { ...base, outcome: "good", title: "Verified", under: "this node's main chain" };
    const error = new ProofError("trusted", `this node's main block ${height} has the hash ${block.hash}`);
    return { ...base, ...fail(error), title: "Right in itself, but not of this node's main chain" };
  } catch (error) {
    outcomes[at] = "open";
    return { ...base, outcome: "open", title: "Right in itself; its header was compared with nothing", error: { message: error.detail ?? error.message } };
  }
}

function partOf(parts, field) {
  const at = parts.findIndex((part) => part.fields.test(field));
  return at < 0 ? 0 : at;
}

function view(found) {
  const { outcome, title, error, document, parts, outcomes, failed, result, under } = found;
  const shown = [verdict(outcome, title, outcome === "good" ? claim(result) : error?.message ?? "", outcome === "good"
    ? [`Under main block ${num(Number(result.trusted.height))}, `, hash(result.trustedHash), `, of ${under}. `, under === "the header that you trust" ? "Nothing here had to be believed." : "Every hash was computed in this browser; that this header is the main chain's is what the node says. Enter a hash that you have from elsewhere to rely on nobody."]
    : outcome === "open" ? ["Enter the hash of a header that you trust, or open the dashboard of a node of that main chain."] : failed ? ["What comes before that step is right; nothing is said about what comes after."] : [])];
  if (parts) shown.push(picture(parts, outcomes, failed));
  if (result?.blocks) shown.push(proven(result.blocks));
  if (document) {
    const text = toJson(document);
    const top = result?.trusted;
    if (top) shown.push(h("details", { class: "panel" }, h("summary", { text: "The header that it ends in" }), facts([["Height", String(top.height)], ["Time", stamp(Number(top.time))], ["Hash", whole(result.trustedHash)], ["Parent", whole(top.parent)], ["Side root", whole(top.side_root)], ["History root", whole(top.history_root)], ["State root", whole(top.state_root)]], { class: "facts list" })));
    shown.push(h("details", { class: "panel" }, h("summary", { text: `The document, ${num(text.length)} bytes of JSON` }), h("pre", { tabindex: "0", "aria-label": "The document", text: text.length > 200_000 ? `${text.slice(0, 200_000)}…` : text })));
  }
  return shown;
}

function verdict(outcome, title, words, more = []) {
  const sign = h("span", { class: "sign", "aria-hidden": "true", text: { good: "✓", bad: "✕", open: "?" }[outcome] });
  return h("section", { class: "panel verdict", "data-outcome": outcome, "aria-label": "Outcome" }, sign, h("h2", { text: title }), h("p", { text: words }), h("small", {}, ...more));
}

const nameOf = (id) => live.chains.get(id)?.chain ?? chainText(id);

/** The name that AElf gives a chain of three bytes: base58 of them, four letters. Others are called by their number. */
function chainText(id) {
  if (id <= 0 || id >= 1 << 24) return String(id);
  const digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  // Little-endian bytes, read as one number.
  let value = ((id & 0xff) << 16) | (id & 0xff00) | (id >>> 16);
  let text = "";
  for (; value > 0; value = Math.floor(value / 58)) text = digits[value % 58] + text;
  return text.length === 4 ? `${text}` : String(id);
}

/** What was proven, in one sentence. */
function claim(result) {
  const main = `main block ${result.header ? num(Number(result.header.height)) : ""}`;
  if (result.kind === "block") return `Block ${num(Number(result.block.height))} of chain ${nameOf(result.chainId)}, with hash ${result.block.hash}, was indexed in ${main}.`;
  if (result.kind === "transaction") return `A transaction (${result.claim.type}${result.claim.id ? ` ${result.claim.id}` : result.claim.index !== undefined ? `, number ${result.claim.index}` : ""}) is in block ${num(Number(result.block.height))} of chain ${nameOf(result.chainId)}, which was indexed in ${main}.`;
  if (result.kind === "chain") return `These ${num(result.blocks.length)} blocks are all that ${main} has of chain ${nameOf(result.chainId)}.`;
  if (result.kind === "absence") return `Chain ${nameOf(result.absent)} has no block in ${main}.`;
  if (result.kind === "consistency") return `Main block ${num(Number(result.trusted.height))} continues the history of main block ${num(Number(result.header.height))} and rewrites nothing of it.`;
  return `${num(result.blocks.length)} side blocks were indexed in this main chain.`;
}

function proven(blocks) {
  const rows = blocks.slice(0, 200).map((block) => h("tr", {}, h("td", { text: nameOf(block.chainId) }), h("td", { text: num(Number(block.height)) }), h("td", {}, hash(block.hash)), h("td", {}, block.mainHeight === undefined ? "" : num(Number(block.mainHeight)))));
  return panel("Blocks that are proven", {}, h("div", { class: "overflow", tabindex: "0", role: "region", "aria-label": "Blocks that are proven" }, h("table", {}, h("thead", {}, h("tr", {}, ["Chain", "Height", "Hash", "Main block"].map((title) => h("th", { scope: "col", text: title })))), h("tbody", {}, rows))),
    blocks.length > 200 ? h("p", { class: "missing", text: `and ${num(blocks.length - 200)} more` }) : null);
}
