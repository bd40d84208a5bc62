// What the agent sees of it: the icon, as the sandbox shows it, or as the upstream has acknowledged it; and the wire
// between the two, with what was told last.

import { at, id, make, still, tell, write } from "./dom.js";
import { became, lag, why } from "./words.js";

/** Pulses that run along the wire at a time. */
const PULSES_MAX = 8;
/** What is tried again. */
const AGAIN = ["not_sent", "unsure"];

export class Agent {
  #said = "";
  #named = "";
  #setback = "";

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
    const line = this.#line(state);
    if (card.dataset.icon === state && this.#said === line && this.#named === this.name) return;
    card.dataset.icon = state;
    [this.#said, this.#named] = [line, this.name];
    const [before, after] = this.#said.split("\n");
    if (after === undefined) tell(at("icon-state"), before);
    else write(at("icon-state"), before, id(this.name), after);
  }

  /**
   * What the upstream has made of a request.
   * @param {any} data A `result`, or what was `dropped`.
   */
  heard({ indicator, outcome, status, why: dropped }) {
    const started = indicator === "TypingStarted";
    const answer = status ? `Salesforce answered ${status}` : outcome === "unsure" ? "no answer came" : "Salesforce was not reached";
    if (outcome === "delivered" || dropped === "moot" || dropped === "expired") this.#setback = "";
    else if (outcome === "unsure") this.#setback = `Not known: ${answer}; the ${started ? "typing" : "stop"} is tried again`;
    else if (outcome === "not_sent") this.#setback = `Not told of the ${started ? "typing" : "stop"} yet: ${answer}; it is tried again`;
    else if (outcome === "refused") this.#setback = `Refused: ${answer}`;
    else if (dropped === "given_up" && !started) this.#setback = "The stop was given up: the icon may be left on";
    this.show();
  }

  /** Nothing is known of what became of earlier requests. */
  forget() {
    this.#setback = "";
  }

  /**
   * The name goes where the line breaks.
   * @param {string} state
   */
  #line(state) {
    if (this.sandbox) {
      if (state === "unknown") return "Not known: typingd does not answer";
      return state === "on" ? "\n is typing" : "No typing icon for \n";
    }
    if (this.#setback) return this.#setback;
    if (this.strip.icon.length === 0) return "Salesforce was told nothing from here yet";
    if (state === "unknown") return "Not known: typingd does not answer";
    return state === "on" ? "Salesforce was told: \n is typing" : "Salesforce was told: \n is not typing";
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
  const how = told.outcome === null ? "on its way" : told.outcome === "delivered" ? `${told.status ?? ""} in ${lag(told.ms)}` : became(told.outcome) + (told.status ? ` (${told.status})` : "") + (AGAIN.includes(told.outcome) ? ", tried again" : "");
  tell(at("sent-how"), how);
  at("wire").dataset.outcome = told.outcome ?? "";
}
