// What the node says, as it says it: by its stream of events where there is one, else by asking again and again. Pages read
// `live` and listen to its topics: link, status, stats, head, chains.

import { setSkew } from "./dom.js";

/** What went wrong with a request. `status` is 0 where the node could not be reached. */
export class ApiError extends Error {
  constructor(status, title, detail, kind) {
    super(detail);
    Object.assign(this, { status, title, detail, kind });
  }
}

/** The JSON of a route. Throws an ApiError. */
export async function get(path, { signal, text = false, timeout = 10_000 } = {}) {
  const limit = AbortSignal.timeout(timeout);
  let response;
  try {
    response = await fetch(path, { signal: signal ? AbortSignal.any([signal, limit]) : limit, headers: { Accept: "application/json" } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The node is not reachable", limit.aborted ? "It did not answer in time." : "No connection to it can be made.");
  }
  if (response.ok) return text ? response.text() : response.json();
  const said = await response.json().catch(() => ({}));
  throw new ApiError(response.status, said.title ?? "The node refused", said.detail ?? `It answered ${response.status}.`, said.type?.split(":").at(-1));
}

const PAGE = 1_000;
const HISTORY = 300;

class Live {
  link = "connecting";
  status; stats; head;
  /** One a second: { time, side_blocks, main_blocks, p99_ms, waiting }. */
  history = [];
  chains = new Map();
  chainsLoaded = false;
  /** Whether the node has streams of events, and no room for another one. */
  crowded = false;
  #topics = new Map();
  #wanted = 0;
  #stream; #streamTopics = ""; #streamRetry = 0; #streamFails = 0;
  #changed = new Set(); #flush = 0;
  #statsMissing = false; #last; #historyAsked = 0; #statusAsked = 0; #page = 0; #pageAsked = 0; #loading; #heard = -Infinity;

  on(topic, listener) {
    const listeners = this.#topics.get(topic) ?? this.#topics.set(topic, new Set()).get(topic);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  #tell(topic, value) {
    for (const listener of this.#topics.get(topic) ?? []) listener(value);
  }

  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#turn()));
    window.addEventListener("pagehide", () => this.#close());
    this.#turn();
  }

  /** The chains, all of them, loaded and kept up to date for as long as somebody wants them. */
  wantChains() {
    this.#wanted += 1;
    void this.#loadChains();
    this.#openStream();
    return () => { this.#wanted -= 1; };
  }

  // Once a second, or as soon as the node has answered what it was asked last.
  async #turn() {
    clearTimeout(this.timer);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (document.hidden) return;
    const start = performance.now();
    try {
      if (this.link !== "live" && this.link !== "polling") await this.#arrive();
      else await this.#ask();
    } catch (error) {
      if (error instanceof ApiError && error.status !== 0) this.#setLink("polling");
      else if (error instanceof ApiError) { this.#close(); this.#setLink("lost"); }
      else console.error(error);
    }
    if (turn !== this.turn) return;
    this.timer = setTimeout(() => this.#turn(), Math.max(250, 1000 - (performance.now() - start)));
  }

  /** The node was found, for the first time or again: everything is asked anew. */
  async #arrive() {
    const asked = performance.now();
    const status = await get("/v1/status");
    this.#setStatus(status);
    this.#statusAsked = asked;
    this.#statsMissing = false;
    this.#streamRetry = 0;
    await this.#askStats();
    this.#setLink(this.#stream ? "live" : "polling");
    this.#openStream();
    if (this.#wanted > 0) void this.#loadChains();
    this.#tell("arrived");
  }

  async #ask() {
    const now = performance.now();
    this.#openStream();
    const streamed = now - this.#heard < 5_000;
    if (now - this.#statusAsked > 5_000 || (!streamed && this.#statsMissing)) {
      this.#statusAsked = now;
      this.#setStatus(await get("/v1/status"));
    }
    if (!streamed && this.#statsMissing && now - this.#historyAsked > 20_000) this.#statsMissing = false;
    if (!streamed || now - this.#historyAsked > 20_000) await this.#askStats();
    // Events tell of chains whose state changes. How far each is changes all the time, and is asked for.
    if (this.#wanted > 0 && now - this.#pageAsked > (streamed && this.chains.size > PAGE ? 5_000 : 900)) {
      this.#pageAsked = now;
      await this.#pollChains();
    }
    this.#setLink(streamed ? "live" : "polling");
  }

  async #askStats() {
    if (this.#statsMissing) return;
    this.#historyAsked = performance.now();
    try {
      this.#setStats(await get("/v1/stats"));
    } catch (error) {
      if (error.status !== 404) throw error;
      this.#statsMissing = true;
    }
  }

  #setStatus(status) {
    this.status = status;
    this.#tell("status", status);
    if (status.head) this.#setHead(status.head);
    if (this.#statsMissing || !this.stats) this.#point(Date.now(), status.side_blocks, status.head?.height ?? 0);
  }

  #setStats(stats) {
    if (typeof stats.time === "number") setSkew(stats.time - Date.now());
    const history = stats.history;
    this.stats = stats;
    if (history?.length) {
      this.history = history.slice(-HISTORY);
      this.#last = { time: stats.time, side: stats.side_blocks, main: stats.head?.height ?? 0 };
    } else this.#point(stats.time, stats.side_blocks, stats.head?.height ?? 0, stats);
    if (stats.head) this.#setHead(stats.head);
    this.#tell("stats", stats);
  }

  /** A point of the history from what was counted so far, for a node that tells none. */
  #point(time, side, main, stats) {
    const last = this.#last;
    if (last && time - last.time < 700) return;
    this.#last = { time, side, main };
    if (!last || time <= last.time || side < last.side) return;
    const seconds = (time - last.time) / 1000;
    this.history.push({ time, side_blocks: (side - last.side) / seconds, main_blocks: Math.max(0, main - last.main) / seconds, p99_ms: stats?.latency?.p99_ms });
    if (this.history.length > HISTORY) this.history.shift();
    if (!stats) this.#tell("stats", undefined);
  }

  #setHead(head) {
    if (!head) return;
    if (this.head && this.head.height > head.height && this.link === "live") return;
    const moved = this.head?.height !== head.height || this.head?.hash !== head.hash;
    this.head = head;
    if (moved) this.#tell("head", head);
  }

  #setLink(link) {
    if (this.link === link) return;
    this.link = link;
    this.#tell("link", link);
  }

  // The stream.

  #openStream() {
    const topics = this.#wanted > 0 ? "heads,stats,chains" : "heads,stats";
    if (document.hidden || this.link === "lost" || this.link === "connecting") return;
    if (this.#stream && (this.#streamTopics === topics || this.#streamTopics.includes(topics))) return;
    if (performance.now() < this.#streamRetry) return;
    this.#close();
    const stream = new EventSource(`/v1/events?topics=${topics}`);
    this.#stream = stream;
    this.#streamTopics = topics;
    const hear = (name, act) => stream.addEventListener(name, (event) => {
      this.#heard = performance.now();
      this.#streamFails = 0;
      try {
        act(JSON.parse(event.data));
      } catch (error) {
        console.error(error);
      }
    });
    hear("head", (head) => this.#setHead(head));
    hear("stats", (stats) => this.#setStats(stats));
    hear("chain", (chain) => this.#setChain(chain));
    let opened = false;
    stream.addEventListener("open", () => {
      opened = true;
      this.#setCrowded(false);
      this.#heard = performance.now();
      this.#setLink("live");
    });
    stream.addEventListener("error", () => {
      if (this.#stream !== stream) return;
      // A route that is not there, or a node that went away: which of both, the next question shows.
      this.#close();
      if (!opened) void this.#whyNot();
      this.#streamFails += 1;
      // A stream ends by itself after some minutes; one that never began is not there, or there are too many.
      this.#streamRetry = this.#streamFails === 1 ? 0 : performance.now() + Math.min(30_000, 1_000 * 2 ** this.#streamFails);
      void this.#turn();
    });
  }

  // An EventSource does not tell what it was answered.
  async #whyNot() {
    const asked = new AbortController();
    try {
      const { status } = await fetch("/v1/events?topics=heads", { signal: AbortSignal.any([asked.signal, AbortSignal.timeout(5_000)]) });
      this.#setCrowded(status === 503);
    } catch {
      // The next question shows that the node went away.
    } finally {
      asked.abort();
    }
  }

  #setCrowded(crowded) {
    if (this.crowded === crowded) return;
    this.crowded = crowded;
    this.#tell("link", this.link);
  }

  #close() {
    this.#stream?.close();
    this.#stream = undefined;
    this.#streamTopics = "";
  }

  // The chains.

  async #loadChains() {
    if (this.#loading) return this.#loading;
    const load = async () => {
      const seen = new Set();
      let after;
      do {
        const page = await get(`/v1/chains?limit=${PAGE}${after === undefined ? "" : `&after=${after}`}`);
        for (const chain of page.chains) { seen.add(chain.chain_id); this.#setChain(chain); }
        after = page.next ?? undefined;
        this.#flushChains();
        // Other work goes first: thousands of chains are not to be felt.
        await new Promise((resolve) => setTimeout(resolve));
      } while (after !== undefined);
      for (const id of this.chains.keys()) if (!seen.has(id)) this.chains.delete(id);
      this.chainsLoaded = true;
      this.#changed.add(-1);
      this.#flushChains();
    };
    this.#loading = load().catch((error) => console.warn(error.message)).finally(() => { this.#loading = undefined; });
    return this.#loading;
  }

  /** A chain as it was asked for by itself. */
  take(chain) {
    this.#setChain(chain);
  }

  /** One page at a time, all of them in turn. */
  async #pollChains() {
    if (this.#loading || !this.chainsLoaded) return void (this.#loading ?? this.#loadChains());
    const page = await get(`/v1/chains?limit=${PAGE}${this.#page ? `&after=${this.#page}` : ""}`);
    for (const chain of page.chains) this.#setChain(chain);
    this.#page = page.next ?? 0;
  }

  #setChain(chain) {
    if (typeof chain?.chain_id !== "number") return;
    const known = this.chains.get(chain.chain_id);
    if (known) Object.assign(known, chain);
    else this.chains.set(chain.chain_id, chain);
    this.#changed.add(chain.chain_id);
    // A burst of changes is shown at once, four times a second at most.
    if (!this.#flush) this.#flush = setTimeout(() => this.#flushChains(), 250);
  }

  #flushChains() {
    clearTimeout(this.#flush);
    this.#flush = 0;
    if (this.#changed.size === 0) return;
    const changed = this.#changed;
    this.#changed = new Set();
    this.#tell("chains", changed);
  }
}

export const live = new Live();
