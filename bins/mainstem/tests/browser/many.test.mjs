// Ten thousand chains: loaded, searched and scrolled without being felt.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { PHONE, browser, node, open, shot, until } from "./support.mjs";

const CHAINS = 10_000;
/** Longer tasks are felt as jank. */
const LONGEST_MS = 200;

let [main, chrome] = [];
before(async () => { [main, chrome] = await Promise.all([node("--chains", String(CHAINS), "--rate", "0.02"), browser()]); });
after(async () => { await chrome?.stop(); await main?.stop(); });

const allowed = (message) => /status of 404/.test(message);

/** Scrolls through the whole table within some two seconds; gives the longest task, the slowest frames and the rows in the document. */
const scroll = (page, planted = 0) => page.evaluate((plant) => new Promise((resolve) => {
  const box = document.querySelector(".scroller");
  const tasks = [];
  const watch = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
  watch.observe({ entryTypes: ["longtask"] });
  const frames = [];
  let [at, last, most, blank] = [0, performance.now(), 0, 0];
  const step = (now) => {
    frames.push(now - last);
    last = now;
    most = Math.max(most, document.querySelectorAll(".rows .row").length);
    at += 1;
    box.scrollTop = (box.scrollHeight - box.clientHeight) * (at <= 60 ? at / 60 : (120 - at) / 60);
    if (plant && at === 30) for (const end = performance.now() + plant; performance.now() < end;);
    if (at < 120) return requestAnimationFrame(step);
    setTimeout(() => {
      tasks.push(...watch.takeRecords().map((entry) => entry.duration));
      watch.disconnect();
      const top = box.getBoundingClientRect().top + 60;
      blank = document.elementsFromPoint(box.getBoundingClientRect().left + 100, top).some((element) => element.classList.contains("row")) ? 0 : 1;
      frames.sort((one, other) => one - other);
      resolve({ longest: Math.max(0, ...tasks), median: frames[60], p95: frames[114], most, blank });
    }, 300);
  };
  requestAnimationFrame(step);
}), planted);

test("ten thousand chains are scrolled without jank, by a handful of rows", async () => {
  const page = await open(chrome.opened, main.url, "#/chains", { allowed });
  await until(page, "all chains", () => /^10,000 chains$/.test(document.querySelector(".total")?.textContent));
  // A busy machine stretches a task now and then: what is in the program shows in every round.
  const rounds = [];
  for (let i = 0; i < 4 && !(rounds.at(-1)?.longest <= LONGEST_MS); i += 1) rounds.push(await scroll(page));
  const best = rounds.reduce((one, other) => (other.longest < one.longest ? other : one));
  console.log(`10,000 chains scrolled there and back in 120 frames: longest task ${best.longest} ms, frames p50 ${best.median.toFixed(1)} ms, p95 ${best.p95.toFixed(1)} ms, ${best.most} rows in the document`);
  assert.ok(best.longest <= LONGEST_MS, JSON.stringify(rounds));
  assert.ok(best.most < 80, `${best.most} rows`);
  assert.equal(best.blank, 0, "rows are where the eye is");
  assert.ok((await scroll(page, LONGEST_MS + 50)).longest > LONGEST_MS, "a long task would be seen");

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
  const page = await open(chrome.opened, main.url, "#/chains", { allowed, view: PHONE });
  await until(page, "all chains", () => /^10,000 chains$/.test(document.querySelector(".total")?.textContent));
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
  await shot(page, "many-phone");
  await page.close();
});
