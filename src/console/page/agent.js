// What the agent sees of it: the icon, as the sandbox shows it, or as the upstream has acknowledged it; and the wire
// between the two, with what was told last.

import { at, make, still, tell } from "./dom.js";
import { became, lag, why } from "./words.js";

/** Pulses that run along the wire at a time. */
const PULSES_MAX = 8;

export class Agent {
  #said = "";

  /** @param {import("./strip.js").Strip} strip */
  constructor(strip) {
    this.strip = strip;
    this.sandbox = true;
    this.name = "ann";
    strip.addEventListener("change", () => this.show());
  }

  show() {
    const { shown } = this.strip;
    const state = shown === null ? "unknown" : shown ? "on" : "off";
    const card = at("agent");
    if (card.dataset.icon === state && this.#said === this.#line(state)) return;
    card.dataset.icon = state;
    this.#said = this.#line(state);
    tell(at("icon-state"), this.#said);
  }

  /** @param {string} state */
  #line(state) {
    const { name } = this;
    if (this.sandbox) return state === "on" ? `${name} is typing` : `No typing icon for ${name}`;
    if (this.strip.icon.length === 0) return "Salesforce was told nothing from here yet";
    if (state === "unknown") return "Not known: an answer never came";
    return state === "on" ? `Salesforce was told: ${name} is typing` : `Salesforce was told: ${name} is not typing`;
  }
}

/**
 * A request sets out along the wire.
 * @param {import("./strip.js").Told} told
 */
export function pulse(told) {
  const wire = at("wire");
  wire.dataset.last = told.indicator === "TypingStarted" ? "on" : "off";
  if (still() || document.hidden || wire.querySelectorAll(".pulse").length >= PULSES_MAX) return;
  const dot = make("span", { class: `pulse ${told.indicator === "TypingStarted" ? "up" : "down"}` });
  dot.addEventListener("animationend", () => dot.remove());
  at("track").append(dot);
}

/**
 * The newest request, in words.
 * @param {import("./strip.js").Told & {status?: number | null, ms?: number | null}} told
 */
export function caption(told) {
  const started = told.indicator === "TypingStarted";
  tell(at("sent-what"), `${started ? "▲ Started" : "▼ Stopped"}`);
  tell(at("sent-why"), why(told.reason));
  const how = told.outcome === null ? "on its way" : told.outcome === "delivered" ? `${told.status ?? ""} in ${lag(told.ms)}` : became(told.outcome);
  tell(at("sent-how"), how);
  at("wire").dataset.outcome = told.outcome ?? "";
}
