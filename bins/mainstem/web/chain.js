// One chain: how it is doing, why, and what to do about it.

import { age, facts, h, hash, known, num, panel, problem, put, setAge, short, span, stamp, whole } from "./dom.js";
import { chart } from "./chart.js";
import { get, live } from "./live.js";
import { label, pill, reasonOf, setPill, stateOf } from "./states.js";

const NEWEST = 10;

export default function chain(page, { parts }) {
  const at = encodeURIComponent(parts[0]);
  if (parts[1] === "blocks" && parts[2]) return sideBlock(page, at, parts[2]);
  const stop = new AbortController();
  let [leave, asked] = [undefined, false];
  // Asked until it is there: the node may be away just now.
  const load = async () => {
    if (asked || leave) return;
    asked = true;
    try {
      const first = await get(`/v1/chains/${at}`, { signal: stop.signal });
      if (!stop.signal.aborted) leave = build(page, at, first, stop.signal);
    } catch (error) {
      if (!stop.signal.aborted) page.replaceChildren(h("p", { class: "crumbs" }, h("a", { href: "#/chains", text: "Chains" })), problem(error));
    }
    asked = false;
  };
  void load();
  const off = live.on("arrived", load);
  return () => { stop.abort(); off(); leave?.(); };
}

function build(page, at, first, signal) {
  let now = first;
  const points = [];
  const status = statusPanel();
  const heights = ladder();
  const rate = chart({ label: "Blocks of this chain made durable per second", seconds: 120, height: 130 });
  const rateNow = h("strong", {});
  const sender = h("div", {});
  const blocks = h("tbody", {});
  const timeline = panel("Changes of state", {}, h("p", { class: "missing", text: "This node keeps no history of states." }));
  const causes = panel("From its source to the log", { hidden: true });
  const figures = facts([]);
  const proof = h("a", { class: "button" , text: "Prove newest block" });

  page.replaceChildren(
    h("p", { class: "crumbs" }, h("a", { href: "#/chains", text: "Chains" }), ` / ${first.chain}`),
    h("div", { class: "heading" }, h("h1", { text: first.name || first.chain }), h("small", { class: "mono", text: first.chain === String(first.chain_id) ? first.chain : `${first.chain} · ${first.chain_id}` }), h("div", { class: "end" }, proof)),
    status.element,
    h("div", { class: "columns wide" },
      h("div", { class: "page" },
        panel("Heights", {}, figures, heights.element),
        panel("Pace", {}, h("div", { class: "legend" }, h("span", {}, h("i", { class: "key accent" }), "Blocks made durable a second ", rateNow)), rate.element),
        panel("Newest blocks", {}, h("div", { class: "overflow", tabindex: "0", role: "region", "aria-label": "Newest blocks" }, h("table", {}, h("thead", {}, h("tr", {}, ["Height", "Hash", "Time", "Main block"].map((title) => h("th", { scope: "col", text: title })), h("th", { scope: "col" }, h("span", { class: "unseen", text: "Proof" })))), blocks)))),
      h("div", { class: "page" }, causes, panel("Sender", {}, sender), timeline,
        panel("Registered", {}, facts([["First height", num(first.first_height)], ["Finality", finality(first.finality)], ["Nodes", h("span", {}, (first.nodes ?? []).map((key) => h("div", {}, hash(key))))]], { class: "facts list" })))),
  );

  let [listed, spoke, reason, askedBlocks, told] = [-1, undefined, undefined, false, 0];

  function draw() {
    status.draw(now);
    heights.draw(now);
    setFigures(figures, now);
    const speaker = `${now.speaker} ${now.speaker_address} ${now.speaker_software}`;
    if (spoke !== speaker) {
      spoke = speaker;
      sender.replaceChildren(now.speaker
        ? facts([["Key", hash(now.speaker)], ["Address", now.speaker_address], ["Software", now.speaker_software], ["Connection", h("a", { href: `#/peers?q=${now.speaker}`, text: "Its session" })]], { class: "facts list" })
        : h("p", { class: "missing", text: "Nobody speaks for this chain now." }));
    }
    proof.href = `#/proof/${at}/${now.durable}`;
    proof.setAttribute("aria-disabled", String(now.durable < now.first_height));
    if (reason !== `${reasonOf(now)} ${now.status?.since}`) {
      reason = `${reasonOf(now)} ${now.status?.since}`;
      void tellHistory();
      told = 0;
    }
    // It has figures that go on.
    if (Date.now() - told > 2_500) {
      told = Date.now();
      void tellCauses();
    }
    const time = Date.now();
    if (!points.length || time - points.at(-1).time >= 900) {
      const before = points.findLast((point) => time - point.time >= 4_000) ?? points[0];
      const own = before && (now.durable - before.durable) / ((time - before.time) / 1000);
      points.push({ time, durable: now.durable, value: now.rate ?? own });
      if (points.length > 150) points.shift();
    }
    rate.draw(points);
    put(rateNow, short(points.at(-1)?.value));
    if (listed !== now.durable && !askedBlocks) void listBlocks(now.durable);
  }

  async function listBlocks(durable) {
    askedBlocks = true;
    try {
      const wanted = [];
      for (let height = durable; height >= now.first_height && wanted.length < NEWEST; height -= 1) wanted.push(height);
      const kept = new Map([...blocks.rows].map((row) => [Number(row.dataset.height), row]));
      const rows = await Promise.all(wanted.map((height) => kept.get(height) ?? blockRow(at, height, signal)));
      if (!signal.aborted) blocks.replaceChildren(...(rows.length ? rows : [h("tr", {}, h("td", { class: "none", colspan: "5", text: "No block of it is durable yet." }))]));
      listed = durable;
    } catch {
      // The next change of the chain asks again.
    }
    setTimeout(() => { askedBlocks = false; }, 1_000);
  }

  async function tellHistory() {
    try {
      const { changes } = await get(`/v1/chains/${at}/history`, { signal });
      const items = changes.map((change) => h("li", { "data-state": change.state },
        h("i", { class: "dot", "aria-hidden": "true" }), h("span", {}, h("strong", { text: label(change.state) }), " ", h("code", { class: "none", text: change.reason })), age(change.time), h("p", { text: change.text })));
      timeline.replaceChildren(timeline.firstElementChild, items.length ? h("ol", { class: "timeline" }, items) : h("p", { class: "missing", text: "It has not changed since the node was started." }));
    } catch {
      // A node that has no such route: the panel says so.
    }
  }

  async function tellCauses() {
    try {
      const { steps, tried } = await get(`/v1/chains/${at}/why`, { signal });
      causes.hidden = steps.length === 0;
      causes.replaceChildren(causes.firstElementChild,
        h("ol", { class: "steps" }, steps.map(({ step, ok, text }) => h("li", { "data-ok": String(ok) }, h("span", { class: "mark", text: ok === null ? "·" : ok ? "✓" : "✕", "aria-label": ok === null ? "not known" : ok ? "well" : "not well", role: "img" }), h("b", { text: step }), h("span", { text })))),
        ...(tried?.length ? [h("h2", { text: "What the node did by itself" }), h("ol", { class: "timeline" }, tried.map((one) => h("li", {}, h("i", { class: "dot", "aria-hidden": "true" }), h("span", { text: one.text }), age(one.time))))] : []));
    } catch {
      // Not told by this node.
    }
  }

  // Asked for by itself: the others do not matter here.
  const timer = setInterval(async () => {
    if (document.hidden) return;
    try {
      if (live.link !== "lost") now = await get(`/v1/chains/${at}`, { signal });
    } catch {
      return;
    }
    if (!signal.aborted && live.link !== "lost") draw();
  }, 1_000);
  draw();
  return () => { clearInterval(timer); rate.close(); };
}

