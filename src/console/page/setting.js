// The timing in force for the conversation on the page, and how it is changed.

import { millis, same, span } from "./words.js";

/** How often typingd is asked whether another caller has changed it. */
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
  #running = /** @type {Promise<void> | null} */ (null);
  #looked = -LOOK_MS;

  /**
   * @param {import("./daemon.js").Daemon} daemon
   * @param {() => string} channel
   */
  constructor(daemon, channel) {
    super();
    this.daemon = daemon;
    this.channel = channel;
  }

  /**
   * Looks at it, if the last look was a while ago.
   * @param {boolean} [surely] However long ago that was.
   */
  async look(surely = false) {
    if (this.#running || (!surely && performance.now() - this.#looked < LOOK_MS)) return;
    this.#looked = performance.now();
    const report = await this.daemon.get("/v1/timing");
    // What a change has brought about meanwhile is newer.
    if (!this.#running) this.#take(report);
  }

  /**
   * Changes it; of several changes the last counts. Done when none is left.
   * @param {import("./words.js").Setting} wanted
   */
  change(wanted) {
    this.#wanted = wanted;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
      this.#wanted = null;
    });
    return this.#running;
  }

  async #run() {
    while (this.#wanted) {
      const { mode, check, dismiss } = this.#wanted;
      this.#wanted = null;
      const path = this.own ? `/v1/timing/${encodeURIComponent(this.channel())}` : "/v1/timing";
      const body = { dismiss: mode, check_interval: span(check), dismiss_after: span(dismiss) };
      this.#take(await this.daemon.give("PUT", path, body));
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
