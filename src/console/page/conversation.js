// One conversation, found and explained.

import { Refusal, Unreachable, naming } from "./daemon.js";
import { at, id, make, tell } from "./dom.js";
import { became, clock, lag, later, spell, visible, why } from "./words.js";

/** An explanation in view is asked for anew this often. */
const AGAIN_MS = 1_000;
/** Conversations offered to choose from. */
const OFFERED_MAX = 8;
/** The first choice is offered anew this often: nobody may be looking. */
const OFFER_MS = 3_000;
/** So long it stays said that a conversation is not known. */
const UNKNOWN_MS = 10_000;

/** What a deadline is called. @type {Record<string, string>} */
const DEADLINES = {
  check_in_ms: "next check in",
  dismiss_in_ms: "icon off in",
  max_typing_in_ms: "believed for",
  retry_in_ms: "tried again in",
  muted_for_ms: "left alone for",
};

export class Explained {
  /** @type {import("./daemon.js").Conversation | null} */
  #shown = null;
  /** @type {import("./daemon.js").Conversation | null} */
  #picked = null;
  #busy = false;
  #offered = 0;

  /** @param {import("./daemon.js").Daemon} daemon */
  constructor(daemon) {
    this.daemon = daemon;
    at("find").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      // A name with spaces at its ends that was picked, not typed, has them by right.
      const named = (/** @type {"to" | "from"} */ end) => {
        const { value } = at(`find-${end}`);
        return value === this.#picked?.[end] ? value : value.trim();
      };
      void this.show({ to: named("to"), from: named("from") });
    });
    daemon.addEventListener("link", () => (daemon.up ? (this.#offered = 0) : this.#silent()));
    setInterval(() => !document.hidden && this.daemon.up && void this.#look(), AGAIN_MS);
  }

  /** @param {import("./daemon.js").Conversation} conversation */
  async show(conversation) {
    this.#shown = conversation;
    this.#picked = conversation;
    at("find-to").value = conversation.to;
    at("find-from").value = conversation.from;
    await this.#look();
    at("found").scrollIntoView({ block: "nearest" });
  }

  async #look() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      if (this.#shown) await this.#explain(this.#shown);
      else if (performance.now() - this.#offered > OFFER_MS) await this.#offer();
    } catch (error) {
      // What is not there is not asked for again by itself.
      if (error instanceof Refusal && error.status === 404) this.#shown = null;
      if (error instanceof Refusal) this.#none(error.status === 404 ? "There is nothing in memory of that conversation." : visible(error.message));
      if (error instanceof Unreachable) this.#silent();
      this.#offered = performance.now() + UNKNOWN_MS;
    } finally {
      this.#busy = false;
    }
  }

  #silent() {
    at("offered").replaceChildren();
    delete at("offered").dataset.names;
    this.#none("typingd does not answer; what you ask for is shown as soon as it does.");
  }

  /** @param {string} text */
  #none(text) {
    tell(at("found-say"), text);
    at("found").hidden = true;
  }

  /** Nobody has been asked for: those who type now are offered. */
  async #offer() {
    this.#offered = performance.now();
    const { conversations } = await this.daemon.get(`/v1/conversations?icon=true&limit=${OFFERED_MAX}`);
    const names = conversations.map((/** @type {any} */ one) => `${one.to} / ${one.from}`);
    if (at("offered").dataset.names === names.join("\n")) return;
    at("offered").dataset.names = names.join("\n");
    at("offered").replaceChildren(
      ...conversations.map((/** @type {any} */ one) => {
        const button = make("button", { type: "button", class: "who" }, id(one.to), " / ", id(one.from));
        button.addEventListener("click", () => void this.show({ to: one.to, from: one.from }));
        return make("li", {}, button);
      }),
    );
    tell(at("found-say"), names.length > 0 ? "Typing now:" : "Nobody types at the moment. Name a conversation, or pick one from the table.");
  }

  /** @param {import("./daemon.js").Conversation} conversation */
  async #explain(conversation) {
    const found = await this.daemon.get(`/v1/conversations?${naming(conversation)}`);
    at("offered").replaceChildren();
    delete at("offered").dataset.names;
    at("found").hidden = false;
    tell(at("found-say"), found.explanation ? later(found.explanation, 0) : "It is no longer in memory; this is what is still known of it.");
    const facts = [
      ["state", found.state],
      ["icon", found.icon ? "on" : "off"],
      ["the far side shows", found.shown],
      ["last signal", found.last_signal ? `${found.last_signal.signal.replace("_", " ")}, ${spell(found.last_signal.ago_ms)} ago` : "–"],
      ["timing", found.timing ? `${found.timing.dismiss}, check ${found.timing.check_interval}, dismiss ${found.timing.dismiss_after}` : "–"],
      ["last answer", found.last_result ? `${became(found.last_result.outcome)}${found.last_result.status ? ` (${found.last_result.status})` : ""} in ${lag(found.last_result.round_trip_ms)}` : "–"],
      ...Object.entries(DEADLINES)
        .filter(([name]) => typeof found.deadlines?.[name] === "number")
        .map(([name, text]) => [text, spell(found.deadlines[name])]),
    ];
    at("facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value ?? "–"))]));
    const past = [...(found.transitions ?? [])].reverse();
    at("past").replaceChildren(
      ...past.map((/** @type {any} */ one) => make("li", {}, make("span", { class: "when" }, clock(one.at)), ` ${line(one)}`)),
    );
  }
}

/** @param {any} one */
function line(one) {
  const mark = one.indicator === "TypingStarted" ? "▲ Started" : "▼ Stopped";
  switch (one.event) {
    case "signal":
      return one.signal.replaceAll("_", " ");
    case "decided":
      return `${mark} decided: ${why(one.reason)}`;
    case "result":
      return `${mark} ${became(one.outcome)}${one.status ? ` (${one.status})` : ""} in ${lag(one.round_trip_ms)}`;
    default:
      return `${mark} dropped: ${why(one.why ?? "")}`;
  }
}
