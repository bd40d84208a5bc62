// The recorded strip under two settings: before, and with the sliders. The daemon's engine replays it; this draws it.

import { Refusal } from "./daemon.js";
import { at, pause, setText } from "./dom.js";
import { Paint } from "./paint.js";
import { now } from "./strip.js";
import { sample } from "./typist.js";
import { named, same, span, spell, trim } from "./words.js";

/** So much of the reader's own typing is replayed. */
const WINDOW_MS = 60_000;
/** Fewer keys say nothing about a setting: until then the reader's own can't be chosen. */
const KEYS_MIN = 12;
/** It is shown by itself once a message was sent, and it is this long. */
const OWN_MS = 20_000;
/** A slider on its way is asked about this often, at most. */
const SPACING_MS = 60;
/** The reader's own strip is measured anew this often while it grows. */
const GROWN_MS = 2_000;
/** When to come again if the daemon studies another trace. */
const BUSY_MS = 1_500;
/** The silence after which a message counts as abandoned, as `tune` has it. */
const AWAY_MS = 30_000;
/** What is shown after the last signal. */
const AFTER_MS = 8_000;
const LANE = 30;
/** Room for half a mark at the ends. */
const EDGE = 6;
/** Where each lane's ground is. */
const KEYS_BASE = 40;
const LANES = [106, 174];
const FOOT = 196;

export class Replay {
  #own = false;
  /** Whether the reader, or the page for its reader, has chosen what is replayed. */
  #chosen = false;
  #stroke = sample();
  #wanted = false;
  #busy = false;
  #asked = "";
  #measured = 0;
  /** @type {{before: Lane, after: Lane} | null} */
  #lanes = null;

