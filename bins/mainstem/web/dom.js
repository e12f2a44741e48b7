// Elements and texts. What comes from the node is set as text only, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "hidden") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An element: `h("a", { class: "x", href: "#/", onclick }, child, "text")`. */
export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);

/** The same, of SVG. */
export const s = (tag, props, ...children) => build(document.createElementNS(SVG, tag), props, children);

/** Sets a text, and leaves the document alone where it is the same. */
export function put(element, text) {
  const next = text === undefined || text === null ? "–" : String(text);
  if (element.textContent !== next) element.textContent = next;
}

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 12,345; a dash where nothing is known. */
export const num = (value) => (known(value) ? GROUPED.format(value) : "–");

/** Three digits or so: 0.42, 7.3, 812, 12.3k, 4.1M. */
export function short(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${digits(value / 1e9)}G`;
  if (size >= 1e6) return `${digits(value / 1e6)}M`;
  if (size >= 1e4) return `${digits(value / 1e3)}k`;
  return size >= 1000 ? GROUPED.format(value) : digits(value);
}

function digits(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(2).replace(/\.?0+$/, "");
}

export function bytes(value) {
  if (!known(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  for (; value >= 1024 && at < units.length - 1; at += 1) value /= 1024;
  return `${at === 0 ? value : digits(value)} ${units[at]}`;
}

export function ms(value) {
  if (!known(value)) return "–";
  if (value >= 10_000) return `${digits(value / 1000)} s`;
  return value >= 1 || value === 0 ? `${digits(value)} ms` : `${digits(value * 1000)} µs`;
}

/** 43 s, 12 min, 5 h 20 min, 3 d. */
export function span(millis) {
  if (!known(millis)) return "–";
  const seconds = Math.max(0, Math.floor(millis / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 && hours < 10 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

export const percent = (share) => (known(share) ? `${digits(share * 100)} %` : "–");

/** Year to millisecond, in UTC, as logs have it. */
export const stamp = (millis) => {
  if (!known(millis) || Math.abs(millis) > 8.64e15) return "–";
  return new Date(millis).toISOString().replace("T", " ").replace("Z", " UTC");
};

export const known = (value) => typeof value === "number" && Number.isFinite(value);

export const clip = (hash) => (hash.length > 18 ? `${hash.slice(0, hash.startsWith("0x") ? 8 : 6)}…${hash.slice(-6)}` : hash);

/** A hash or key: short, the whole on hover, copied by a click. */
export function hash(value) {
  if (!value) return h("span", { class: "none", text: "–" });
  const button = h("button", { type: "button", class: "hash", title: value, "aria-label": `${clip(value)}, copy ${value}`, text: clip(value) });
  button.addEventListener("click", async () => {
    const copied = await copy(value);
    button.classList.toggle("copied", copied);
    put(button, copied ? "Copied" : value);
    if (copied) setTimeout(() => { put(button, clip(value)); button.classList.remove("copied"); }, 900);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain http from another machine browsers have no clipboard: the whole value is shown instead.
    return false;
  }
}

/** The whole hash or key, in groups that may wrap. */
export const whole = (value) => h("code", { class: "whole", text: value ?? "–" });

/** How long ago that was, and counting. */
export function age(millis, suffix = " ago") {
  const element = h("time", { class: "age" });
  setAge(element, millis, suffix);
  return element;
}

export function setAge(element, millis, suffix = " ago") {
  element.dataset.suffix = suffix;
  element.title = known(millis) ? stamp(millis) : "";
  if (known(millis)) element.dataset.time = millis;
  else delete element.dataset.time;
  tick(element, Date.now());
}

function tick(element, now) {
  const time = Number(element.dataset.time);
  if (!element.dataset.time) return put(element, "–");
  const passed = now - time + skew;
  // What is weeks old is found by its date.
  if (passed > 14 * 86_400_000) put(element, stamp(time).slice(0, 10));
  else put(element, passed < 1000 ? "just now" : `${span(passed)}${element.dataset.suffix}`);
}

/** By how much the node's clock goes before ours: ages are the node's matter, whatever the clock here says. */
let skew = 0;
export const setSkew = (millis) => { skew = Math.abs(millis) > 2000 ? millis : 0; };
export const nodeNow = () => Date.now() + skew;

setInterval(() => {
  if (document.hidden) return;
  const now = Date.now();
  for (const element of document.querySelectorAll("time.age")) tick(element, now);
}, 1000);

/** Terms and values: pairs whose value is a text or a node. */
export const facts = (pairs, props) =>
  h("dl", { class: "facts", ...props }, pairs.filter(Boolean).map(([term, value, title]) => h("div", {}, h("dt", { text: term, title }), h("dd", {}, value ?? "–"))));

export const panel = (title, props, ...children) => h("section", { class: "panel", ...props }, h("h2", { text: title }), ...children);

/** What a page, or with `tag` a part of one, says when it cannot show what was asked for. */
export const problem = (error, tag = "h1") => h("div", { class: "empty", role: "alert" },
  h(tag, { text: error.title ?? "This did not work" }), h("p", { text: error.detail ?? error.message ?? String(error) }));
