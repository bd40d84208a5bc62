// The timing in force for the conversation on the page, and how it is changed.

import { millis, same, span } from "./words.js";

/** How often it is fetched: another caller may have changed it; and while others are measured beside it. */
const REFRESH_MS = 5_000;
const MEASURED_MS = 1_000;

/** Dispatches `change` when it is another, `measured` when there are figures of those that are measured beside it. */
export class Timing extends EventTarget {
  /** @type {import("./words.js").Setting | null} */
  held = null;
  /** What to write into the file so that it lasts; null if it does as it is. @type {{file: string | null, toml: string, notes: string[]} | null} */
  keep = null;
  /** What it does badly, a sentence each. @type {string[]} */
  warnings = [];
  /** What is measured beside it. @type {import("./candidates.js").Measured | null} */
  measured = null;
  /** Whether the channel has timing of its own. */
  own = false;
  #wanted = /** @type {import("./words.js").Setting | null} */ (null);
  #running = /** @type {Promise<void> | null} */ (null);
  #refreshed = -REFRESH_MS;
  #measures = 0;

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
   * Fetches it, unless that was done a moment ago.
   * @param {boolean} [force] Even then.
   */
  async refresh(force = false) {
    if (this.#running || (!force && performance.now() - this.#refreshed < (this.measured ? MEASURED_MS : REFRESH_MS))) return;
    this.#refreshed = performance.now();
    const measures = this.#measures;
    const report = await this.daemon.get("/v1/timing");
    // The answer to a change meanwhile is newer.
    if (!this.#running && measures === this.#measures) this.#take(report);
  }

  /**
   * Measures these timings beside it, from now on, and no others.
   * @param {string[]} timings
   */
  async measure(timings) {
    this.#measures += 1;
    this.#measured(await this.daemon.give("PUT", "/v1/timing/candidates", timings));
  }

  /** @param {import("./candidates.js").Measured | null} measured */
  #measured(measured) {
    const news = this.measured !== null || measured !== null;
    this.measured = measured;
    if (news) this.dispatchEvent(new Event("measured"));
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
    const warnings = report.warnings ?? [];
    const before = JSON.stringify([this.keep, this.warnings]);
    const news = !this.held || !same(this.held, held) || JSON.stringify([keep, warnings]) !== before;
    [this.held, this.keep, this.warnings, this.own] = [held, keep, warnings, own !== undefined];
    if (news) this.dispatchEvent(new Event("change"));
    this.#measured(report.candidates ?? null);
  }
}
