// One conversation, found and explained.

import { Refusal, Unreachable } from "./daemon.js";
import { at, id, make, setText } from "./dom.js";
import { deadlines } from "./followed.js";
import { elapsed } from "./strip.js";
import { answered, clock, later, left, marked, spell, visible, why } from "./words.js";

/** An explanation in view is fetched anew this often. */
const AGAIN_MS = 400;
/** Conversations offered to choose from. */
const OFFERED_MAX = 8;
/** The first choice is offered anew this often. */
const OFFER_MS = 700;
/** How long the page says that a conversation is not known. */
const UNKNOWN_MS = 10_000;

/** What a deadline is called. @type {Record<string, string>} */
const DEADLINES = {
  check_in_ms: "next check in",
  dismiss_in_ms: "icon off in",
  max_typing_in_ms: "max typing in",
  retry_in_ms: "retry in",
  muted_for_ms: "muted for",
};

export class Explained {
  /** @type {import("./daemon.js").Conversation | null} */
  #shown = null;
  /** @type {import("./daemon.js").Conversation | null} */
  #picked = null;
  /** What is shown: the daemon's answer, when it was true, and where its deadlines are written. */
  #account = /** @type {{found: any, at: number, due: [HTMLElement, number][]} | null} */ (null);
  #busy = false;
  #offered = 0;
  /** Whether conversations are offered to choose from; with a real org the lanes do that. */
  offers = true;

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
    daemon.addEventListener("explained", (event) => {
      const { conversation, found, at } = /** @type {CustomEvent} */ (event).detail;
      const shown = this.#shown?.to === conversation.to && this.#shown?.from === conversation.from;
      if (shown && at >= (this.#account?.at ?? 0)) this.#see(found, at);
    });
    daemon.addEventListener("link", () => (daemon.up ? (this.#offered = 0) : this.#silent()));
    daemon.addEventListener("fresh", () => daemon.fresh || this.#silent());
    setInterval(() => !document.hidden && this.daemon.up && void this.#refresh(), AGAIN_MS);
  }

  /** @param {import("./daemon.js").Conversation} conversation */
  async show(conversation) {
    this.#shown = conversation;
    this.#picked = conversation;
    this.#account = null;
    at("find-to").value = conversation.to;
    at("find-from").value = conversation.from;
    await this.#refresh();
    at("found").scrollIntoView({ block: "nearest" });
  }

  async #refresh() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      if (this.#shown) await this.daemon.explain(this.#shown);
      else if (this.offers && performance.now() - this.#offered > OFFER_MS) await this.#offer();
      else if (!this.offers && performance.now() > this.#offered) this.#none("Name a conversation, or pick one above.");
    } catch (error) {
      // A conversation that does not exist is not fetched again.
      if (error instanceof Refusal && error.status === 404) this.#shown = null;
      if (error instanceof Refusal) this.#none(error.status === 404 ? "This conversation is not in memory." : visible(error.message));
      if (error instanceof Unreachable) this.#silent();
      this.#offered = performance.now() + UNKNOWN_MS;
    } finally {
      this.#busy = false;
    }
  }

  #silent() {
    this.#offerNone();
    this.#none("typingd does not answer; what you ask for is shown as soon as it does.");
  }

  #offerNone() {
    at("offered").replaceChildren();
    delete at("offered").dataset.names;
  }

  /** @param {string} text */
  #none(text) {
    this.#account = null;
    setText(at("found-say"), text);
    at("found").hidden = true;
  }

  /** As long as no conversation is chosen, those in which someone is typing are offered. */
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
    setText(at("found-say"), names.length > 0 ? "Typing now:" : "No one is typing at the moment. Name a conversation, or pick one from the table.");
  }

  /** Writes the times of what is explained as they are now. */
  count() {
    if (!this.#account) return;
    const { found, at: given, due } = this.#account;
    const passed = elapsed(given);
    for (const [element, ms] of due) setText(element, left(ms - passed));
    const text = found.explanation ? later(found.explanation, passed, deadlines(found)) : "It is no longer in memory; this is its history.";
    // One that is over stays until the next.
    if (text) setText(at("found-say"), text);
  }

  /**
   * @param {any} found
   * @param {number} given When it was true.
   */
  #see(found, given) {
    this.#offerNone();
    at("found").hidden = false;
    const facts = [
      ["state", found.state],
      ["icon", found.icon ? "on" : "off"],
      ["the upstream shows", found.shown],
      ["last signal", found.last_signal ? `${found.last_signal.signal.replace("_", " ")}, ${spell(Math.round(found.last_signal.ago_ms / 100) * 100)} ago` : "–"],
      ["timing", found.timing ? `${found.timing.dismiss}, check ${found.timing.check_interval}, dismiss ${found.timing.dismiss_after}` : "–"],
      ["last answer", found.last_result ? answered(found.last_result) : "–"],
    ];
    const due = Object.entries(DEADLINES)
      .filter(([name]) => typeof found.deadlines?.[name] === "number")
      .map(([name, text]) => ({ text, element: make("dd"), ms: found.deadlines[name] }));
    at("facts").replaceChildren(
      ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value ?? "–"))]),
      ...due.flatMap(({ text, element }) => [make("dt", {}, text), element]),
    );
    this.#account = { found, at: given, due: due.map(({ element, ms }) => [element, ms]) };
    this.count();
    const past = [...(found.transitions ?? [])].reverse();
    at("past").replaceChildren(
      ...past.map((/** @type {any} */ one) => make("li", {}, make("span", { class: "when" }, clock(one.at)), ` ${line(one)}`)),
    );
  }
}

/** @param {any} one */
function line(one) {
  const name = marked(one.indicator);
  switch (one.event) {
    case "signal":
      return one.signal.replaceAll("_", " ");
    case "ignored":
      return `${one.signal} ignored: ${one.why}`;
    case "decided":
      return `${name} decided: ${why(one.reason)}`;
    case "result":
      return `${name} ${answered(one)}`;
    default:
      return `${name} dropped: ${why(one.why ?? "")}`;
  }
}
