// The dashboard in a real browser, against a real node.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { vectors } from "../../../../engine/verify/js/tests/cases.mjs";
import { DESK, PHONE, between, browser, go, node, open, operated, serious, shot, text, until } from "./support.mjs";

let [main, chrome] = [];
before(async () => { [main, chrome] = await Promise.all([node("--chains", "8", "--rate", "10"), browser()]); });
after(async () => { await chrome?.stop(); await main?.stop(); });

/** Pages, each with what shows that it has its figures. */
const PAGES = {
  overview: ["#/", () => /\d/.test(document.querySelector(".figure.main strong")?.textContent)],
  chains: ["#/chains", () => document.querySelectorAll(".rows .row:not([hidden])").length >= 8],
  chain: ["#/chains/tDVV", () => document.querySelectorAll("tbody tr").length >= 3],
  blocks: ["#/blocks", () => document.querySelectorAll("tbody tr").length >= 10],
  block: ["#/blocks/2", () => document.querySelectorAll(".rows .row:not([hidden])").length >= 1],
  side: ["#/chains/tDVV/blocks/3", () => document.querySelectorAll(".facts dd").length >= 6],
  proof: ["#/proof/tDVV/3", () => document.querySelector(".verdict[data-outcome=good]")],
  peers: ["#/peers", () => document.querySelectorAll(".rows .row:not([hidden])").length >= 8],
};

/** Routes that older nodes lack. */
const LACKING = /\/v1\/(stats|events|trace|chains\/[^/]+\/(history|why))/;
const show = (url, where, options) => open(chrome.opened, url, where, options);
const linked = (page, wanted) => until(page, `the link to be ${wanted}`, (name) => document.querySelector("#link").textContent.trim() === name, wanted);
const head = (page) => page.$eval(".figure.main strong", (element) => Number(element.textContent.replaceAll(",", "")));

test("the root leads browsers to the dashboard, which is light, goes on by itself and asks nobody else", async () => {
  const page = await chrome.opened.newPage();
  await page.goto(main.url, { waitUntil: "load" });
  assert.equal(new URL(page.url()).pathname, "/ui/");
  await page.close();

  const overview = await show(main.url, "#/");
  await until(overview, "a main head", PAGES.overview[1]);
  const first = await head(overview);
  await until(overview, "a later main head", (before) => Number(document.querySelector(".figure.main strong").textContent.replaceAll(",", "")) > before, first);
  await linked(overview, "Live");
  for (const where of ["#/chains", "#/chains/tDVV", "#/blocks", "#/proof/tDVV/3", "#/peers"]) {
    await go(overview, where);
    await until(overview, where, (title) => document.querySelector(".page:not([data-page=''])") && document.querySelector("#pages a[aria-current]")?.getAttribute("href") === title, `#/${where.split("/")[1]}`);
  }
  // Live is said of a stream that was opened, and again only of one that goes on.
  await until(overview, "a stream that goes on", () => { window.began ??= performance.now(); return performance.now() - window.began > 6_000; });
  await linked(overview, "Live");
  assert.ok(overview.heard.head > 0 && overview.heard.stats > 3, JSON.stringify(overview.heard));
  const weight = await overview.weight();
  const paint = await overview.evaluate(() => performance.getEntriesByType("paint").find(({ name }) => name === "first-contentful-paint")?.startTime);
  console.log(`first contentful paint ${Math.round(paint)} ms (goal on loopback: 300 ms), all files ${weight} bytes`);
  assert.ok(weight > 50_000 && weight < 300_000, `${weight} bytes`);
  assert.deepEqual(overview.wrong, []);
  await overview.close();
});

