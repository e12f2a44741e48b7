// What the browser tests are made of: real nodes, a real browser, and a way to come between both.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";

const need = (name) => process.env[name] ?? (() => { throw new Error(`${name} is not set: run \`cargo xtask browser\``); })();
const peers = createRequire(path.join(need("MAINSTEM_PEERS"), "package.json"));
const puppeteer = peers("puppeteer-core");
const axe = readFileSync(peers.resolve("axe-core/axe.min.js"), "utf8");
export const SHOTS = need("MAINSTEM_SHOTS");
mkdirSync(SHOTS, { recursive: true });

const folder = (name) => mkdtempSync(path.join(tmpdir(), `mainstem-${name}-`));

// What is started ends with the test, however that ends.
const leash = spawnSync("setpriv", ["--version"]).status === 0 ? ["setpriv", "--pdeathsig", "KILL", "--"] : [];

/** Starts a program; gives it with what the patterns find in what it says, and a way to end it. */
async function start(program, args, ...patterns) {
  const [first, ...rest] = [...leash, program, ...args];
  const child = spawn(first, rest, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const found = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`${path.basename(program)} ended with ${code}: ${said}`)));
    const hear = (bytes) => {
      // What it says later is read, so that it never waits, and forgotten.
      if (said.length < 100_000) said += bytes;
      const all = patterns.map((pattern) => pattern.exec(said)?.[1]);
      if (all.every((one) => one !== undefined)) resolve(all);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    if (patterns.length === 0) resolve([]);
  });
  const end = async (signal = "SIGKILL") => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  };
  return { found, end };
}

/** A node with simulated side chains; ends with `stop()`. */
export async function node(...args) {
  const data = folder("world");
  const { found: [url], end } = await start(need("MAINSTEM_BIN"), ["dev", "--data", path.join(data, "world"), "--api", "127.0.0.1:0", "--quic", "127.0.0.1:0", ...args], /^api +(http:\S+)/m);
  return { url, async stop() { await end(); rmSync(data, { recursive: true, force: true }); } };
}

