// The daemon's figures, as they are now.

import { at, make, setText } from "./dom.js";
import { count, lag, spell } from "./words.js";

/** How much of the requests' past is drawn: the most of each second. */
const PAST_MAX = 60;

export class Figures {
  /** @type {number[]} */
  #past = [];
  #second = -1;

  /** @param {any} status */
  show(status) {
    const { conversations, requests, deliveries, latency } = status;
    setText(at("f-conversations"), count(conversations.in_memory));
    setText(at("f-icons"), `${count(conversations.icons)} ${conversations.icons === 1 ? "icon" : "icons"} on`);
    setText(at("f-requests"), count(requests.in_last_second));
    const limit = requests.max_per_second;
    const lowered = requests.allowed_per_second < limit ? ` (now ${count(requests.allowed_per_second)})` : "";
    setText(at("f-limit"), `of ${count(limit)} a second${lowered}`);
    /** @type {HTMLMeterElement} */
    const meter = at("f-meter");
    meter.max = limit;
    meter.high = limit * 0.9;
    meter.value = requests.in_last_second;
    /** @type {HTMLMeterElement} */
    const rate = at("rate");
    [rate.max, rate.high, rate.value] = [meter.max, meter.high, meter.value];
    this.#spark(requests.in_last_second);
    const most = Math.max(...this.#past);
    setText(at("rate-text"), `${count(requests.in_last_second)} of ${count(limit)} a second${lowered}; ${count(most)} at most in the last minute`);
    setText(at("f-delivered"), count(deliveries.delivered));
    const bad = ["refused", "unsure", "not_sent", "malformed", "shed", "muted", "stops_given_up", "retried"]
      .filter((name) => deliveries[name] > 0)
      .map((name) => `${count(deliveries[name])} ${name.replaceAll("_", " ")}`);
    setText(at("f-others"), bad.join(", ") || "no errors");
    at("f-others").dataset.bad = String(bad.length > 0);
    setText(at("f-round"), lag(latency.round_trip_ms?.p50));
    setText(at("f-late"), `p99 ${lag(latency.round_trip_ms?.p99)}; key to request ${lag(latency.signal_to_wire_ms?.p50)}`);
    const journal = { none: "no journal", ok: "journal kept", degraded: "the journal can't be written" };
    const notes = [
      `typingd ${status.version}${status.commit ? ` (${status.commit})` : ""}`,
      `up for ${spell(Math.max(1_000, status.uptime_ms))}`,
      status.sandbox ? "sandbox" : status.upstream.base_url,
      `token ${status.upstream.token}`,
      journal[/** @type {keyof typeof journal} */ (status.journal)] ?? status.journal,
    ];
    if (status.recording) notes.push("the signals are being recorded");
    at("f-notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
  }

  /** The daemon is silent: what it does now is not known. */
  age() {
    for (const name of ["f-conversations", "f-requests", "f-round"]) setText(at(name), "–");
    for (const name of ["f-icons", "f-limit", "f-late"]) setText(at(name), "");
    at("f-meter").value = at("rate").value = 0;
    setText(at("rate-text"), "unknown");
  }

  /** @param {number} requests */
  #spark(requests) {
    const second = Math.floor(performance.now() / 1_000);
    if (second === this.#second) {
      this.#past.push(Math.max(requests, this.#past.pop() ?? 0));
    } else {
      this.#past.push(requests);
      this.#second = second;
    }
    if (this.#past.length > PAST_MAX) this.#past.shift();
    const most = Math.max(4, ...this.#past);
    const y = (/** @type {number} */ value) => (30 - (value / most) * 28).toFixed(1);
    const points = this.#past.map((value, number) => `${(PAST_MAX - this.#past.length + number) * 4},${y(value)}`);
    at("f-spark").setAttribute("points", points.join(" "));
  }
}
