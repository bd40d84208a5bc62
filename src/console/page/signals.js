// Signals to the daemon, in their order, one request at a time: what comes meanwhile goes with the next.

import { Unreachable } from "./daemon.js";

/** Signals that may wait for the daemon; what comes beyond is lost, as any signal may be. */
const WAITING_MAX = 200;

export class Signals {
  /** @type {{to: string, from: string, signal: string, at: number}[]} */
  #waiting = [];
  #busy = false;

  /**
   * @param {import("./daemon.js").Daemon} daemon
   * @param {(error: Error | null) => void} done Is called with the result of each request.
   */
  constructor(daemon, done) {
    this.daemon = daemon;
    this.done = done;
  }

  /**
   * @param {import("./daemon.js").Conversation} conversation
   * @param {string} signal
   */
  give(conversation, signal) {
    // A daemon that is down must not receive old keys later.
    if (this.daemon.up === false || this.#waiting.length >= WAITING_MAX) return;
    this.#waiting.push({ ...conversation, signal, at: Date.now() });
    void this.#send();
  }

  async #send() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0);
      try {
        const answer = await this.daemon.give("POST", "/v1/signals", batch.length === 1 ? batch[0] : batch);
        this.done(answer.rejected.length > 0 ? new Error(answer.rejected[0].error) : null);
      } catch (error) {
        if (error instanceof Unreachable) this.#waiting = [];
        this.done(/** @type {Error} */ (error));
      }
    }
    this.#busy = false;
  }
}
