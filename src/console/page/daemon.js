// The daemon, as the page calls it: the token in memory only, the reasons of its refusals, streams that go on.

import { pause } from "./dom.js";
import { now } from "./strip.js";

/** The daemon refused a call, with a reason. */
export class Refusal extends Error {
  /**
   * @param {number} status
   * @param {any} problem
   */
  constructor(status, problem) {
    super(problem?.detail ?? `the daemon answered ${status}`);
    this.status = status;
    /** @type {string[]} */
    this.problems = problem?.problems ?? [this.message];
  }
}

/** No answer came. */
export class Unreachable extends Error {}

/** The longest line of a stream that is kept, in characters: the daemon's are far shorter. */
const LINE_CHARACTERS_MAX = 1 << 20;
/** A stream has a heartbeat every 15 or 30 s; one that is silent for longer is dead. */
const STREAM_SILENCE_MAX_MS = 45_000;
/** A daemon that hangs accepts connections and answers nothing. */
const ANSWER_MAX_MS = 5_000;
/** What the page shows is up to date if an answer or event came within this time; that is checked this often. */
const FRESH_MS = 1_000;
const FRESH_CHECK_MS = 50;
/** From one attempt to the next, the last for all that follow. */
const AGAIN_MS = [250, 500, 1_000, 2_000, 4_000];
/** A daemon without the call may have it after an upgrade. */
const LACKING_MS = 15_000;

/**
 * Dispatches `link` when it comes or goes, `fresh` when what is shown of it becomes old, or new again, and `explained`
 * with each explanation of a conversation.
 */
export class Daemon extends EventTarget {
  #answered = -Infinity;
  #fresh = false;
  #token = "";
  #asking = /** @type {Promise<void> | null} */ (null);
  #up = /** @type {boolean | null} */ (null);
  #studies = /** @type {Promise<unknown>} */ (Promise.resolve());

  /** @param {(wrong: boolean) => Promise<string>} ask Asks the reader for the token. */
  constructor(ask) {
    super();
    this.ask = ask;
    setInterval(() => this.#age(), FRESH_CHECK_MS);
  }

  /** Whether an answer or event came within the last second. */
  get fresh() {
    return this.#fresh;
  }

  /** When the last answer or event came, in the epoch's milliseconds; null before the first. */
  get heard() {
    return this.#answered === -Infinity ? null : performance.timeOrigin + this.#answered;
  }

  #noteAnswer() {
    this.#answered = performance.now();
    this.#age();
  }

  #age() {
    const fresh = performance.now() - this.#answered < FRESH_MS;
    if (this.#fresh === fresh) return;
    this.#fresh = fresh;
    this.dispatchEvent(new Event("fresh"));
  }

  /** Whether it answers; null before it is known. */
  get up() {
    return this.#up;
  }

  /** @param {boolean} up */
  #note(up) {
    if (this.#up === up) return;
    this.#up = up;
    this.dispatchEvent(new Event("link"));
  }

