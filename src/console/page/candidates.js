// The timings that are measured beside the one in force, on the daemon's own users: side by side with it, by channel.

import { at, id, make, setText, write } from "./dom.js";
import { clock, count, named, same, setting, span, spell, trim, visible } from "./words.js";

/** Timings that can be measured at a time. */
const CANDIDATES_MAX = 3;
/** The channels without figures of their own, together. */
const OTHER = "other";
/** Before so much composing, a difference says nothing. */
const COMPOSING_MIN_S = 60;

export class Candidates {
  /** The channel that the reader has chosen. */
  #chosen = "";
  /** The timings that have a row, and the cells of each. */
  #named = "";
  /** @type {HTMLElement[][]} */
  #cells = [];

  /**
   * @param {import("./sliders.js").Sliders} sliders
   * @param {(error: Error) => void} failed
   */
  constructor(sliders, failed) {
    this.sliders = sliders;
    this.timing = sliders.timing;
    this.failed = failed;
    at("measure").addEventListener("click", () => {
      const { draft } = sliders;
      if (draft) void this.#measure([...this.#settings, draft]);
    });
    at("beside-channel").addEventListener("change", () => {
      this.#chosen = at("beside-channel").value;
      this.#show();
    });
    for (const event of ["change", "measured"]) this.timing.addEventListener(event, () => this.#show());
    sliders.addEventListener("draft", () => this.#show());
    this.#show();
  }

  /** @returns {import("./words.js").Setting[]} */
  get #settings() {
    return (this.timing.measured?.timings ?? []).map(setting);
  }

  /** @param {import("./words.js").Setting[]} settings */
  async #measure(settings) {
    try {
      await this.timing.measure(settings.map(({ mode, check, dismiss }) => `${mode} ${span(check)}/${span(dismiss)}`));
      setText(at("tune-trouble"), "");
    } catch (error) {
      this.failed(/** @type {Error} */ (error));
    }
  }

