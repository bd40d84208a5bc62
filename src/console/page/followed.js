// One conversation, followed: what happens to it, by the daemon's events, and what comes next, by the daemon's own account.

import { Refusal } from "./daemon.js";
import { Strip, elapsed, now } from "./strip.js";
import { later } from "./words.js";

/** How often it is fetched: while something happens, otherwise, and how soon after an event. */
const REFRESH_BUSY_MS = 300;
const REFRESH_MS = 1_000;
const REFRESH_SOON_MS = 90;
/** How long after its last signal it may still change. */
const AFTERWARDS_MS = 10_000;

/** What the upstream shows, by name. @type {Record<string, boolean | null>} */
export const SHOWN = { on: true, off: false, unknown: null };

export class Followed {
  strip = new Strip();
  /** @type {import("./daemon.js").Conversation | null} */
  conversation = null;
  /** Whether the built-in sandbox shows its icon; otherwise the icon is what the upstream has acknowledged. */
  inView = true;
  /** Whether its keys are pressed elsewhere, and its past is the daemon's. */
  #elsewhere = false;
  /** Whether the daemon knows it. */
  #known = false;
  #timer = 0;
  #soon = false;
  #fetching = false;
  /** The daemon's explanation, and when it was true. */
  #explanation = { text: "", at: 0, deadlines: /** @type {number[]} */ ([]) };
  /** When the last event came. */
  #taken = 0;

