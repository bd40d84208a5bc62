// The last seconds of one conversation, running: keys, the icon, requests with their reasons, checks; and what comes
// next, by the daemon's own account.

import { still } from "./dom.js";
import { Paint } from "./paint.js";
import { counted, elapsed, now } from "./strip.js";
import { became, left, why } from "./words.js";

/** The lanes, from above: where each is, in pixels. */
const KEYS = { top: 20, height: 26 };
const ICON = { top: 60, height: 26 };
const MARKS = 106;
const CHECKS = 146;
const FOOT = 164;
/** Room for a reason beneath its mark. */
const REASON_GAP = 8;

export class Timeline {
  #dirty = true;
  #drawn = 0;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./strip.js").Strip} strip
   */
  constructor(canvas, strip) {
    this.strip = strip;
    /** Whether the upstream is a real org, of which a conversation is picked. */
    this.real = false;
    this.paint = new Paint(canvas, () => (this.#dirty = true));
    this.show(strip);
    const step = () => {
      requestAnimationFrame(step);
      const moment = now();
      // Someone who wants no motion sees a new picture with each step of what is counted down.
      if (this.#dirty || (this.#moving(moment) && (!still() || this.#drawn !== counted()))) this.#draw(moment);
    };
    step();
  }

  /** @param {import("./strip.js").Strip} strip */
  show(strip) {
    this.strip.removeEventListener("change", this.#changed);
    this.strip = strip;
    strip.addEventListener("change", this.#changed);
    this.#dirty = true;
  }

  #changed = () => (this.#dirty = true);

  /** How many seconds are shown, past and ahead. */
  get #view() {
    const { width } = this.paint;
    const past = width >= 780 ? 30_000 : width >= 560 ? 20_000 : 11_000;
    return { past, ahead: width >= 560 ? 6_000 : 5_000 };
  }

  /** @param {number} moment */
  #moving(moment) {
    const since = moment - this.#view.past - 1_500;
    const { signals, requests, icon } = this.strip;
    const last = Math.max(signals.at(-1)?.at ?? 0, requests.at(-1)?.at ?? 0, icon.at(-1)?.at ?? 0);
    return last > since || this.strip.shown !== false;
  }

  /** @param {number} moment */
  #draw(moment) {
    this.#dirty = false;
    this.#drawn = counted();
    this.strip.forget();
    const { paint, strip } = this;
    const { past, ahead } = this.#view;
    const x = (/** @type {number} */ at) => ((at - moment + past) / (past + ahead)) * paint.width;
    paint.clear();
    this.#grid(moment, x);
    if (!this.#moving(moment)) {
      const text = this.real ? "Pick a live conversation: its last seconds are shown here." : "Press a key above, or let the page type for you.";
      paint.lines(text, x(moment) / 2, 46, x(moment) - 24);
    }
    for (const { at, signal } of strip.signals) {
      if (x(at) < 0) continue;
      if (signal === "keystroke") paint.upright("ink", x(at), KEYS.top, KEYS.top + KEYS.height, [], 1.25);
      else {
        paint.upright("ink", x(at), KEYS.top - 4, MARKS - 10, [2, 3]);
        const text = { message_sent: "sent", stopped: "cleared", ended: "left" }[signal] ?? signal;
        paint.write(text, x(at) + 4, KEYS.top - 8, { colour: "ink", size: 11, ground: "card" });
      }
    }
    this.#icon(moment, x);
    for (const check of strip.checks) if (x(check) > 0) this.#check(x(check), "past");
    this.#marks(x, x(moment));
    this.#ahead(moment, x);
  }

  /**
   * @param {number} moment
   * @param {(at: number) => number} x
   */
  #grid(moment, x) {
    const { paint } = this;
    const { past, ahead } = this.#view;
    const edge = x(moment);
    paint.bar("ahead", edge, 0, paint.width - edge, FOOT - 8, 0);
    for (let seconds = -Math.floor(past / 5_000) * 5; seconds * 1_000 < ahead; seconds += 5) {
      const place = x(moment + seconds * 1_000);
      if (seconds !== 0) paint.upright("rule", place, 6, FOOT - 8);
      const text = seconds === 0 ? "now" : `${seconds > 0 ? "+" : "−"}${Math.abs(seconds)}\u00a0s`;
      if (place > 14) paint.write(text, place, FOOT + 4, { align: "center", colour: seconds === 0 ? "ink" : "soft", weight: seconds === 0 ? 650 : 400 });
    }
    paint.upright("ink", edge, 6, FOOT - 8, [], 1.5);
    paint.bar("rule", 0, ICON.top + ICON.height, paint.width, 1);
  }

  /**
   * @param {number} moment
   * @param {(at: number) => number} x
   */
  #icon(moment, x) {
    const { paint, strip } = this;
    strip.icon.forEach(({ at, shown }, number) => {
      if (shown === false) return;
      const from = Math.max(x(at), -6);
      const to = x(strip.icon[number + 1]?.at ?? moment);
      if (to < 0) return;
      const width = Math.max(to - from, 1.5);
      if (shown) {
        paint.bar("seen", from, ICON.top, width, ICON.height, 5);
        if (width > 46) this.#dots(Math.max(from, 0) + 13, ICON.top + ICON.height / 2);
      } else {
        paint.bar("past", from, ICON.top + ICON.height - 5, width, 5);
        if (width > 60) paint.write("unknown", from + 4, ICON.top + 10);
      }
    });
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  #dots(x, y) {
    for (const step of [0, 7, 14]) this.paint.bar("paper", x + step - 2.2, y - 2.2, 4.4, 4.4, 2.2);
  }

