// The controls of the timing: two sliders and the mode, what they would do, and what they do.

import { at, id, make, setText, write } from "./dom.js";
import { named, same, spell, visible } from "./words.js";

/** The stops of the sliders, in milliseconds: fine where a little matters, coarse where it does not. */
const CHECKS = [500, 1e3, 1500, 2e3, 3e3, 4e3, 5e3, 6e3, 7e3, 8e3, 9e3, 1e4, 12e3, 15e3, 2e4, 3e4, 6e4];
const DISMISSES = [250, 500, 750, 1e3, 1250, 1500, 1750, 2e3, 2500, 3e3, 3500, 4e3, 4500, 5e3, 6e3, 7e3, 8e3, 9e3, 1e4, 12e3, 15e3, 2e4, 3e4];
/** Warnings of the timing in force that are shown: each channel may have some. */
const WARNINGS_MAX = 4;
/** How long a slider rests before the daemon follows. */
const SETTLE_MS = 120;

/** Dispatches `draft` when the sliders move. */
export class Sliders extends EventTarget {
  /** The setting of the sliders. @type {import("./words.js").Setting | null} */
  draft = null;
  /** What is compared with. @type {import("./words.js").Setting | null} */
  before = null;
  /** Whether the daemon follows the sliders, or waits for "Apply". */
  live = true;
  #timer = 0;
  #moved = false;

  /**
   * @param {import("./setting.js").Timing} timing
   * @param {(title: string, ...question: (Node | string)[]) => Promise<boolean>} sure
   * @param {(error: Error) => void} failed
   */
  constructor(timing, sure, failed) {
    super();
    this.timing = timing;
    this.sure = sure;
    this.failed = failed;
    this.check = new Slider(at("check"), at("check-value"), CHECKS);
    this.dismiss = new Slider(at("dismiss"), at("dismiss-value"), DISMISSES);
    for (const control of [this.check.input, this.dismiss.input, at("mode")]) {
      control.addEventListener("input", () => this.#move());
    }
    at("apply").addEventListener("click", () => void this.#apply());
    at("undo").addEventListener("click", () => this.before && void this.#back(this.before));
    timing.addEventListener("change", () => this.#follow());
  }

  #move() {
    const mode = /** @type {HTMLInputElement} */ (document.querySelector('input[name="mode"]:checked')).value;
    this.draft = { mode, check: this.check.value, dismiss: this.dismiss.value };
    this.#moved = true;
    this.#show();
    this.dispatchEvent(new Event("draft"));
    if (!this.live) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#change(this.draft), SETTLE_MS);
  }

  /** The timing in force has changed, by this page or by another caller. */
  #follow() {
    const { held } = this.timing;
    if (!held) return;
    this.before ??= held;
    if (!this.live && !same(this.before, held)) this.before = held;
    if (!this.#moved || (this.draft && same(this.draft, held))) {
      this.#moved = false;
      this.#set(held);
      this.dispatchEvent(new Event("draft"));
    }
    this.#show();
  }

  /** @param {import("./words.js").Setting} setting */
  #set(setting) {
    this.draft = setting;
    this.check.value = setting.check;
    this.dismiss.value = setting.dismiss;
    const mode = document.querySelector(`input[name="mode"][value="${setting.mode}"]`);
    /** @type {HTMLInputElement} */ (mode).checked = true;
  }

  /** @param {import("./words.js").Setting | null} wanted */
  async #change(wanted) {
    if (!wanted) return;
    try {
      await this.timing.change(wanted);
      setText(at("tune-trouble"), "");
      if (this.draft === wanted) this.#moved = false;
    } catch (error) {
      this.failed(/** @type {Error} */ (error));
      // Unless the sliders have moved on, they go back to what holds.
      if (this.draft === wanted) {
        this.#moved = false;
        this.#follow();
      }
    }
    this.#show();
  }

  /**
   * Moves to a setting that was advised; with a real org it is put in force once the reader confirms.
   * @param {import("./words.js").Setting} advice
   */
  async adopt(advice) {
    this.#set(advice);
    this.#moved = true;
    this.dispatchEvent(new Event("draft"));
    this.#show();
    await (this.live ? this.#change(advice) : this.#apply());
  }

  async #apply() {
    const { draft } = this;
    if (!draft || !this.timing.held) return;
    const whom = this.timing.own ? ["the channel ", id(this.timing.channel())] : ["all channels without timing of their own"];
    const question = [
      `From ${named(this.timing.held)} to ${named(draft)}: this holds at once for `,
      ...whom,
      ", conversations under way included, until the daemon is started or reloaded.",
    ];
    if (await this.sure("Apply this to the live daemon?", ...question)) await this.#change(draft);
  }

  /** @param {import("./words.js").Setting} before */
  async #back(before) {
    this.#set(before);
    this.dispatchEvent(new Event("draft"));
    if (this.live) await this.#change(before);
    this.#show();
  }

  #show() {
    const { draft, before, timing } = this;
    if (!draft || !timing.held) return;
    this.check.show();
    this.dismiss.show();
    const pending = !same(draft, timing.held);
    at("apply").hidden = this.live;
    /** @type {HTMLButtonElement} */ (at("apply")).disabled = !pending;
    /** @type {HTMLButtonElement} */ (at("undo")).disabled = !before || same(draft, before);
    const whom = timing.own ? ["for the channel ", id(timing.channel())] : ["for all channels"];
    write(at("held"), "In force ", ...whom, `: ${named(timing.held)}`);
    write(at("tune-warnings"), ...timing.warnings.slice(0, WARNINGS_MAX).map((warning) => make("li", {}, visible(warning))));
    at("keep").hidden = !timing.keep;
    const file = timing.keep?.file;
    write(at("keep-how"), ...(file ? ["write to ", make("code", {}, file)] : ["put this into a configuration:"]));
    setText(at("keep-toml"), timing.keep?.toml.trim() ?? "");
  }
}

/** One slider, whose stops are not even. */
class Slider {
  /**
   * @param {HTMLInputElement} input
   * @param {HTMLOutputElement} output
   * @param {number[]} stops
   */
  constructor(input, output, stops) {
    this.input = input;
    this.output = output;
    this.usual = stops;
    this.stops = stops;
    this.input.max = String(stops.length - 1);
  }

  get value() {
    return this.stops[Number(this.input.value)];
  }

  /** A value that is no stop becomes one. */
  set value(wanted) {
    this.stops = [...new Set([...this.usual, wanted])].sort((a, b) => a - b);
    this.input.max = String(this.stops.length - 1);
    this.input.value = String(this.stops.indexOf(wanted));
    this.show();
  }

  show() {
    const text = spell(this.value);
    setText(this.output, text);
    this.input.setAttribute("aria-valuetext", text);
    this.input.style.setProperty("--at", `${(Number(this.input.value) / Math.max(1, this.stops.length - 1)) * 100}%`);
  }
}
