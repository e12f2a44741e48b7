// What the browser tests are made of: real nodes, a real browser, and a way to come between both.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
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

/** A node with simulated side chains; ends with `stop()`. */
export async function node(...args) {
  const data = folder("world");
  const child = spawn(need("MAINSTEM_BIN"), ["dev", "--data", path.join(data, "world"), "--api", "127.0.0.1:0", "--quic", "127.0.0.1:0", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const url = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the node ended with ${code}: ${said}`)));
    const hear = (bytes) => {
      said += bytes;
      const found = /^api +(http:\S+)/m.exec(said);
      if (found) resolve(found[1]);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
  });
  const stop = async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await ended;
    }
    rmSync(data, { recursive: true, force: true });
  };
  return { url, stop };
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
  await page.setViewport(view);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(`${url}/ui/${where}`, { waitUntil: "load" });
  return Object.assign(page, { wrong, weight: async () => (await Promise.all(weights)).reduce((sum, bytes) => sum + bytes, 0) });
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

/** Stands between browser and node: can be cut, and change answers on their way. */
export async function between(url, change = (_, body) => body) {
  let cut = false;
  const sockets = new Set();
  const server = http.createServer((request, response) => {
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
