// The timing in force for the conversation on the page, and how it is changed.

import { millis, same, span } from "./words.js";

/** How often it is looked whether somebody else has changed it. */
const LOOK_MS = 5_000;

/** Says `change` when it is another. */
export class Timing extends EventTarget {
  /** @type {import("./words.js").Setting | null} */
  held = null;
  /** What to write into the file so that it lasts; null if it does as it is. @type {{file: string | null, toml: string, notes: string[]} | null} */
  keep = null;
  /** Whether the channel has timing of its own. */
  own = false;
  #wanted = /** @type {import("./words.js").Setting | null} */ (null);
  #busy = false;
  #looked = 0;

  /**
   * @param {import("./daemon.js").Daemon} daemon
   * @param {() => string} channel
   */
  constructor(daemon, channel) {
    super();
    this.daemon = daemon;
    this.channel = channel;
  }

  /** Looks at it, if that was a while ago. */
  async look(/** @type {boolean} */ surely = false) {
    if (this.#busy || (!surely && performance.now() - this.#looked < LOOK_MS)) return;
    this.#looked = performance.now();
    this.#take(await this.daemon.get("/v1/timing"));
  }

  /**
   * Changes it; of several wishes the last counts.
   * @param {import("./words.js").Setting} wanted
   */
  async change(wanted) {
    this.#wanted = wanted;
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#wanted) {
        const { mode, check, dismiss } = this.#wanted;
        this.#wanted = null;
        const path = this.own ? `/v1/timing/${encodeURIComponent(this.channel())}` : "/v1/timing";
        const body = { dismiss: mode, check_interval: span(check), dismiss_after: span(dismiss) };
        this.#take(await this.daemon.give("PUT", path, body));
      }
    } finally {
      this.#busy = false;
      this.#wanted = null;
    }
  }

  /** @param {any} report */
  #take(report) {
    const own = report.channels[this.channel()];
    const all = { ...report.timing, ...own };
    const held = { mode: all.dismiss, check: millis(all.check_interval), dismiss: millis(all.dismiss_after) };
    const keep = report.keep ?? null;
    const news = !this.held || !same(this.held, held) || JSON.stringify(keep) !== JSON.stringify(this.keep);
    [this.held, this.keep, this.own] = [held, keep, own !== undefined];
    if (news) this.dispatchEvent(new Event("change"));
  }
}