test("the table of chains is live, searched, sorted and filtered", async () => {
  const page = await show(main.url, "#/chains");
  await until(page, "the chains", PAGES.chains[1]);
  const durable = () => Number([...document.querySelectorAll(".rows .row")].find((row) => row.textContent.startsWith("tDVV")).children[5].textContent.replaceAll(",", ""));
  const before = await page.evaluate(durable);
  await until(page, "a later durable height", (then) => Number([...document.querySelectorAll(".rows .row")].find((row) => row.textContent.startsWith("tDVV")).children[5].textContent.replaceAll(",", "")) > then, before);

  const rows = () => page.$$eval(".rows .row:not([hidden]) a", (links) => links.filter((link) => link.offsetParent).map((link) => link.textContent));
  await page.type("input[type=search]", "chain 3");
  await until(page, "one chain", () => document.querySelectorAll(".rows .row:not([hidden])").length === 1);
  assert.deepEqual(await rows(), ["tDVX"]);
  assert.match(page.url(), /q=chain\+3/);
  await page.type("input[type=search]", " which is not there");
  await until(page, "that there is none", () => document.querySelector(".nothing").checkVisibility() && document.querySelectorAll(".rows .row:not([hidden])").length === 0);
  await page.click(".nothing button");
  const order = () => page.$$eval(".rows .row:not([hidden])", (all) => all.map((row) => [row.getAttribute("aria-rowindex"), row.querySelector("a").textContent]).sort((one, other) => one[0] - other[0]).map(([, chain]) => chain));
  await until(page, "all chains again", () => document.querySelectorAll(".rows .row:not([hidden])").length === 8);
  const up = await order();
  assert.deepEqual(up, [...up].sort());
  await page.click(".sort");
  await until(page, "the other order", () => document.querySelector("[aria-sort=descending]"));
  await until(page, "the rows in the other order", (wanted) => [...document.querySelectorAll(".rows .row:not([hidden])")].map((row) => [Number(row.getAttribute("aria-rowindex")), row.querySelector("a").textContent]).sort(([one], [other]) => one - other).map(([, chain]) => chain).join() === wanted, up.reverse().join());
  await page.click('.chip[data-state="live"]');
  await until(page, "the address of the filter", () => window.location.hash.includes("state=live"));
  await go(page, "#/chains?state=paused%2Clive&reason=in-step%2Cquiet");
  await until(page, "chains of several states", () => document.querySelectorAll('.chip[aria-pressed="true"]').length === 2 && document.querySelectorAll(".rows .row:not([hidden])").length > 0);
  assert.deepEqual(page.wrong, []);
  await page.close();
});

test("a chain's page tells its state in words, and leads to its blocks and their proof", async () => {
  const page = await show(main.url, "#/chains/tDVV");
  await until(page, "newest blocks", PAGES.chain[1]);
  assert.ok((await text(page, ".status p")).length > 10);
  await until(page, "why it is so, from its source to the log", () => document.querySelectorAll(".steps li[data-ok=true]").length >= 5 && document.querySelector(".steps").checkVisibility());
  await until(page, "the changes of its state", () => /in-step/.test(document.querySelector(".timeline li")?.textContent));
  const newest = await page.$eval("tbody tr", (row) => Number(row.dataset.height));
  await until(page, "a newer block", (then) => Number(document.querySelector("tbody tr").dataset.height) > then, newest);
  await page.click("tbody tr td:last-child a");
  await until(page, "a proof that verifies", PAGES.proof[1]);
  await page.close();
});

