// What the agent sees: the icon, as the sandbox shows it, or as the upstream has acknowledged it; and the wire between
// the two, with the latest request.

import { at, id, make, still, setText, write } from "./dom.js";
import { lag, marked, result, why } from "./words.js";

/** Pulses that run along the wire at a time. */
const PULSES_MAX = 8;
/** The outcomes after which a request is retried. */
const AGAIN = ["not_sent", "unsure"];

export class Agent {
  #shown = "";
  #named = "";
  #failure = "";

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
    const line = this.#text(state);
    if (card.dataset.icon === state && this.#shown === line && this.#named === this.name) return;
    card.dataset.icon = state;
    [this.#shown, this.#named] = [line, this.name];
    const [before, after] = this.#shown.split("\n");
    if (after === undefined) setText(at("icon-state"), before);
    else write(at("icon-state"), before, id(this.name), after);
  }

  /**
   * The upstream has answered a request, or it was dropped.
   * @param {any} data A `result`, or what was `dropped`.
   */
  result({ indicator, outcome, status, why: dropped }) {
    const started = indicator === "TypingStarted";
    const answer = status ? `Salesforce answered ${status}` : outcome === "unsure" ? "no answer came" : "Salesforce could not be reached";
    if (outcome === "delivered" || dropped === "moot" || dropped === "expired") this.#failure = "";
    else if (outcome === "unsure") this.#failure = `Unknown: ${answer}; the ${indicator} is retried`;
    else if (outcome === "not_sent") this.#failure = `Not delivered yet: ${answer}; the ${indicator} is retried`;
    else if (outcome === "refused") this.#failure = `Refused: ${answer}`;
    else if (dropped === "given_up" && !started) this.#failure = "The TypingStopped was given up: the icon may be left on";
    this.show();
  }

  /** The results of earlier requests are not known. */
  forget() {
    this.#failure = "";
  }

  /**
   * The name goes where the line breaks.
   * @param {string} state
   */
  #text(state) {
    if (this.sandbox) {
      if (state === "unknown") return "Unknown: typingd does not answer";
      return state === "on" ? "\n is typing" : "No typing icon for \n";
    }
    if (this.#failure) return this.#failure;
    if (this.strip.icon.length === 0) return "Nothing was sent to Salesforce from here yet";
    if (state === "unknown") return "Unknown: typingd does not answer";
    return state === "on" ? "Salesforce acknowledged: \n is typing" : "Salesforce acknowledged: \n is not typing";
  }
}

/**
 * A request sets out along the wire.
 * @param {import("./strip.js").Request} request
 */
export function pulse(request) {
  const wire = at("wire");
  wire.dataset.last = request.indicator === "TypingStarted" ? "on" : "off";
  if (still() || document.hidden || wire.querySelectorAll(".pulse").length >= PULSES_MAX) return;
  const dot = make("span", { class: `pulse ${request.indicator === "TypingStarted" ? "up" : "down"}` });
  dot.addEventListener("animationend", () => dot.remove());
  at("track").append(dot);
}

/**
 * The newest request, in words.
 * @param {import("./strip.js").Request & {status?: number | null, ms?: number | null}} request
 */
export function caption(request) {
  setText(at("sent-what"), marked(request.indicator));
  setText(at("sent-why"), why(request.reason));
  const how = request.outcome === null ? "on its way" : request.outcome === "delivered" ? `${request.status ?? ""} in ${lag(request.ms)}` : result(request.outcome, request.status) + (AGAIN.includes(request.outcome) ? ", retried" : "");
  setText(at("sent-how"), how);
  at("wire").dataset.outcome = request.outcome ?? "";
}