  /**
   * @param {import("./daemon.js").Daemon} daemon
   * @param {() => import("./strip.js").Skew} skew
   */
  constructor(daemon, skew) {
    this.daemon = daemon;
    this.skew = skew;
    daemon.addEventListener("explained", (event) => this.#apply(/** @type {CustomEvent} */ (event).detail));
    daemon.addEventListener("link", () => daemon.up || this.#lose());
    daemon.addEventListener("fresh", () => (daemon.fresh ? this.refreshSoon() : this.#age()));
  }

  /**
   * @param {import("./daemon.js").Conversation | null} conversation
   * @param {boolean} elsewhere Whether its keys are pressed elsewhere.
   */
  choose(conversation, elsewhere) {
    this.conversation = conversation;
    this.#elsewhere = elsewhere;
    this.#known = elsewhere;
    this.strip.clear();
    this.#outdate();
    void this.#refresh();
  }

  /** @param {import("./daemon.js").Conversation} conversation */
  is({ to, from }) {
    return this.conversation?.to === to && this.conversation.from === from;
  }

  /** The daemon has taken a signal of this page. */
  signalled() {
    this.#known = true;
    this.refreshSoon();
  }

  /**
   * An event of this conversation.
   * @param {string} event
   * @param {any} data
   * @param {number} here When, on this page's clock.
   * @returns {import("./strip.js").Request | undefined} The request that it is about, if that is known.
   */
  take(event, data, here) {
    // What was explained before it is older than it.
    this.#taken = now();
    this.#outdate();
    this.refreshSoon();
    if (event === "ignored") return undefined;
    this.#known = true;
    if (event === "decided") {
      const request = { id: data.id, at: here, indicator: data.indicator, reason: data.reason, outcome: null };
      this.strip.add(request);
      return request;
    }
    const shown = this.inView ? undefined : acknowledged(event, data);
    if (shown !== undefined) this.strip.show(here, shown);
    const request = this.strip.requests.findLast(({ id }) => id === data.id);
    if (request) {
      request.outcome = event === "result" ? data.outcome : data.why;
      this.strip.touch();
    }
    return request;
  }

  refreshSoon() {
    if (this.#soon) return;
    this.#soon = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#refresh(), REFRESH_SOON_MS);
  }

  /** Fetches the conversation: its explanation, and what comes next. */
  async #refresh() {
    clearTimeout(this.#timer);
    this.#soon = false;
    const { conversation, strip } = this;
    const busy = strip.shown !== false || now() - (strip.signals.at(-1)?.at ?? 0) < AFTERWARDS_MS;
    this.#timer = setTimeout(() => void this.#refresh(), busy ? REFRESH_BUSY_MS : REFRESH_MS);
    if (!conversation || !this.#known || document.hidden || !this.daemon.up || !(busy || this.#elsewhere)) return;
    if (this.#fetching) return;
    this.#fetching = true;
    try {
      await this.daemon.explain(conversation);
    } catch (error) {
      if (!(error instanceof Refusal) || conversation !== this.conversation) return;
      // It is out of memory, and fetched again when there is an event of it.
      if (error.status === 404) this.#known = false;
      if (error.status === 404 && strip.shown !== false) strip.show(now(), false);
      strip.expect(null, null);
      this.#outdate();
    } finally {
      this.#fetching = false;
    }
  }

  /** @param {import("./daemon.js").Explanation} explanation */
  #apply({ conversation, found, asked, at }) {
    if (!this.is(conversation) || at < this.#explanation.at) return;
    if (this.#taken < asked) this.#see(found, at);
    else this.refreshSoon();
  }

  /**
   * @param {any} found
   * @param {number} moment
   */
  #see(found, moment) {
    const { strip } = this;
    if (this.#elsewhere) {
      strip.replace(past(found, this.skew()));
      const last = found.last_signal;
      if (last?.signal === "keystroke") strip.key(moment - last.ago_ms);
    }
    // What was lost sight of is in view again.
    if (!this.inView && strip.shown === null && SHOWN[found.shown] !== null) strip.show(moment, SHOWN[found.shown] ?? null);
    const due = (/** @type {number | null | undefined} */ ms) => (typeof ms === "number" ? moment + ms : null);
    const typing = found.state !== "forgotten";
    strip.expect(typing ? due(found.deadlines?.check_in_ms) : null, typing ? due(found.deadlines?.dismiss_in_ms) : null, moment);
    this.#explanation = { text: found.explanation ?? "", at: moment, deadlines: deadlines(found) };
  }

  /** The explanation with its times counted down to now. */
  get explanation() {
    const { text, at, deadlines } = this.#explanation;
    const left = later(text, elapsed(at), deadlines);
    if (text && !left) this.refreshSoon();
    return left;
  }

  /** What was explained is no longer so. */
  #outdate() {
    this.#explanation = { text: "", at: 0, deadlines: [] };
  }

  /** The daemon has not answered for a second: what was shown may no longer be so. */
  #age() {
    this.#outdate();
    this.strip.expect(null, null);
    if (this.strip.shown) this.strip.show(now(), null);
  }

  /** The daemon may have forgotten it when it is back. */
  #lose() {
    this.#known = this.#elsewhere;
    this.#age();
  }
}

/**
 * The daemon's history of a conversation, as a strip has it. A history is finite: `since` is where it begins, and
 * Infinity if there is none.
 * @param {any} found The daemon's answer.
 * @param {import("./strip.js").Skew} skew
 */
export function past(found, skew) {
  /** @type {Strip["signals"]} */
  const signals = [];
  /** @type {Strip["requests"]} */
  const requests = [];
  /** @type {Strip["icon"]} */
  const icon = [];
  let since = Infinity;
  for (const one of found.transitions ?? []) {
    const at = skew.earlier(one.at, one.ago_ms);
    since = Math.min(since, at);
    if (one.event === "signal") signals.push({ at, signal: one.signal });
    if (one.event === "decided") requests.push({ id: one.id, at, indicator: one.indicator, reason: one.reason, outcome: null });
    if (one.event !== "result" && one.event !== "dropped") continue;
    const request = requests.findLast(({ id }) => id === one.id);
    if (request) request.outcome = one.event === "result" ? one.outcome : one.why;
    const shown = acknowledged(one.event, one);
    if (shown !== undefined && shown !== (icon.at(-1)?.shown ?? false)) icon.push({ at, shown });
  }
  // The icon may have gone on before the history begins.
  if (found.shown === "on" && icon.length === 0) icon.push({ at: 0, shown: true });
  return { signals, requests, icon, since };
}

/**
 * What is due, in milliseconds.
 * @param {any} found The daemon's answer for a conversation.
 * @returns {number[]}
 */
export function deadlines(found) {
  return Object.values(found.deadlines ?? {}).filter((ms) => typeof ms === "number");
}

/**
 * What an event acknowledges of the icon of a real upstream; undefined if nothing.
 * @param {string} event
 * @param {any} data
 * @returns {boolean | null | undefined}
 */
export function acknowledged(event, data) {
  if (event === "result" && data.outcome === "delivered") return data.indicator === "TypingStarted";
  if (event === "result" && data.outcome === "unsure") return null;
  if (event === "dropped" && data.why === "moot") return false;
  return undefined;
}