test("a proof is verified in the browser, under this node's main chain or under a header that is trusted", async () => {
  const page = await show(main.url, "#/proof/tDVV/3?head=9");
  await until(page, "a verdict", PAGES.proof[1]);
  assert.match(await text(page, ".verdict"), /Block 3 of chain tDVV, with hash 0x[0-9a-f]{64}, was indexed in main block/);
  assert.match(await text(page, ".verdict"), /this node's main chain/);
  assert.deepEqual(await page.$$eval(".part", (parts) => parts.map((part) => part.dataset.outcome)), ["good", "good", "good", "good"]);
  const { hash } = await (await fetch(`${main.url}/v1/blocks/9`)).json();
  await page.type("input[name=trusted]", hash);
  await until(page, "the trusted header", () => /of the header that you trust/.test(document.querySelector(".verdict[data-outcome=good]")?.textContent));
  await page.$eval("input[name=trusted]", (input) => { input.value = `${input.value.slice(0, -1)}${input.value.endsWith("0") ? "1" : "0"}`; input.dispatchEvent(new Event("input")); });
  await until(page, "another trusted header", () => document.querySelector(".verdict[data-outcome=bad]"));
  assert.deepEqual(await page.$$eval(".part", (parts) => parts.map((part) => part.dataset.outcome)), ["good", "good", "good", "bad"]);
  // The whole hash is found by keyboard alone.
  await page.$eval(".tree g[tabindex='0']", (box) => box.focus());
  await page.keyboard.press("ArrowDown");
  assert.match(await text(page, ".inspect"), /0x[0-9a-f]{64}/);
  assert.deepEqual(page.wrong, []);
  await page.close();
});

/** Another value of the same form. */
const other = (value) => (typeof value === "boolean" ? !value : typeof value === "number" ? value + 1 : `${value.slice(0, -1)}${value.endsWith("0") ? "1" : "0"}`);

/** The paths of all values in a document. */
const leaves = (value, at = []) => (value !== null && typeof value === "object" ? Object.entries(value).flatMap(([name, inner]) => leaves(inner, [...at, name])) : [at]);

function changed(document, path) {
  const copy = structuredClone(document);
  const last = path.at(-1);
  const holder = path.slice(0, -1).reduce((inner, name) => inner[name], copy);
  holder[last] = other(holder[last]);
  return copy;
}

async function verdict(page, document) {
  await page.$eval("textarea", (area, json) => {
    document.querySelector(".verdict")?.remove();
    area.value = json;
  }, typeof document === "string" ? document : JSON.stringify(document));
  await page.$eval("textarea", (area) => area.form.requestSubmit());
  return until(page, "a verdict", () => {
    const found = document.querySelector(".verdict");
    return found && { outcome: found.dataset.outcome, text: found.textContent, parts: [...document.querySelectorAll(".part")].map((part) => [part.querySelector("h3").textContent, part.dataset.outcome]) };
  });
}

test("a proof that was changed anywhere is shown broken, at the step that fails", async () => {
  const page = await show(main.url, "#/proof");
  await until(page, "the form", () => document.querySelector("textarea"));
  const proof = await (await fetch(`${main.url}/v1/proofs/tDVV/3?head=9`)).json();
  assert.equal((await verdict(page, proof)).outcome, "good");
  const where = { side_path: "Chain in the main block", history_path: "Main block in history" };
  let seen = 0;
  for (const path of leaves(proof)) {
    const found = await verdict(page, changed(proof, path));
    assert.equal(found.outcome, "bad", `${path.join(".")}: ${found.text}`);
    const bad = found.parts.filter(([, outcome]) => outcome === "bad").map(([title]) => title);
    if (found.parts.length > 0) assert.equal(bad.length, 1, `${path.join(".")}: ${JSON.stringify(found.parts)}`);
    // No part below the failing one is called right.
    const at = found.parts.findIndex(([, outcome]) => outcome === "bad");
    assert.ok(found.parts.slice(at + 1).every(([, outcome]) => outcome === "idle"), path.join("."));
    if (path[0] in where) { assert.deepEqual(bad, [where[path[0]]], path.join(".")); seen += 1; }
    if (path[0] === "head" && path[1] === "parent") assert.deepEqual(bad, ["The header to trust"]);
  }
  assert.ok(seen >= 6, `${seen} steps`);
  await verdict(page, changed(proof, ["history_path", "1", "hash"]));
  await shot(page, "proof-broken-light", { fullPage: true });
  for (const nothing of ["{}", "[1", '{"version":1,"kind":"other"}', "<img src=x onerror=alert(1)>"]) assert.equal((await verdict(page, nothing)).outcome, "bad", nothing);
  assert.deepEqual(page.wrong, []);
  await page.close();
});

test("documents of the other kinds are verified too, and refused when they were changed", async () => {
  const page = await show(main.url, "#/proof");
  await until(page, "the form", () => document.querySelector("textarea"));
  const get = async (path) => (await fetch(`${main.url}${path}`)).json();
  const blocks = await fetch(`${main.url}/v1/proofs`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ blocks: [{ chain: "tDVV", height: 2 }, { chain: "tDVW", height: 1 }], head: 9 }) });
  const documents = {
    consistency: await get("/v1/consistency?from=3&to=9"), absence: await get("/v1/blocks/5/chains/4242?head=9"), blocks: await blocks.json(),
    chain: await get(`/v1/blocks/${(await get("/v1/chains/tDVV/blocks/3")).indexed_in.height}/chains/tDVV?head=9`),
  };
  for (const [kind, document] of Object.entries(documents)) {
    assert.equal(document.kind, kind);
    const found = await verdict(page, document);
    assert.equal(found.outcome, "good", `${kind}: ${found.text}`);
    for (const path of leaves(document).filter((_, i) => i % 5 === 0)) {
      const broken = await verdict(page, changed(document, path));
      assert.equal(broken.outcome, "bad", `${kind} ${path.join(".")}: ${broken.text}`);
    }
  }
  assert.deepEqual(page.wrong, []);
  await page.close();
});