  /**
   * @param {import("./daemon.js").Daemon} daemon
   * @param {import("./strip.js").Strip} strip
   * @param {import("./sliders.js").Sliders} sliders
   */
  constructor(daemon, strip, sliders) {
    this.daemon = daemon;
    this.strip = strip;
    this.sliders = sliders;
    this.paint = new Paint(at("replay"), () => this.#draw());
    sliders.addEventListener("draft", () => this.ask());
    strip.addEventListener("change", () => this.#grow());
    for (const input of document.querySelectorAll('input[name="source"]')) {
      input.addEventListener("change", () => {
        this.#chosen = true;
        this.#own = /** @type {HTMLInputElement} */ (input).value === "own";
        this.ask();
      });
    }
  }

  #grow() {
    const since = now() - WINDOW_MS;
    const signals = this.strip.signals.filter(({ at }) => at >= since);
    const choice = /** @type {HTMLInputElement} */ (at("source-own"));
    choice.disabled &&= signals.filter(({ signal }) => signal === "keystroke").length < KEYS_MIN;
    const whole = signals.some(({ signal }) => signal === "message_sent") && now() - signals[0].at >= OWN_MS;
    if (!this.#chosen && !choice.disabled && whole) {
      this.#chosen = true;
      choice.checked = true;
      this.#own = true;
      this.ask();
    }
    if (this.#own && now() - this.#measured > GROWN_MS) this.ask();
  }

  /** Asks what would have been; of several questions the last counts. */
  ask() {
    this.#wanted = true;
    if (!this.#busy) void this.#run();
  }

  async #run() {
    this.#busy = true;
    while (this.#wanted) {
      this.#wanted = false;
      this.#measured = now();
      try {
        await this.#measure();
        setText(at("replay-trouble"), "");
      } catch (error) {
        if (error instanceof Refusal && error.status === 503) {
          this.#wanted = true;
          await pause(BUSY_MS);
        } else if (error instanceof Refusal) {
          setText(at("replay-trouble"), error.message);
        }
      }
      await pause(SPACING_MS);
    }
    this.#busy = false;
  }

  /** What is replayed: the reader's last minute, or the made-up user. */
  #taken() {
    if (!this.#own) return this.#stroke;
    const end = now();
    const signals = this.strip.signals.filter(({ at }) => at >= end - WINDOW_MS);
    const from = Math.max(end - WINDOW_MS, (signals[0]?.at ?? end) - 500);
    const last = signals.at(-1);
    // In the middle of a message, a silence after the last key may be a pause or the end.
    const open = last?.signal === "keystroke" && end - last.at < AWAY_MS;
    return { signals, from, to: open ? last.at + 1 : Math.min(end, (last?.at ?? end) + AFTER_MS) };
  }

  async #measure() {
    const { before, draft } = this.sliders;
    const { signals, from, to } = this.#taken();
    if (!before || !draft || !signals.some(({ signal }) => signal === "keystroke")) return;
    const trace = signals
      .map(({ at, signal }) => JSON.stringify({ to: "page", from: "reader", signal, at: Math.max(0, Math.round(at - from)) }))
      .join("\n");
    const asked = `${named(before)} ${named(draft)} ${trace}`;
    if (asked === this.#asked) return;
    const [was, would, figures] = await Promise.all([
      this.#simulate(before, trace),
      same(before, draft) ? null : this.#simulate(draft, trace),
      this.#figures(before, draft, trace),
    ]);
    this.#asked = asked;
    this.#lanes = {
      before: { setting: before, indicators: was, row: figures.current },
      after: { setting: draft, indicators: would ?? was, row: figures.rows[0] },
    };
    this.#shown = { signals: signals.map(({ at, signal }) => ({ at: at - from, signal })), length: to - from };
    this.#showFigures();
    this.#draw();
  }

  /** @type {{signals: {at: number, signal: string}[], length: number}} */
  #shown = { signals: [], length: 0 };

  /**
   * @param {import("./words.js").Setting} setting
   * @param {string} trace
   * @returns {Promise<Indicator[]>}
   */
  async #simulate({ mode, check, dismiss }, trace) {
    const query = new URLSearchParams({ mode, check: span(check), dismiss: span(dismiss) });
    const answer = await this.daemon.call("POST", `/v1/simulate?${query}`, { body: trace, type: "application/x-ndjson" });
    const lines = (await answer.text()).split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line));
  }

  /**
   * @param {import("./words.js").Setting} before
   * @param {import("./words.js").Setting} after
   * @param {string} trace
   */
  async #figures(before, after, trace) {
    const query = new URLSearchParams({
      mode: after.mode,
      check: span(after.check),
      dismiss: span(after.dismiss),
      current: `${before.mode}:${span(before.check)}/${span(before.dismiss)}`,
      want: "none",
    });
    const answer = await this.daemon.study(query.toString(), trace);
    return answer.json();
  }

  #showFigures() {
    if (!this.#lanes) return;
    const [was, would] = [this.#lanes.before.row, this.#lanes.after.row];
    const share = (/** @type {number} */ value) => `${trim(value * 100, 0)}\u00a0%`;
    const number = (/** @type {number} */ value) => trim(value, value < 10 ? 1 : 0);
    figure("recall", was.recall, would.recall, share, +1);
    figure("requests", was.req_per_min, would.req_per_min, number, -1);
    figure("flicker", was.flicker_per_msg, would.flicker_per_msg, number, -1);
    figure("off", was.off_ms.p95, would.off_ms.p95, spell, -1);
  }

  #draw() {
    const { paint } = this;
    paint.clear();
    if (!this.#lanes) return;
    const { signals, length } = this.#shown;
    const x = (/** @type {number} */ ms) => EDGE + (ms / length) * (paint.width - 2 * EDGE);
    for (let ms = 0; ms <= length; ms += 10_000) {
      paint.upright("rule", x(ms) + 0.5, 14, FOOT - 8);
      const text = ms === 0 ? "0\u00a0s" : String(ms / 1_000);
      if (x(ms) < paint.width - 12) paint.write(text, Math.max(x(ms), 8), FOOT + 3, { align: ms === 0 ? "left" : "center" });
    }
    paint.write("keys, and when the user was composing", 0, 6, { size: 11 });
    const composing = spells(signals, length);
    for (const [from, to] of composing) paint.bar("ink", x(from), KEYS_BASE - 5, Math.max(1, x(to) - x(from)), 5);
    for (const { at, signal } of signals) {
      if (signal === "keystroke") paint.upright("past", x(at), KEYS_BASE - 22, KEYS_BASE - 8, [], 1);
      else if (at <= length) paint.upright("ink", x(at), KEYS_BASE - 24, LANES[1] + 4, [2, 3]);
    }
    const { before, after } = this.#lanes;
    [before, after].forEach(({ setting, indicators }, number) => {
      const base = LANES[number];
      const name = number === 0 ? (this.sliders.live ? "before" : "in force") : "with the sliders";
      const width = paint.write(name, 0, base - LANE - 8, { colour: "ink", weight: 650, size: 12, ground: "card" });
      paint.write(named(setting), width + 8, base - LANE - 8, { size: 12, ground: "card" });
      const requests = indicators.filter(({ at }) => at <= length).length;
      paint.write(`${requests} ${requests === 1 ? "request" : "requests"}`, paint.width, base - LANE - 8, { align: "right", size: 12, ground: "card" });
      for (const [from, to, kind] of pieces(composing, iconOn(indicators, length))) {
        paint.piece(kind, x(from), Math.max(0.8, x(to) - x(from)), base, LANE);
      }
      paint.bar("rule", 0, base, paint.width, 1);
      for (const one of indicators) if (one.at <= length) paint.mark({ ...one, outcome: null }, x(one.at), base + 8);
    });
  }
}

