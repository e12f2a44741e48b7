// A table of any length: only the rows in view are in the document, and they are used again as it scrolls.

import { h, num } from "./dom.js";

/**
 * `columns`: [{ name, title, unseen, class, cell, update(cell, row), sort(row) }]; `cell()` makes a cell's content once, `update` fills
 * it; an `unseen` title is for who does not see the column.
 * `link(row)` is where a row leads. `sort` and `onsort` are for tables that can be sorted by their columns.
 */
export function table({ label, columns, link, id, sort, onsort, rows: most }) {
  const heads = columns.map((column) => {
    const title = column.sort
      ? h("button", { type: "button", class: "sort", onclick: () => onsort(column.name) }, h("span", { text: column.title }), h("i", { "aria-hidden": "true" }))
      : column.unseen ? h("span", { class: "unseen", text: column.title }) : column.title;
    return h("div", { role: "columnheader", class: `cell ${column.class ?? ""}` }, title);
  });
  const body = h("div", { role: "rowgroup", class: "rows" });
  const grid = h("div", { role: "table", class: "grid", "aria-label": label }, h("div", { role: "rowgroup", class: "heads" }, h("div", { role: "row", class: "row head" }, heads)), body);
  const scroller = h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": `${label}, scrollable` }, grid);
  const [pool, state] = [[], { rows: [], chosen: -1, height: 34 }];
  if (most) scroller.style.maxHeight = `calc(${most + 1} * var(--row) + 2px)`;
  let frame = 0;

  function makeRow() {
    const cells = columns.map((column) => {
      const content = column.cell?.();
      return h("div", { role: "cell", class: `cell ${column.class ?? ""}`, "data-title": column.unseen ? "" : column.title }, content);
    });
    const element = h("div", { role: "row", class: "row" }, cells);
    body.append(element);
    return { element, contents: cells.map((cell) => cell.firstElementChild ?? cell), at: -1, row: undefined };
  }

  function paint() {
    frame = 0;
    const { rows, height } = state;
    const [top, view] = [scroller.scrollTop, scroller.clientHeight || 600];
    const first = Math.max(0, Math.floor(top / height) - 4);
    const last = Math.min(rows.length, Math.ceil((top + view) / height) + 4);
    while (pool.length < Math.min(last - first, rows.length)) pool.push(makeRow());
    // A row keeps its place in the pool as long as it is in view, so that scrolling changes only what comes in.
    for (let slot = 0; slot < pool.length; slot += 1) {
      const base = first - (first % pool.length) + slot;
      const at = base < first ? base + pool.length : base;
      const used = pool[slot];
      const shown = at < last;
      if (!shown) {
        if (used.at !== -1) { used.element.hidden = true; used.at = -1; used.row = undefined; }
        continue;
      }
      if (used.at !== at) {
        used.at = at;
        used.element.hidden = false;
        used.element.style.transform = `translateY(${at * height}px)`;
        used.element.setAttribute("aria-rowindex", at + 2);
        used.element.classList.toggle("odd", at % 2 === 1);
      }
      used.row = rows[at];
      used.element.classList.toggle("chosen", at === state.chosen);
      columns.forEach((column, i) => column.update(used.contents[i], used.row));
    }
  }

  const ask = () => { frame ||= requestAnimationFrame(paint); };

  function measure() {
    const height = parseFloat(getComputedStyle(scroller).getPropertyValue("--row")) || 34;
    if (height !== state.height) for (const used of pool) used.at = -1;
    state.height = height;
    size();
    ask();
  }

  const size = () => { body.style.height = `${state.rows.length * state.height}px`; };

  function choose(at) {
    if (state.rows.length === 0) return;
    state.chosen = Math.min(Math.max(at, 0), state.rows.length - 1);
    const [top, { height }] = [state.chosen * state.height, state];
    const head = height;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + height > scroller.scrollTop + scroller.clientHeight - head) scroller.scrollTop = top + height - scroller.clientHeight + head;
    scroller.setAttribute("aria-label", `${label}, scrollable: row ${num(state.chosen + 1)} of ${num(state.rows.length)}${id ? `, ${id(state.rows[state.chosen])}` : ""}`);
    ask();
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
    const page = Math.max(1, Math.floor(scroller.clientHeight / state.height) - 2);
    const inside = event.target === scroller;
    const moves = { j: 1, k: -1, ...(inside ? { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity } : {}) };
    if (event.key in moves) {
      const by = moves[event.key];
      choose(by === Infinity ? state.rows.length - 1 : by === -Infinity ? 0 : state.chosen + by);
      event.preventDefault();
    } else if (event.key === "Enter" && link && state.chosen >= 0 && (inside || event.target === document.body || event.target.id === "main")) {
      window.location.hash = link(state.rows[state.chosen]);
      event.preventDefault();
    }
  }

  // The whole row leads where its link does; text in it can still be selected.
  if (link) body.addEventListener("click", (event) => {
    const used = pool.find(({ element }) => element.contains(event.target));
    if (!used?.row || event.target.closest("a, button") || String(window.getSelection())) return;
    window.location.hash = link(used.row);
  });
  scroller.addEventListener("scroll", ask, { passive: true });
  document.addEventListener("keydown", key);
  const resized = new ResizeObserver(measure);
  window.addEventListener("resize", measure);
  resized.observe(scroller);

  return {
    element: scroller,
    /** Shows these rows; the same list may be given again after its rows have changed. */
    show(rows) {
      const before = state.rows[state.chosen];
      state.rows = rows;
      if (before && rows[state.chosen] !== before) state.chosen = rows.indexOf(before);
      if (rows.length !== state.shown) {
        state.shown = rows.length;
        grid.setAttribute("aria-rowcount", rows.length + 1);
        size();
      }
      ask();
    },
    sorted({ name, down }) {
      columns.forEach((column, i) => {
        if (!column.sort) return;
        heads[i].setAttribute("aria-sort", column.name !== name ? "none" : down ? "descending" : "ascending");
      });
    },
    /** The rows that are in view now. */
    inView: () => pool.filter(({ row }) => row).map(({ row }) => row),
    top() { scroller.scrollTop = 0; },
    close() { resized.disconnect(); window.removeEventListener("resize", measure); document.removeEventListener("keydown", key); },
  };
}