  /**
   * @param {(at: number) => number} x
   * @param {number} edge Where the present is: its line crosses no reason.
   */
  #marks(x, edge) {
    const { paint, strip } = this;
    // The newest has its reason beside it; an older one where there is room left of the next.
    let free = Infinity;
    for (const request of [...strip.requests].reverse()) {
      const place = x(request.at);
      if (place < -40) break;
      paint.mark(request, place, MARKS);
      const lost = request.outcome !== null && request.outcome !== "delivered";
      const text = lost ? `${why(request.reason)}: ${became(request.outcome ?? "")}` : why(request.reason);
      const wide = paint.measure(text);
      const left = Math.min(Math.max(place - wide / 2, 2), edge - wide - 4);
      if (left + wide + REASON_GAP > free) continue;
      paint.write(text, left, MARKS + 17, { colour: lost ? "warn" : "soft" });
      free = left;
    }
  }

  /**
   * @param {number} x
   * @param {string} colour
   */
  #check(x, colour) {
    this.paint.upright(colour, x, CHECKS - 5, CHECKS + 5, [], 1.5);
    this.paint.bar(colour, x - 2.5, CHECKS - 2.5, 5, 5, 2.5);
  }

  /**
   * @param {number} moment
   * @param {(at: number) => number} x
   */
  #ahead(moment, x) {
    const { paint, strip } = this;
    const { check, dismiss, at: given } = strip.ahead;
    const until = (/** @type {number} */ at) => left(at - given - elapsed(given));
    const edge = paint.width;
    if (dismiss !== null && dismiss > moment) {
      // The icon goes on to here if no further key comes.
      const from = x(moment);
      const to = Math.min(x(dismiss), edge + 4);
      paint.bar("accent-soft", from, ICON.top, to - from, ICON.height, 5);
      if (to < edge) paint.upright("accent", to, ICON.top - 4, ICON.top + ICON.height + 4, [], 2);
      this.#beside(from, `off in ${until(dismiss)}`, ICON.top - 8, "ink");
    }
    if (check !== null && check > moment) {
      const place = x(check);
      if (place < edge - 4) this.#check(place, "accent");
      this.#beside(x(moment), `check in ${until(check)}`, CHECKS - 14, "soft");
    }
  }

  /**
   * A word right of the present, as far as there is room.
   * @param {number} x
   * @param {string} text
   * @param {number} y
   * @param {string} colour
   */
  #beside(x, text, y, colour) {
    const { paint } = this;
    const room = paint.width - x - 8 > paint.measure(text, 11);
    paint.write(text, room ? x + 8 : paint.width, y, { colour, size: 11, align: room ? "left" : "right", ground: "ahead" });
  }
}
