// The latest indicators of all conversations, with the result of each.

import { at, id, make, setText } from "./dom.js";
import { clock, lag, marked, result, visible, why } from "./words.js";

/** Rows in the table, and decisions whose result is still awaited. */
const ROWS_MAX = 12;
const AWAITED_MAX = 2_000;
/** The table is written anew this often, at most: a busy daemon reports thousands a second. */
const WRITE_MS = 200;

export class Newest {
  /** @type {Map<number, Row>} */
  #rows = new Map();
  #held = false;
  #timer = 0;
  #missed = 0;

  /** @param {(conversation: import("./daemon.js").Conversation) => void} pick */
  constructor(pick) {
    this.pick = pick;
    at("hold").addEventListener("click", () => {
      this.#held = !this.#held;
      at("hold").setAttribute("aria-pressed", String(this.#held));
      setText(at("hold"), this.#held ? "Resume" : "Pause");
      this.#soon();
    });
  }

  /**
   * @param {string} event
   * @param {any} data
   */
  take(event, data) {
    if (event === "lagged") this.#missed += data.missed;
    else {
      const { at, to, from, indicator, reason } = data;
      const row = this.#rows.get(data.id) ?? { id: data.id, at, to, from, indicator, reason, what: "on its way", state: "", past: false };
      if (event === "result") {
        row.what = data.outcome === "delivered" ? `${data.status ?? "delivered"} in ${lag(data.round_trip_ms)}` : result(data.outcome, data.status);
        if (data.outcome !== "delivered" && data.detail) row.what += `: ${visible(data.detail)}`;
        if (data.attempt > 0) row.what += `, try ${data.attempt + 1}`;
        row.state = data.outcome;
      } else if (event === "dropped") {
        [row.what, row.state] = [`dropped: ${why(data.why)}`, "dropped"];
      }
      this.#rows.set(data.id, row);
      while (this.#rows.size > AWAITED_MAX) this.#rows.delete(/** @type {number} */ (this.#rows.keys().next().value));
    }
    this.#soon();
  }

  /**
   * The daemon's history of a conversation: what came before the stream of events began.
   * @param {any} found The daemon's answer.
   */
  fill({ to, from, transitions = [] }) {
    const known = new Set(this.#rows.keys());
    for (const { event, ...data } of transitions) {
      if (["decided", "result", "dropped"].includes(event) && !known.has(data.id)) this.take(event, { ...data, to, from });
    }
    // They are numbered in their order.
    this.#rows = new Map([...this.#rows].sort(([one], [other]) => one - other));
    for (const [id, row] of this.#rows) row.past ||= !known.has(id);
  }

  clear() {
    this.#rows.clear();
    this.#missed = 0;
    this.#soon();
  }

  #soon() {
    if (this.#timer || this.#held) return;
    this.#timer = setTimeout(() => ((this.#timer = 0), this.#write()), WRITE_MS);
  }

  #write() {
    const rows = [...this.#rows.values()].slice(-ROWS_MAX).reverse();
    const focused = document.activeElement?.closest("#newest tr")?.getAttribute("data-id");
    at("newest").replaceChildren(...rows.map((row) => this.#line(row)));
    if (focused) at("newest").querySelector(`tr[data-id="${focused}"] button`)?.focus();
    at("newest-none").hidden = rows.length > 0;
    const past = rows.some((row) => row.past);
    setText(at("newest-past"), past ? "What came before this page connected is listed for some of the conversations in memory only." : "");
    setText(at("newest-missed"), this.#missed > 0 ? `${this.#missed} came too fast to show.` : "");
  }

  /** @param {Row} row */
  #line(row) {
    const started = row.indicator === "TypingStarted";
    const who = make("button", { type: "button", class: "who", title: "Explain this conversation" }, id(row.to), " / ", id(row.from));
    who.addEventListener("click", () => this.pick({ to: row.to, from: row.from }));
    return make(
      "tr",
      { "data-id": String(row.id), "data-state": row.state },
      make("td", { class: "when" }, clock(row.at)),
      make("td", { class: started ? "up" : "down" }, marked(row.indicator)),
      make("td", {}, why(row.reason)),
      make("td", { class: "for" }, who),
      make("td", { class: "what" }, row.what),
    );
  }
}

/** @typedef {{id: number, at: number, to: string, from: string, indicator: string, reason: string, what: string, state: string, past: boolean}} Row `past`: it came before the stream of events began. */