/** The output of a program that has to succeed. */
function output(program, ...args) {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${path.basename(program)} ${args.join(" ")} ended with ${status}: ${stderr}`);
  return stdout.trim();
}

/** A node as operators run it, with these side chains, for which nobody speaks yet. */
export async function operated(...chains) {
  const [mainstem, data] = [need("MAINSTEM_BIN"), folder("operated")];
  const [key, genesis, dir] = ["side.key", "genesis.toml", "data"].map((name) => path.join(data, name));
  const owner = output(mainstem, "keys", "new", key);
  writeFileSync(genesis, `[main]\nid = "AELF"\nname = "operated"\n${chains.map((chain) => `[[chain]]\nid = "${chain}"\nname = "chain ${chain}"\nnodes = ["${owner}"]\n`).join("")}`);
  output(mainstem, "init", "--data", dir, "--genesis", genesis);
  const { found: [ingest, url, identity], end } = await start(mainstem, ["run", "--data", dir, "--ingest.addr", "127.0.0.1:0", "--api.addr", "127.0.0.1:0"], /^ingest +quic (\S+)/m, /^api +(http:\S+)/m, /^public key +(\S+)/m);
  const senders = [];
  return {
    url,
    /** A simulated side chain, five blocks a second. */
    async send(chain) {
      const sender = await start(need("TRIBUTARY_BIN"), ["sim", "--main", ingest, "--main-key", identity, "--chain", chain, "--rate", "5", "--key", key]);
      senders.push(sender);
      return sender;
    },
    /** What only its operator may ask, by the socket in its data directory. */
    admin: (where) => new Promise((resolve, reject) => {
      const request = http.request({ socketPath: path.join(dir, "admin.sock"), path: where, method: "POST" }, (answer) => {
        let body = "";
        answer.on("data", (bytes) => { body += bytes; });
        answer.on("end", () => (answer.statusCode < 300 ? resolve(body) : reject(new Error(`${where}: ${answer.statusCode} ${body}`))));
      });
      request.on("error", reject);
      request.end();
    }),
    async stop() {
      for (const sender of senders) await sender.end();
      await end();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

export async function browser() {
  const profile = folder("browser");
  const opened = await puppeteer.launch({
    executablePath: need("MAINSTEM_CHROMIUM"), headless: true, userDataDir: profile, protocolTimeout: 120_000,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const stop = async () => {
    await opened.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { opened, stop };
}

export const DESK = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844, isMobile: true, hasTouch: true };

/** A page of the dashboard that remembers whatever went wrong in it, and what it weighed. */
export async function open(opened, url, where = "#/", { view = DESK, scheme = "light", allowed = () => false } = {}) {
  const page = await opened.newPage();
  const wrong = [];
  const weights = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // A browser logs each answer above 399 by itself; the routes that a page asks and an older node may lack are no fault.
    if (message.type() === "error" && !allowed(message.text(), message.location().url ?? "")) wrong.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) wrong.push(`asks elsewhere: ${request.url()}`); });
  page.on("response", async (response) => {
    if (new URL(response.url()).pathname.startsWith("/ui/") && response.status() === 200) weights.push(response.buffer().then((bytes) => bytes.length, () => 0));
  });
  // The events of the stream, by name, as the browser got them.
  const heard = {};
  const session = await page.createCDPSession();
  session.on("Network.eventSourceMessageReceived", ({ eventName }) => { heard[eventName] = (heard[eventName] ?? 0) + 1; });
  await session.send("Network.enable");
  await page.setViewport(view);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(`${url}/ui/${where}`, { waitUntil: "load" });
  return Object.assign(page, { wrong, heard, weight: async () => (await Promise.all(weights)).reduce((sum, bytes) => sum + bytes, 0) });
}

/** Waits until `question`, run in the page, gives something; `args` go with it. */
export async function until(page, what, question, ...args) {
  try {
    const handle = await page.waitForFunction(question, { timeout: 45_000, polling: 100 }, ...args);
    return await handle.jsonValue();
  } catch (error) {
    const text = await page.evaluate(() => document.body.innerText.slice(0, 1500)).catch(() => "");
    throw new Error(`${what}: ${error.message}\n${text}`);
  }
}

export const text = (page, selector) => page.$eval(selector, (element) => element.textContent);

/** Goes to another page of the dashboard, as a click on a link does. */
export const go = (page, where) => page.evaluate((hash) => { window.location.hash = hash; }, where);

/** What axe finds that is serious or worse. */
export async function serious(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ html, any }) => `${html.slice(0, 160)} ${any[0]?.message ?? ""}`).join(" | ")}`);
}

export const shot = (page, name, options = {}) => page.screenshot({ path: path.join(SHOTS, `${name}.png`), ...options });

/** Stands between browser and node: can be cut, change answers on their way, and lack routes, or
 * answer them with a status of its own. */
export async function between(url, change = (_, body) => body, lacks = () => false) {
  let cut = false;
  const sockets = new Set();
  const server = http.createServer((request, response) => {
    const lacking = lacks(request.url);
    if (lacking) return void response.writeHead(lacking === true ? 404 : lacking, { "content-type": "application/problem+json" }).end("{}");
    const onward = http.request(`${url}${request.url}`, { method: request.method, headers: { ...request.headers, host: new URL(url).host } }, (answer) => {
      const { "content-length": _, ...headers } = answer.headers;
      response.writeHead(answer.statusCode, headers);
      if (!/json/.test(headers["content-type"] ?? "")) return void answer.pipe(response);
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => response.end(change(request.url, Buffer.concat(parts).toString())));
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  server.on("connection", (socket) => {
    if (cut) return void socket.destroy();
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut(yes) { cut = yes; if (yes) for (const socket of sockets) socket.destroy(); },
    stop() { for (const socket of sockets) socket.destroy(); server.close(); },
  };
}