  /**
   * One call. Asks for the token when it is needed, and tries again.
   * @param {string} method
   * @param {string} path
   * @param {{body?: string | Blob, type?: string, signal?: AbortSignal, limit?: number}} [options] `limit`: how long the
   * whole answer is awaited, in milliseconds.
   * @returns {Promise<Response>}
   */
  async call(method, path, { body, type, signal, limit } = {}) {
    for (;;) {
      const shown = this.#token;
      /** @type {Record<string, string>} */
      const headers = {};
      if (type) headers["content-type"] = type;
      if (shown) headers.authorization = `Bearer ${shown}`;
      const bounds = [signal, limit === undefined ? undefined : AbortSignal.timeout(limit)];
      const until = AbortSignal.any(bounds.filter((bound) => bound !== undefined));
      let answer;
      try {
        // Relative to the page: a proxy may give both a path of its own.
        answer = await fetch(`.${path}`, { method, headers, body, signal: until, cache: "no-store", redirect: "error" });
      } catch (error) {
        if (signal?.aborted) throw error;
        this.#note(false);
        throw new Unreachable("the daemon does not answer", { cause: error });
      }
      this.#note(true);
      this.#noteAnswer();
      if (answer.status === 401) {
        // Further calls wait for the same answer.
        if (shown === this.#token) {
          this.#asking ??= this.ask(shown !== "").then((token) => {
            this.#token = token;
            this.#asking = null;
          });
          await this.#asking;
        }
        continue;
      }
      if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => null));
      return answer;
    }
  }

  /**
   * @param {string} path
   * @returns {Promise<any>}
   */
  async get(path) {
    return this.#whole(await this.call("GET", path, { limit: ANSWER_MAX_MS }));
  }

  /**
   * One conversation, explained. Everything on the page that shows it takes the same answer, whichever part asked.
   * @param {Conversation} conversation
   * @returns {Promise<any>}
   */
  async explain(conversation) {
    const asked = now();
    const found = await this.get(`/v1/conversations?${naming(conversation)}`);
    // The answer describes a moment between the request and its arrival.
    const detail = { conversation, found, asked, at: (asked + now()) / 2 };
    this.dispatchEvent(new CustomEvent("explained", { detail }));
    return found;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} value
   * @returns {Promise<any>}
   */
  async give(method, path, value) {
    return this.#whole(await this.call(method, path, { body: JSON.stringify(value), type: "application/json" }));
  }

  /** @param {Response} answer */
  async #whole(answer) {
    try {
      return await answer.json();
    } catch (error) {
      this.#note(false);
      throw new Unreachable("the daemon's answer broke off", { cause: error });
    }
  }

  /**
   * Has a trace studied. The daemon studies one at a time, so this page asks for one at a time.
   * @param {string} query
   * @param {string | Blob} trace
   * @param {AbortSignal} [signal]
   * @returns {Promise<Response>}
   */
  study(query, trace, signal) {
    const asked = this.#studies.then(() => this.call("POST", `/v1/tune?${query}`, { body: trace, type: "application/x-ndjson", signal }));
    this.#studies = asked.catch(() => {});
    return asked;
  }

  /**
   * The lines of a stream, for as long as `signal` lets it: when it breaks off it is taken up again.
   * @param {string} path
   * @param {AbortSignal} signal
   * @param {(line: string) => void} take
   * @param {() => void} [began] Is called each time the stream begins: what came before is not in it.
   */
  async follow(path, signal, take, began = () => {}) {
    let failures = 0;
    while (!signal.aborted) {
      try {
        const answer = await this.call("GET", path, { signal });
        failures = 0;
        began();
        await lines(answer, (line) => (this.#noteAnswer(), take(line)));
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refusal && error.status === 404) {
          await pause(LACKING_MS, signal);
          continue;
        }
      }
      await pause(AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)], signal);
      failures += 1;
    }
  }
}

/**
 * @param {Response} answer
 * @param {(line: string) => void} take
 */
async function lines(answer, take) {
  const reader = /** @type {ReadableStream} */ (answer.body).pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const silence = new AbortController();
      const piece = await Promise.race([
        reader.read(),
        pause(STREAM_SILENCE_MAX_MS, silence.signal).then(() => ({ done: true, value: "" })),
      ]);
      silence.abort();
      if (piece.done) return;
      const all = (rest + piece.value).split("\n");
      rest = all.pop() ?? "";
      if (rest.length > LINE_CHARACTERS_MAX) return;
      for (const line of all) take(line);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Puts the lines of server-sent events together.
 * @param {(event: string, data: any) => void} take
 * @returns {(line: string) => void}
 */
export function events(take) {
  let [event, data] = ["message", ""];
  return (line) => {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5);
    else if (line.trim() === "") {
      if (data) take(event, JSON.parse(data));
      [event, data] = ["message", ""];
    }
  };
}

/**
 * The query that names a conversation.
 * @param {Conversation} conversation
 */
export function naming({ to, from }) {
  return new URLSearchParams({ to, from }).toString();
}

/** @typedef {{to: string, from: string}} Conversation */

/**
 * @typedef {object} Explanation
 * @property {Conversation} conversation
 * @property {any} found The daemon's answer.
 * @property {number} asked
 * @property {number} at When it was true, on this page's clock.
 */