/**
 * One figure, before and after, and whether that is for the better.
 * @param {string} name
 * @param {number | null} was
 * @param {number | null} would
 * @param {(value: number) => string} write
 * @param {number} good The sign of a change for the better.
 */
function figure(name, was, would, write, good) {
  const text = (/** @type {number | null} */ value) => (value === null ? "–" : write(value));
  setText(at(`${name}-was`), text(was));
  setText(at(`${name}-would`), text(would));
  const change = was === null || would === null || text(was) === text(would) ? 0 : Math.sign(would - was) * good;
  at(name).dataset.change = change > 0 ? "better" : change < 0 ? "worse" : "same";
}

/**
 * When the user was composing, for the picture: from a message's first key to its send, or to the last key before a long
 * silence or a wiped box. The figures come from the daemon.
 * @param {{at: number, signal: string}[]} signals
 * @param {number} length
 * @returns {[number, number][]}
 */
function spells(signals, length) {
  /** @type {[number, number][]} */
  const found = [];
  /** @type {[number, number] | null} */
  let open = null;
  for (const { at, signal } of signals) {
    if (open && at - open[1] > AWAY_MS) open = null;
    if (signal === "keystroke") {
      if (open) open[1] = at;
      else found.push((open = [at, at]));
    } else {
      if (open && signal === "message_sent") open[1] = at;
      open = null;
    }
  }
  return found.filter(([from]) => from <= length);
}

/**
 * When the icon was on.
 * @param {Indicator[]} indicators
 * @param {number} length
 * @returns {[number, number][]}
 */
function iconOn(indicators, length) {
  /** @type {[number, number][]} */
  const found = [];
  let since = -1;
  for (const { at, indicator } of indicators) {
    if (indicator === "TypingStarted") since = since < 0 ? at : since;
    else if (since >= 0) {
      found.push([since, Math.min(at, length)]);
      since = -1;
    }
  }
  if (since >= 0) found.push([since, length]);
  return found.filter(([from]) => from < length);
}

/**
 * A lane taken apart where the icon or the user changed.
 * @param {[number, number][]} composing
 * @param {[number, number][]} on
 * @returns {[number, number, "seen" | "missed" | "wrong"][]}
 */
function pieces(composing, on) {
  const edges = [...new Set([...composing, ...on].flat())].sort((a, b) => a - b);
  const within = (/** @type {[number, number][]} */ spans, /** @type {number} */ ms) => spans.some(([from, to]) => from <= ms && ms < to);
  return edges.slice(0, -1).flatMap((from, number) => {
    const [typed, shown] = [within(composing, from), within(on, from)];
    if (!typed && !shown) return [];
    return [[from, edges[number + 1], typed ? (shown ? "seen" : "missed") : "wrong"]];
  });
}

/**
 * @typedef {{at: number, indicator: string, reason: string}} Indicator
 * @typedef {{setting: import("./words.js").Setting, indicators: Indicator[], row: any}} Lane
 */