  #show() {
    const { draft, live } = this.sliders;
    const { held, measured } = this.timing;
    const settings = this.#settings;
    const known = draft !== null && settings.some((one) => same(one, draft));
    // With a real org the timing in force is measured anyway; with the sandbox it is what the sliders say.
    const idle = !draft || !held || known || (!live && same(draft, held)) || settings.length >= CANDIDATES_MAX;
    /** @type {HTMLButtonElement} */ (at("measure")).disabled = idle;
    at("measure").title = settings.length < CANDIDATES_MAX ? "" : "Three timings are being measured; remove one first.";
    at("beside").hidden = !measured;
    if (!measured || !held) return;
    const channel = this.#channel(measured);
    const figures = measured.channels[channel];
    this.#rows([figures ? setting(figures.in_force.timing) : held, ...settings], figures);
    at("beside").dataset.typed = figures ? "yes" : "no";
    const since = clock(figures?.since ?? measured.since);
    // The choice of the channel names it, where there is one.
    const whom = Object.keys(measured.channels).length > 1 ? [] : channel === OTHER ? [" on all channels"] : [" on the channel ", id(channel)];
    if (figures) write(at("beside-say"), `${spell(figures.composing_s * 1_000)} of composing since ${since}`, ...whom);
    else setText(at("beside-say"), `No one has typed since a timing last changed${at("source-sample").checked ? "; the figures of “Tune it” are those of a made-up user" : ""}`);
    this.#compare(settings, figures);
  }

  /**
   * The channel whose figures are shown, of those that have some.
   * @param {Measured} measured
   */
  #channel({ channels }) {
    const names = Object.keys(channels);
    const choice = at("beside-channels");
    choice.hidden = names.length < 2;
    if (names.length === 0) return OTHER;
    const most = names.reduce((one, two) => (channels[two].composing_s > channels[one].composing_s ? two : one));
    const shown = [this.#chosen, this.timing.channel(), most].find((name) => names.includes(name)) ?? most;
    const select = at("beside-channel");
    if (select.dataset.names !== JSON.stringify(names)) {
      select.replaceChildren(...names.map((name) => make("option", { value: name }, name === OTHER ? "all other channels" : visible(name))));
      select.dataset.names = JSON.stringify(names);
    }
    if (select.value !== shown) select.value = shown;
    return shown;
  }

  /**
   * A row for the timing in force and for each candidate. Rows stay as long as their timings do, and with them the focus.
   * @param {import("./words.js").Setting[]} settings
   * @param {Channel | undefined} figures
   */
  #rows(settings, figures) {
    const names = settings.map(named).join();
    if (this.#named !== names) {
      this.#named = names;
      this.#cells = settings.map(() => COLUMNS.map(({ name }) => make("td", { "data-name": name })));
      const rows = settings.map((one, number) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, make("b", {}, named(one)), ...(number === 0 ? [make("small", {}, "in force")] : [])),
          ...this.#cells[number],
          make("td", { class: "row" }, ...(number === 0 ? [] : this.#buttons(one, same(one, settings[0])))),
        ),
      );
      at("beside-rows").replaceChildren(...rows);
    }
    const all = figures ? [figures.in_force, ...figures.candidates] : [];
    this.#cells.forEach((cells, number) => {
      COLUMNS.forEach(({ good, value, write }, column) => {
        const [own, first] = [all[number], all[0]].map((one) => (one && figures && figures.composing_s > 0 ? value(one, figures.composing_s) : null));
        const text = own === null ? "–" : write(own);
        setText(cells[column], text);
        const change = own === null || first === null || text === write(first) ? 0 : Math.sign(own - first) * good;
        cells[column].dataset.change = change > 0 ? "better" : change < 0 ? "worse" : "same";
      });
    });
  }

  /**
   * @param {import("./words.js").Setting} one
   * @param {boolean} held Whether it is in force.
   */
  #buttons(one, held) {
    const text = `Put in force${this.sliders.live ? "" : "…"}`;
    const adopt = make("button", { type: "button", class: "quiet", "aria-label": `${text} ${named(one)}` }, text);
    adopt.addEventListener("click", () => void this.sliders.adopt(one));
    /** @type {HTMLButtonElement} */ (adopt).disabled = held;
    const remove = make("button", { type: "button", class: "quiet", "aria-label": `Remove ${named(one)}` }, "Remove");
    remove.addEventListener("click", () => void this.#measure(this.#settings.filter((other) => !same(other, one))));
    return [adopt, remove];
  }

  /**
   * The differences in words.
   * @param {import("./words.js").Setting[]} settings
   * @param {Channel | undefined} figures
   */
  #compare(settings, figures) {
    if (!figures || figures.composing_s < COMPOSING_MIN_S) {
      return write(at("beside-notes"), ...(figures ? [make("li", {}, "Too little typing yet for a comparison.")] : []));
    }
    const { in_force, candidates, composing_s } = figures;
    const lines = settings.map((one, number) => {
      const own = candidates[number];
      const requests = in_force.requests > 0 ? Math.round((own.requests / in_force.requests - 1) * 100) : 0;
      const points = Math.round(((own.shown_s - in_force.shown_s) / composing_s) * 100);
      const sent = requests === 0 ? "as much" : `${count(Math.abs(requests))}\u00a0% ${requests < 0 ? "less" : "more"}`;
      const shown = points === 0 ? "as much" : `${Math.abs(points)}\u00a0${Math.abs(points) === 1 ? "point" : "points"} ${points < 0 ? "less" : "more"}`;
      return make("li", {}, `${named(one)} would have sent ${sent} and shown ${shown}.`);
    });
    write(at("beside-notes"), ...lines);
  }
}

/** @param {number} value */
const number = (value) => trim(value, value < 10 ? 1 : 0);
/** @param {number} value */
const share = (value) => `${trim(value * 100, 0)}\u00a0%`;

/**
 * The figures of a timing, as in the head of the table. `good`: the sign of a change for the better.
 * @type {{name: string, good: number, value: (own: Figures, composing_s: number) => number | null, write: (value: number) => string}[]}
 */
const COLUMNS = [
  { name: "icon on while typing", good: +1, value: ({ shown_s }, composing_s) => shown_s / composing_s, write: share },
  { name: "on without typing a minute", good: -1, value: ({ false_s }, composing_s) => (false_s / composing_s) * 60, write: (value) => `${number(value)}\u00a0s` },
  { name: "flicker a minute", good: -1, value: ({ flicker }, composing_s) => (flicker / composing_s) * 60, write: number },
  { name: "stopped too early", good: -1, value: ({ stops_too_early, timer_stops }) => (timer_stops > 0 ? stops_too_early / timer_stops : null), write: share },
  { name: "requests a minute", good: -1, value: ({ requests }, composing_s) => (requests / composing_s) * 60, write: number },
];

/**
 * @typedef {object} Figures What a timing would have shown and sent.
 * @property {string} timing
 * @property {number} shown_s
 * @property {number} false_s
 * @property {number} flicker
 * @property {number} timer_stops
 * @property {number} stops_too_early
 * @property {number} requests
 */
/** @typedef {{since: number, composing_s: number, in_force: Figures, candidates: Figures[]}} Channel */
/** @typedef {{timings: string[], since: number, channels: Record<string, Channel>}} Measured As the daemon answers. */
