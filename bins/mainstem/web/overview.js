// The first page: is it well, how fast is it, and what holds it up.

import { age, bytes, h, hash, known, ms, num, panel, percent, put, setAge, short, span } from "./dom.js";
import { chart } from "./chart.js";
import { live } from "./live.js";
import { STATES, label, meaning } from "./states.js";

const figure = (title, props) => {
  const value = h("strong", { text: "–" });
  const note = h("small", {});
  return { element: h("div", { class: "figure", ...props }, h("span", { class: "term", text: title }), value, note), value, note };
};

export default function overview(page) {
  const parts = [headStrip(), throughput(), latency(), stages(), chains(), resources()];
  const [head, rate, delay, pipeline, states, machine] = parts;
  page.append(
    h("h1", { class: "unseen", text: "Overview" }), head.element,
    h("div", { class: "columns wide" }, rate.element, delay.element), pipeline.element,
    h("div", { class: "columns even" }, states.element, machine.element),
  );
  const draw = () => parts.forEach((part) => part.draw());
  draw();
  const off = [live.on("stats", draw), live.on("status", draw), live.on("head", () => head.draw())];
  return () => { off.forEach((end) => end()); rate.close(); };
}

function headStrip() {
  const [height, side, count, up] = [figure("Main head", { class: "figure main" }), figure("Side blocks"), figure("Chains"), figure("Up")];
  const [when, which] = [age(undefined), h("span", {})];
  height.note.append(which, " · ", when);
  let shown;
  return {
    element: h("section", { class: "strip", "aria-label": "Main chain" }, height.element, side.element, count.element, up.element),
    draw() {
      const { head, stats, status } = live;
      const tall = head ? `#/blocks/${head.height}` : "#/blocks";
      if (shown !== head?.hash || !shown) {
        shown = head?.hash;
        height.value.replaceChildren(h("a", { href: tall, text: num(head?.height) }));
        which.replaceChildren(hash(head?.hash));
      }
      setAge(when, head?.time);
      const blocks = stats?.side_blocks ?? status?.side_blocks;
      put(side.value, num(blocks));
      put(side.note, head && known(blocks) ? `${short(blocks / Math.max(1, head.height))} a main block` : "durable, of all chains");
      put(count.value, num(status?.chains));
      put(count.note, known(stats?.sessions) ? `${num(stats.sessions)} ${stats.sessions === 1 ? "session" : "sessions"}` : status?.main_chain?.name ?? "registered");
      put(up.value, span(stats?.uptime_ms ?? status?.uptime_ms));
      put(up.note, status ? `mainstem ${status.version}` : "");
    },
  };
}

function throughput() {
  const side = chart({ label: "Side blocks per second, last five minutes", height: 168 });
  const main = chart({ label: "Main blocks per second, last five minutes", height: 84, tone: "--blue" });
  const [sideNow, mainNow] = [h("strong", {}), h("strong", {})];
  return {
    element: panel("Throughput", {},
      h("div", { class: "legend" }, h("span", {}, h("i", { class: "key accent" }), "Side blocks a second ", sideNow)), side.element,
      h("div", { class: "legend" }, h("span", {}, h("i", { class: "key blue" }), "Main blocks a second ", mainNow)), main.element),
    draw() {
      const points = (name) => live.history.map((point) => ({ time: point.time, value: point[name] }));
      side.draw(points("side_blocks"));
      main.draw(points("main_blocks"));
      const last = live.history.slice(-10);
      const mean = (name) => (last.length ? last.reduce((sum, point) => sum + point[name], 0) / last.length : undefined);
      put(sideNow, short(live.stats?.rate?.side_blocks ?? mean("side_blocks")));
      put(mainNow, short(live.stats?.rate?.main_blocks ?? mean("main_blocks")));
    },
    close() { side.close(); main.close(); },
  };
}

const missing = (what) => h("p", { class: "missing", text: `This node does not tell ${what}.` });

function latency() {
  const rows = [["p50_ms", "p50", "half of the side blocks were faster"], ["p99_ms", "p99", "all but one of a hundred"], ["p999_ms", "p99.9", "all but one of a thousand"], ["max_ms", "max", "the slowest"]]
    .map(([name, title, about]) => ({ name, bar: h("i", {}), value: h("strong", {}), title, about }));
  const list = h("dl", { class: "bars" }, rows.map(({ title, about, bar, value }) => h("div", { title: about }, h("dt", { text: title }), h("dd", {}, h("span", { class: "track" }, bar), value))));
  const note = missing("latencies");
  const trend = chart({ label: "99th percentile of the latency, last five minutes", height: 128, format: ms, tone: "--violet" });
  const element = panel("Latency", {}, h("p", { class: "about", text: "From received to durable, last 60 s" }), list, note, h("div", { class: "legend" }, h("span", {}, h("i", { class: "key violet" }), "p99")), trend.element);
  return {
    element,
    draw() {
      const figures = live.stats?.latency;
      note.hidden = Boolean(figures) || !live.status;
      put(note, live.stats ? "No side block became durable in the last minute." : "This node does not tell latencies.");
      list.hidden = !figures;
      trend.draw(live.history.map(({ time, p99_ms }) => ({ time, value: p99_ms })));
      if (!figures) return;
      // Ten times as slow is one step further: percentiles lie far apart.
      const most = Math.log10(Math.max(10, figures.max_ms ?? 0) * 10);
      for (const { name, bar, value } of rows) {
        const given = figures[name];
        put(value, ms(given));
        bar.style.width = known(given) ? `${Math.max(1, (Math.log10(Math.max(given, 0.1) * 10) / most) * 100)}%` : "0";
      }
    },
  };
}

