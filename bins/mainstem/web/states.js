// The states of side chains: the same names as everywhere. What a chain's reason means and what to do about it, the node says
// itself, in `status`.

import { h } from "./dom.js";

/** In the order in which an operator wants to see them: the worst first. */
export const STATES = ["quarantined", "refused", "stalled", "lane-full", "waiting-for-seal", "disconnected", "paused", "catching-up", "live"];

const MEANING = {
  live: "All that its node has is durable here, or on its way.",
  "catching-up": "Blocks come, and more of them wait at the source than a main block takes.",
  stalled: "There is something to send, or was to be expected, and nothing comes.",
  refused: "What its nodes send, or they themselves, are refused.",
  disconnected: "None of its nodes is connected, or none of those that are names it.",
  "lane-full": "Its lane has no room: blocks come faster than they become durable.",
  "waiting-for-seal": "Blocks have waited to be sealed or stored for longer than they should.",
  paused: "The operator has paused it: what comes stays in its lane.",
  quarantined: "It was paused by the node itself, since what it sent contradicts itself.",
};

export const meaning = (state) => MEANING[state] ?? "";
export const rank = (state) => (STATES.indexOf(state) + 1 || STATES.length + 1);
const words = (name) => name.replaceAll("-", " ");
export const label = (name) => (name ? words(name)[0].toUpperCase() + words(name).slice(1) : "–");

/** A node that does not tell states yet says at least whether somebody speaks for the chain. */
export const stateOf = (chain) => chain.status?.state ?? (chain.speaker ? "live" : "disconnected");
export const reasonOf = (chain) => chain.status?.reason ?? "";

/** The state as a small mark with its name. */
export function pill(state) {
  const known = STATES.includes(state) ? state : "unknown";
  return h("span", { class: "pill", "data-state": known, title: meaning(state) }, h("i", { class: "dot", "aria-hidden": "true" }), h("span", { text: label(state) }));
}

/** Changes a pill in place. */
export function setPill(element, state) {
  if (element.dataset.name === state) return;
  element.dataset.name = state;
  element.dataset.state = STATES.includes(state) ? state : "unknown";
  element.title = meaning(state);
  element.lastChild.textContent = label(state);
}