test("proofs of other main chains, of transactions too, are verified for whoever trusts their header", async () => {
  const page = await show(main.url, "#/proof");
  await until(page, "the form", () => document.querySelector("textarea"));
  const trust = (hash) => page.$eval("input[name=trusted]", (input, value) => { input.value = value; }, hash);
  const { accepted, refused } = vectors();
  const proven = new Set();
  for (const { name, json, trusted } of accepted) {
    await trust(trusted);
    const found = await verdict(page, json);
    assert.equal(found.outcome, "good", `${name}: ${found.text}`);
    assert.match(found.text, /of the header that you trust/, name);
    proven.add(/^.*?A transaction \((\w+)/.exec(found.text)?.[1] ?? JSON.parse(json).kind ?? "block");
  }
  assert.deepEqual([...proven].sort(), ["absence", "aelf", "block", "blocks", "chain", "consistency", "evm", "mainstem", "sim"]);
  await shot(page, "proof-transaction-light", { fullPage: true });
  // This node's main chain is not theirs.
  await trust("");
  assert.notEqual((await verdict(page, accepted[0].json)).outcome, "good");
  for (const { name, given } of refused.filter(({ given }, i) => typeof given === "string" && i % 3 === 0)) {
    const found = await verdict(page, given);
    assert.equal(found.outcome, "bad", `${name}: ${found.text}`);
  }
  assert.deepEqual(page.wrong, []);
  await page.close();
});

test("all of it can be done by keyboard", async () => {
  const page = await show(main.url, "#/");
  await until(page, "a main head", PAGES.overview[1]);
  await page.keyboard.press("Tab");
  assert.deepEqual(await page.evaluate(() => [document.activeElement.className, document.activeElement.getBoundingClientRect().top >= 0]), ["skip", true]);
  await page.keyboard.press("Tab");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "focus is seen");
  await page.keyboard.type("?");
  await until(page, "the help", () => document.querySelector("#help").open);
  await page.keyboard.press("Escape");
  await until(page, "no help", () => !document.querySelector("#help").open);
  await page.keyboard.type("gc");
  await until(page, "the chains", PAGES.chains[1]);
  await page.keyboard.press("/");
  await page.keyboard.type("simulated");
  await until(page, "the search", () => document.activeElement.type === "search" && document.activeElement.value === "simulated");
  await page.keyboard.press("Escape");
  await page.keyboard.type("jj");
  await until(page, "a chosen row", () => document.querySelector(".row.chosen")?.getAttribute("aria-rowindex") === "3");
  await page.keyboard.press("Enter");
  await until(page, "the second chain", () => window.location.hash === "#/chains/tDVW" && document.querySelector(".status"));
  const theme = () => page.evaluate(() => getComputedStyle(document.body).colorScheme || getComputedStyle(document.documentElement).colorScheme);
  const was = await theme();
  await page.keyboard.type("t");
  assert.notEqual(await theme(), was);
  await page.reload({ waitUntil: "load" });
  assert.notEqual(await theme(), was, "the choice is kept");
  await page.evaluate(() => localStorage.clear());
  assert.deepEqual(page.wrong, []);
  await page.close();
});

