// The end user's box. What is typed stays in it: the page learns only that a key was pressed, and whether the box is
// empty.

import { at } from "./dom.js";
import { Typist, signalOf } from "./typist.js";

/** Bubbles of sent messages that stay in view. */
const BUBBLES_MAX = 3;

export class Box {
  #empty = true;
  /** Whether what is in the box is the reader's. */
  #own = false;
  #chosen = false;

  /** @param {(signal: string) => void} happened Is given each signal. */
  constructor(happened) {
    this.happened = happened;
    /** @type {HTMLTextAreaElement} */
    this.area = at("box");
    this.demo = at("demo");
    this.typist = new Typist((key) => this.#stroke(key));
    this.shown = "";
    this.area.addEventListener("input", () => {
      this.#own = !this.#wiped;
      this.#stop();
      this.#typed();
    });
    this.area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#stop();
      this.send();
    });
    at("user").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#stop();
      this.send();
    });
    at("clear").addEventListener("click", () => (this.#stop(), this.clear(), this.area.focus()));
    at("leave").addEventListener("click", () => (this.#stop(), this.leave()));
    this.demo.addEventListener("click", () => (this.typist.typing ? this.#stop() : this.#start()));
    document.addEventListener("visibilitychange", () => document.hidden && this.#stop());
  }

  /** The style knows whether the box is empty: nothing has to read it. */
  get #wiped() {
    return this.area.matches(":placeholder-shown");
  }

  #typed() {
    const wiped = this.#wiped;
    // A key that empties the box is no typing, but its end.
    if (!wiped) this.happened("keystroke");
    else if (!this.#empty) this.happened("stopped");
    this.#empty = wiped;
  }

  send() {
    if (this.#wiped) return;
    this.#wipe();
    this.happened("message_sent");
    bubble(at("said"), "mine");
    bubble(at("received"), "theirs");
  }

  clear() {
    if (this.#wiped) return;
    this.#wipe();
    this.happened("stopped");
  }

  leave() {
    this.#wipe();
    this.happened("ended");
    at("said").replaceChildren();
    at("received").replaceChildren();
  }

  #wipe() {
    this.area.value = "";
    this.shown = "";
    this.#empty = true;
    this.#own = false;
    this.#offer();
  }

  /** @param {boolean} chosen Whether there is a conversation to type in. */
  enable(chosen) {
    this.#chosen = chosen;
    for (const name of ["box", "send", "clear", "leave"]) at(name).disabled = !chosen;
    this.#offer();
  }

  /** A draft of the reader's is not typed over. */
  #offer() {
    this.demo.disabled = !this.#chosen || this.#own;
    this.demo.title = this.#own ? "Send or clear what is in the box first" : "";
  }

  #start() {
    this.clear();
    this.demo.textContent = "Stop";
    this.demo.setAttribute("aria-pressed", "true");
    this.typist.start();
  }

  #stop() {
    this.typist.stop();
    this.demo.textContent = "Type for me";
    this.demo.setAttribute("aria-pressed", "false");
    this.#offer();
  }

  /** @param {string | null} key */
  #stroke(key) {
    if (key === null) return this.#stop();
    const signal = signalOf(key);
    if (signal === "message_sent") this.send();
    else if (signal === "stopped") this.clear();
    else {
      this.shown += key;
      this.area.value = this.shown;
      this.area.scrollTop = this.area.scrollHeight;
      this.#typed();
    }
  }
}

/**
 * A message as this page knows it: that there is one.
 * @param {HTMLElement} talk
 * @param {string} whose
 */
function bubble(talk, whose) {
  const lines = document.createElement("li");
  lines.className = `bubble ${whose}`;
  for (const width of [90, 60]) {
    const line = document.createElement("i");
    line.style.width = `${width - Math.round(Math.random() * 20)}%`;
    lines.append(line);
  }
  talk.append(lines);
  while (talk.children.length > BUBBLES_MAX) talk.firstElementChild?.remove();
}
