// Ten thousand chains: loaded, searched and scrolled by a handful of rows.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { PHONE, browser, node, open, shot, until } from "./support.mjs";

const CHAINS = 10_000;
/** What no machine, however busy, makes of a good program. How long tasks are otherwise is printed, not judged. */
const FAR_TOO_LONG_MS = 2_000;

let [main, chrome] = [];
before(async () => { [main, chrome] = await Promise.all([node("--chains", String(CHAINS), "--rate", "0.02"), browser()]); });
after(async () => { await chrome?.stop(); await main?.stop(); });

/**
 * Scrolls to each of these places, and looks after each once the page is painted. Gives the most rows that were in the document,
 * how many places in view were without their row, the most rows that a step gave another place, how many elements were
 * made, and the longest task.
 */
const scroll = (page, places, planted = 0) => page.evaluate(async (fractions, plant) => {
  const [box, rows] = [document.querySelector(".scroller"), document.querySelector(".rows")];
  const tasks = [];
  const watch = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
  watch.observe({ entryTypes: ["longtask"] });
  let records = [];
  const changes = new MutationObserver((list) => records.push(...list));
  const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve))));
  const result = { most: 0, blank: 0, moved: 0, made: 0, longest: 0 };
  for (const [i, fraction] of fractions.entries()) {
    changes.observe(rows, { subtree: true, childList: true, attributes: true, attributeFilter: ["aria-rowindex"] });
    box.scrollTop = fraction <= 1 ? fraction * (box.scrollHeight - box.clientHeight) : fraction;
    if (plant && i === 0) await new Promise((resolve) => setTimeout(() => { for (const end = performance.now() + plant; performance.now() < end;); resolve(); }));
    await painted();
    records.push(...changes.takeRecords());
    result.moved = Math.max(result.moved, new Set(records.filter(({ type }) => type === "attributes").map(({ target }) => target)).size);
    result.made += records.filter(({ type, target }) => type === "childList" && target === rows).reduce((sum, { addedNodes }) => sum + addedNodes.length, 0);
    changes.disconnect();
    records = [];
    const all = [...rows.children];
    result.most = Math.max(result.most, all.length);
    const height = parseFloat(getComputedStyle(box).getPropertyValue("--row"));
    const at = new Set(all.filter((row) => !row.hidden && row.textContent.length > 0).map((row) => Number(row.getAttribute("aria-rowindex"))));
    const last = Math.min(Math.floor((box.scrollTop + box.clientHeight - height) / height), rows.offsetHeight / height - 1);
    for (let row = Math.floor(box.scrollTop / height); row < last; row += 1) if (!at.has(row + 2)) result.blank += 1;
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  tasks.push(...watch.takeRecords().map((entry) => entry.duration));
  watch.disconnect();
  result.longest = Math.round(Math.max(0, ...tasks));
  return result;
}, places, planted);

test("ten thousand chains are scrolled by a handful of rows, which are used again", async () => {
  const page = await open(chrome.opened, main.url, "#/chains");
  await until(page, "all chains", () => /^10,000 chains$/.test(document.querySelector(".total")?.textContent));
  const there = Array.from({ length: 30 }, (_, i) => i / 29);
  const far = await scroll(page, [...there, ...there.toReversed()]);
  // Five rows at a time, from somewhere in the middle.
  const near = await scroll(page, [40_000, ...Array.from({ length: 30 }, (_, i) => 40_000 + (i + 1) * 5 * 34)]);
  const steps = await scroll(page, Array.from({ length: 30 }, (_, i) => 40_000 + (31 + i) * 5 * 34));
  console.log(`10,000 chains scrolled there and back, then five rows at a time: ${far.most} rows in the document, ${steps.moved} moved at a step, longest task ${Math.max(far.longest, near.longest, steps.longest)} ms`);
  for (const seen of [far, near, steps]) {
    assert.ok(seen.most > 10 && seen.most < 80, `${seen.most} rows`);
    assert.equal(seen.blank, 0, "rows are where the eye is");
    assert.ok(seen.longest < FAR_TOO_LONG_MS, `a task of ${seen.longest} ms`);
  }
  assert.ok(steps.moved >= 5 && steps.moved <= 8, `${steps.moved} rows moved for five that came into view`);
  assert.equal(steps.made, 0, "rows are used again");
  assert.ok((await scroll(page, [0], 250)).longest >= 250, "a long task would be seen");

  await page.$eval(".scroller", (box) => { box.scrollTop = box.scrollHeight; });
  await until(page, "the last row", () => [...document.querySelectorAll(".rows .row:not([hidden])")].some((row) => row.getAttribute("aria-rowindex") === "10001"));
  await page.type("input[type=search]", "chain 9999");
  await until(page, "one of them", () => document.querySelectorAll(".rows .row:not([hidden])").length === 1 && /^1 of 10,000/.test(document.querySelector(".total").textContent));
  await page.$eval("input[type=search]", (input) => { input.value = ""; input.dispatchEvent(new Event("input")); });
  await page.evaluate(() => document.querySelector(".scroller").scrollTo(0, 0));
  await until(page, "all again", () => /^10,000 chains$/.test(document.querySelector(".total")?.textContent));
  await shot(page, "many-light");
  assert.deepEqual(page.wrong, []);
  await page.close();
});

test("ten thousand chains are there on a phone too", async () => {
  const page = await open(chrome.opened, main.url, "#/chains", { view: PHONE });
  await until(page, "all chains", () => /^10,000 chains$/.test(document.querySelector(".total")?.textContent));
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
  assert.deepEqual(page.wrong, []);
  await shot(page, "many-phone");
  await page.close();
});