/** Other colours and sizes come from the same few rules: axe, which takes seconds, looks at these pages in them. */
const TELLING = ["overview", "chains", "proof"];

for (const [mode, options] of Object.entries({ light: { view: DESK }, dark: { view: DESK, scheme: "dark" }, phone: { view: PHONE } })) {
  test(`every page is accessible and fits, ${mode}`, async () => {
    const page = await show(main.url, "#/", options);
    for (const [name, [where, ready]] of Object.entries(PAGES)) {
      // Nothing of the page before is taken for this one.
      await page.evaluate(() => document.getElementById("main").replaceChildren());
      await page.evaluate((hash) => { if (window.location.hash === hash) window.dispatchEvent(new Event("hashchange")); else window.location.hash = hash; }, where);
      await until(page, name, ready);
      if (name === "overview") await until(page, "its stages", () => document.querySelectorAll(".stages li").length >= 4);
      const { over, scheme } = await page.evaluate(() => ({ over: document.documentElement.scrollWidth - window.innerWidth, scheme: getComputedStyle(document.documentElement).colorScheme }));
      assert.ok(over <= 0, `${name} is ${over} px too wide`);
      assert.equal(scheme, mode === "dark" ? "dark" : "light");
      if (mode === "light" || TELLING.includes(name)) assert.deepEqual(await serious(page), [], name);
      await shot(page, `${name}-${mode}`, { fullPage: mode === "phone" });
      assert.deepEqual(page.wrong, [], name);
    }
    await page.close();
  });
}

test("a chain that is paused or loses its node is seen to be, in the table and on its page", async () => {
  const world = await operated("tDVV", "tDVW", "tDVX");
  try {
    const [sender] = [await world.send("tDVV"), await world.send("tDVW")];
    const [list, chain] = [await show(world.url, "#/chains"), await show(world.url, "#/chains/tDVW")];
    // In the background it would rest, as a hidden page does.
    const listed = async (states) => {
      await list.bringToFront();
      await until(list, states, (wanted) => [...document.querySelectorAll(".rows .row:not([hidden])")].map((row) => [row.querySelector("a").textContent, row.querySelector(".pill").textContent].join(" ")).sort().join(", ") === wanted, states);
    };
    const shown = async (state, last, trouble) => {
      await chain.bringToFront();
      await until(chain, `${state} on its page`, (wanted) => document.querySelector(".status .pill")?.textContent === wanted, state);
      await until(chain, `${last} in its history`, (wanted) => document.querySelector(".timeline li code")?.textContent === wanted, last);
      await until(chain, `the step that is ${trouble ? "not " : ""}well`, (wanted) => document.querySelectorAll(".steps li").length >= 5 && (document.querySelector(".steps li[data-ok=false]") !== null) === wanted, trouble);
    };
    await listed("tDVV Live, tDVW Live, tDVX Disconnected");
    await linked(list, "Live");
    await shown("Live", "in-step", false);

    await world.admin("/v1/admin/chains/tDVW/pause");
    await listed("tDVV Live, tDVW Paused, tDVX Disconnected");
    await shown("Paused", "paused-by-operator", true);
    await shot(chain, "chain-paused-light");
    await world.admin("/v1/admin/chains/tDVW/resume");
    await listed("tDVV Live, tDVW Live, tDVX Disconnected");
    await shown("Live", "in-step", false);

    await sender.end("SIGTERM");
    await listed("tDVV Disconnected, tDVW Live, tDVX Disconnected");
    await go(chain, "#/chains/tDVV");
    await chain.bringToFront();
    await until(chain, "the other chain", () => /tDVV/.test(document.querySelector("h1")?.textContent));
    await until(chain, "that nobody speaks for it", () => document.querySelector(".status .pill")?.textContent === "Disconnected" && /Nobody speaks for this chain/.test(document.querySelector("main").textContent) && document.querySelector(".steps li[data-ok=false]"));
    // The stream said so, before anybody asked.
    assert.ok(list.heard.chain > 0, JSON.stringify(list.heard));
    assert.deepEqual([...list.wrong, ...chain.wrong], []);
    await Promise.all([list.close(), chain.close()]);
  } finally {
    await world.stop();
  }
});