const finality = (rule) => (typeof rule === "string" ? rule : JSON.stringify(rule));

function statusPanel() {
  const [state, reason, since] = [pill("unknown"), h("span", { class: "reason" }), h("span", {})];
  const when = age(undefined, "");
  const [words, next, todo, evidence] = [h("p", {}), h("p", { class: "next" }), h("span", {}), h("p", { class: "bad-link" })];
  next.append(h("b", { text: "What to do" }), todo);
  since.append("for ", when);
  const element = h("section", { class: "panel status", "aria-label": "State" }, h("div", { class: "line" }, state, reason, since), words, next, evidence);
  return {
    element,
    draw(chain) {
      const { status } = chain;
      setPill(state, stateOf(chain));
      element.dataset.state = stateOf(chain);
      put(reason, status?.reason ?? "");
      since.hidden = !status;
      if (status) setAge(when, status.since, "");
      put(words, status?.text ?? (chain.speaker ? "A node is connected and speaks for it." : "None of its nodes is connected."));
      next.hidden = !status?.next || status.next === "nothing: all is well";
      if (status?.next) put(todo, status.next);
      evidence.hidden = !chain.evidence;
      if (chain.evidence) put(evidence, `Evidence of a contradiction: ${chain.evidence}`);
    },
  };
}