const ABOUT = {
  ingest: "takes frames in from the side chains' nodes", seal: "gathers and hashes a main block",
  append: "writes it to the log", sync: "makes it durable", publish: "tells those who wait",
};

function stages() {
  const list = h("ol", { class: "stages" });
  const verdict = h("p", { class: "about" });
  const note = missing("how busy its stages are");
  const made = new Map();
  const make = (name) => {
    const one = { busy: h("i", {}), queue: h("i", {}), share: h("b", {}), waits: h("b", {}), times: h("span", { class: "times" }), threads: h("small", {}) };
    one.element = h("li", {}, h("header", {}, h("strong", { text: name }), one.threads), h("p", { text: ABOUT[name] ?? "" }),
      h("div", { class: "meter" }, h("span", { text: "Busy" }), h("span", { class: "track" }, one.busy), one.share),
      h("div", { class: "meter queue" }, h("span", { text: "Queue" }), h("span", { class: "track" }, one.queue), one.waits), one.times);
    list.append(one.element);
    made.set(name, one);
    return one;
  };
  return {
    element: panel("Stages", {}, verdict, note, list),
    draw() {
      const all = live.stats?.stages ?? [];
      note.hidden = all.length > 0 || !live.status;
      verdict.hidden = all.length === 0;
      const busiest = all.reduce((most, stage) => (stage.busy > (most?.busy ?? -1) ? stage : most), undefined);
      const tight = busiest && busiest.busy >= 0.7;
      if (busiest) put(verdict, tight ? `Bottleneck: ${busiest.name}, ${percent(busiest.busy)} busy. Nothing gets faster before it does.` : `No stage is at its limit. The busiest is ${busiest.name}, ${percent(busiest.busy)} of the time.`);
      verdict.classList.toggle("tight", Boolean(tight));
      for (const stage of all) {
        const one = made.get(stage.name) ?? make(stage.name);
        one.element.classList.toggle("busiest", stage === busiest);
        one.element.classList.toggle("tight", stage.busy >= 0.7);
        one.busy.style.width = `${Math.min(100, stage.busy * 100)}%`;
        put(one.share, percent(stage.busy));
        const filled = stage.capacity > 0 ? stage.queue / stage.capacity : 0;
        one.queue.style.width = `${Math.min(100, filled * 100)}%`;
        put(one.waits, stage.unit === "bytes" ? bytes(stage.queue) : `${short(stage.queue)}`);
        one.waits.title = stage.unit === "bytes" ? `${bytes(stage.queue)} of ${bytes(stage.capacity)}` : `${num(stage.queue)} of ${num(stage.capacity)} ${stage.unit ?? ""}`;
        put(one.times, known(stage.p50_ms) ? `p50 ${ms(stage.p50_ms)} · p99 ${ms(stage.p99_ms)}` : "");
        put(one.threads, known(stage.threads) ? `${stage.threads} ${stage.threads === 1 ? "thread" : "threads"}` : "");
      }
    },
  };
}

function chains() {
  const bar = h("div", { class: "share", "aria-hidden": "true" });
  const segments = new Map([...STATES].reverse().map((state) => [state, bar.appendChild(h("i", { "data-state": state }))]));
  const counts = new Map(STATES.map((state) => {
    const value = h("strong", { text: "–" });
    return [state, { value, element: h("a", { href: `#/chains?state=${state}`, "data-state": state, title: meaning(state) }, h("i", { class: "dot", "aria-hidden": "true" }), h("span", { text: label(state) }), value) }];
  }));
  const note = missing("the states of its chains yet");
  return {
    element: panel("Chains by state", {}, bar, h("div", { class: "counts" }, [...counts.values()].map(({ element }) => element)), note),
    draw() {
      const given = live.stats?.chains;
      note.hidden = Boolean(given) || !live.status;
      const sum = STATES.reduce((total, state) => total + (given?.[state] ?? 0), 0);
      for (const state of STATES) {
        const count = given ? given[state] ?? 0 : undefined;
        const { value, element } = counts.get(state);
        put(value, num(count));
        element.classList.toggle("zero", count === 0);
        segments.get(state).style.flexGrow = sum ? count / sum : 0;
        segments.get(state).hidden = !count;
      }
    },
  };
}

function resources() {
  const [memory, used, free] = ["Memory of the process", "Disk used by the log", "Disk free"].map((title) => figure(title));
  const bar = h("i", {});
  const track = h("div", { class: "track tall", "aria-hidden": "true" }, bar);
  return {
    element: panel("Memory and disk", {}, h("div", { class: "figures" }, memory.element, used.element, free.element), track),
    draw() {
      const { memory_bytes, disk } = live.stats ?? {};
      put(memory.value, bytes(memory_bytes));
      put(used.value, bytes(disk?.used_bytes));
      put(free.value, bytes(disk?.free_bytes));
      const share = disk && disk.used_bytes + disk.free_bytes > 0 ? disk.used_bytes / (disk.used_bytes + disk.free_bytes) : 0;
      track.hidden = !disk;
      bar.style.width = `${share * 100}%`;
      put(used.note, disk ? `${percent(share)} of what it may take` : "");
      const rate = live.stats?.rate?.bytes;
      put(free.note, disk && rate > 0 ? `${span((disk.free_bytes / rate) * 1000)} at this rate` : "");
      put(memory.note, "in RAM");
    },
  };
}