test("an older node, which has neither stream nor figures, is asked again and again", async () => {
  const wire = await between(main.url, undefined, (url) => LACKING.test(url));
  const page = await show(wire.url, "#/", { allowed: (message, url) => /status of 404/.test(message) && LACKING.test(url) });
  await until(page, "a main head", PAGES.overview[1]);
  await linked(page, "Polling");
  const then = await head(page);
  await until(page, "a later main head", (before) => Number(document.querySelector(".figure.main strong").textContent.replaceAll(",", "")) > before, then);
  await linked(page, "Polling");
  await go(page, "#/chains/tDVV");
  await until(page, "newest blocks", PAGES.chain[1]);
  assert.match(await text(page, "main"), /keeps no history of states/);
  assert.deepEqual(page.heard, {});
  assert.deepEqual(page.wrong, []);
  await page.close();
  wire.stop();
});

test("a node that has no room for another stream is said to have none", async () => {
  const wire = await between(main.url, undefined, (url) => url.startsWith("/v1/events") && 503);
  const page = await show(wire.url, "#/", { allowed: (message, url) => /status of 503/.test(message) && url.includes("/v1/events") });
  await linked(page, "Polling");
  await until(page, "that there is no room", () => /no room for another stream/.test(document.querySelector("#link").title));
  assert.deepEqual(page.wrong, []);
  await page.close();
  wire.stop();
});

test("a page that cannot be shown has a heading, and so has each column", async () => {
  const lost = (message, url) => /status of 40[04]/.test(message) && /999999|LATEST/.test(url);
  const page = await show(main.url, "#/nowhere", { allowed: lost });
  const heading = (wanted) => until(page, `the heading ${wanted}`, (text) => document.querySelector("h1")?.textContent === text, wanted);
  await heading("There is no such page");
  for (const [where, title] of [["#/blocks/999999999", "No such main block"], ["#/chains/999999", "No such chain"], ["#/chains/tDVV/blocks/999999999", "The block is not indexed"]]) {
    await go(page, where);
    await heading(title);
  }
  for (const name of ["block", "chain"]) {
    await go(page, PAGES[name][0]);
    await until(page, name, PAGES[name][1]);
    const nameless = await page.$$eval("th, [role=columnheader]", (all) => all.filter((one) => !one.textContent.trim()).length);
    assert.equal(nameless, 0, name);
  }
  assert.deepEqual(page.wrong, []);
  await page.close();
});

test("a node that goes away is told of, and found again", async () => {
  const wire = await between(main.url);
  const page = await show(wire.url, "#/", { allowed: () => true });
  await until(page, "a main head", PAGES.overview[1]);
  wire.cut(true);
  await until(page, "that the node is away", () => !document.querySelector("#banner").hidden && /not reachable/.test(document.querySelector("#banner").textContent));
  await shot(page, "lost-light");
  const then = await head(page);
  wire.cut(false);
  await until(page, "that it is back", (before) => document.querySelector("#banner").hidden && Number(document.querySelector(".figure.main strong").textContent.replaceAll(",", "")) > before, then);
  await linked(page, "Live");
  await page.close();
  wire.stop();
});

test("what a chain calls itself is text, whatever it is", async () => {
  const name = "<img src=x onerror=\"document.title='run'\"><b>bold</b>";
  const wire = await between(main.url, (_, body) => body.replaceAll(/"simulated chain \d+"/g, JSON.stringify(name)));
  const page = await show(wire.url, "#/chains/tDVV");
  await until(page, "the name", (wanted) => document.querySelector("h1")?.textContent === wanted, name);
  await go(page, "#/chains");
  await until(page, "the names", (wanted) => [...document.querySelectorAll(".rows .cell")].some((cell) => cell.textContent === wanted), name);
  assert.deepEqual(await page.evaluate(() => [document.querySelectorAll("main img, main b.bold").length, document.title.includes("run")]), [0, false]);
  await page.close();
  wire.stop();
});