function setFigures(element, chain) {
  const lag = chain.lag_blocks ?? Math.max(0, chain.received - chain.durable);
  const wanted = [["Lag", `${num(lag)} ${lag === 1 ? "block" : "blocks"}`], ["Lag in time", known(chain.lag_seconds) ? (chain.lag_seconds >= 120 ? span(chain.lag_seconds * 1000) : `${short(chain.lag_seconds)} s`) : "–"], ["Rate", known(chain.rate) ? `${short(chain.rate)} a second` : "–"]];
  if (element.children.length === 0) {
    element.append(...wanted.map(([term]) => h("div", {}, h("dt", { text: term }), h("dd", {}))), h("div", {}, h("dt", { text: "Last block" }), h("dd", {}, age(undefined))));
  }
  wanted.forEach(([, value], i) => put(element.children[i].lastElementChild, value));
  setAge(element.lastElementChild.querySelector("time"), chain.last_block ?? undefined);
}

/** How far each step is: the bars show the last blocks before the tip only, since all others are alike, and say which. */
function ladder() {
  const steps = [["tip", "Tip"], ["received", "Received"], ["final", "Final"], ["durable", "Durable"]].map(([name, title]) => ({ name, bar: h("i", {}), value: h("strong", {}), title }));
  const scale = h("small", {});
  const element = h("div", { class: "ladder" }, steps.map(({ title, bar, value }) => h("div", {}, h("span", { class: "term", text: title }), h("span", { class: "track" }, bar), value)), scale);
  return {
    element,
    draw(chain) {
      const top = Math.max(chain.tip ?? 0, chain.received);
      const window = Math.max(1, Math.min(top, Math.max(20, Math.ceil((top - chain.durable) * 1.6))));
      scale.hidden = top <= chain.durable;
      put(scale, window < top ? `The bars show blocks ${num(top - window + 1)} to ${num(top)} only.` : `The bars show all ${num(top)} blocks.`);
      for (const { name, bar, value } of steps) {
        // What was received, the source has: it tells how far it is now and then only.
        const height = name === "tip" && known(chain.tip) ? top : chain[name];
        put(value, num(height ?? undefined));
        bar.style.width = known(height) && top > 0 ? `${Math.max(0, Math.min(1, 1 - (top - height) / window)) * 100}%` : "0";
      }
    },
  };
}

async function blockRow(at, height, signal) {
  const block = await get(`/v1/chains/${at}/blocks/${height}`, { signal });
  return h("tr", { "data-height": height },
    h("td", {}, h("a", { href: `#/chains/${at}/blocks/${height}`, text: num(height) })), h("td", {}, hash(block.hash)), h("td", {}, age(block.time)),
    h("td", {}, h("a", { href: `#/blocks/${block.indexed_in.height}`, text: num(block.indexed_in.height) })), h("td", { class: "right" }, h("a", { href: `#/proof/${at}/${height}`, "aria-label": `Prove block ${height}`, text: "Prove" })));
}

/** A side block, and the main block that holds it. */
function sideBlock(page, at, height) {
  const stop = new AbortController();
  const load = async () => {
    try {
      const block = await get(`/v1/chains/${at}/blocks/${encodeURIComponent(height)}`, { signal: stop.signal });
      const main = block.indexed_in;
      page.replaceChildren(
        h("p", { class: "crumbs" }, h("a", { href: "#/chains", text: "Chains" }), " / ", h("a", { href: `#/chains/${at}`, text: block.chain }), ` / ${num(block.height)}`),
        h("div", { class: "heading" }, h("h1", { text: `${block.chain}, block ${num(block.height)}` }),
          h("div", { class: "end" },
            h("a", { class: "button", href: `#/chains/${at}/blocks/${block.height - 1}`, "aria-label": "Previous block", text: "←", "aria-disabled": String(block.height <= 1) }),
            h("a", { class: "button", href: `#/chains/${at}/blocks/${block.height + 1}`, "aria-label": "Next block", text: "→" }),
            h("a", { class: "button primary", href: `#/proof/${at}/${block.height}`, text: "Prove" }))),
        panel("Side block", {}, facts([["Chain", block.chain === String(block.chain_id) ? block.chain : `${block.chain} (${block.chain_id})`], ["Height", num(block.height)], ["Hash", whole(block.hash)], ["Transaction root", whole(block.tx_root)], ["Time", stamp(block.time)]], { class: "facts list" })),
        panel("Indexed in main block", {}, facts([["Height", h("a", { href: `#/blocks/${main.height}`, text: num(main.height) })], ["Hash", whole(main.hash)], ["Time", stamp(main.time)], ["After", span(main.time - block.time)]], { class: "facts list" })));
    } catch (error) {
      if (!stop.signal.aborted) page.replaceChildren(problem(error), h("p", { class: "empty" }, h("a", { href: `#/chains/${at}`, text: `Chain ${decodeURIComponent(at)}` })));
    }
  };
  void load();
  const off = live.on("arrived", load);
  return () => { stop.abort(); off(); };
}
