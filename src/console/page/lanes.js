// The conversations of a real org as they live: a lane for each, with its icon and its requests of the last minute.

import { at, id, make, setText, still } from "./dom.js";
import { SHOWN, acknowledged, past } from "./followed.js";
import { Paint } from "./paint.js";
import { now } from "./strip.js";
import { count } from "./words.js";

/** Lanes in view. */
const ROWS_MAX = 8;
/** Conversations that are kept; of each so many changes and requests. */
const KEPT_MAX = 500;
const MARKS_MAX = 60;
/** How much of the past a lane shows: wide, and narrow. */
const WIDE_MS = 60_000;
const NARROW_MS = 30_000;
const NARROW_PX = 420;
/** A lane in which nothing has happened for this long gives way to a conversation that waits for one. */
const QUIET_MS = 15_000;
/** The lanes are drawn anew this often, at most; and for a reader who wants no motion. */
const DRAW_MS = 100;
const STILL_MS = 500;
/** What hatching means, in words. */
const PARTLY =
  "Hatched: it is not known whether the icon was on, before this page connected or while typingd did not answer. Conversations that were over by then are left out.";
/** In a lane: the icon, and the marks of the requests. */
const ICON = { top: 5, height: 15 };
const MARKS = 28;

export class Lanes {
  /** @type {Map<string, Lane>} */
  #lanes = new Map();
  /** @type {Row[]} */
  #rows = [];
  #drawn = 0;
  #dirty = true;
  /** @type {import("./daemon.js").Conversation | null} */
  #picked = null;
  /** When the stream of events began: of what came before only a history tells. */
  #since = Infinity;

  /**
   * @param {(conversation: import("./daemon.js").Conversation) => void} pick
   * @param {(conversation: import("./daemon.js").Conversation) => void} recall Fetches a history, and gives it to `fill`.
   */
  constructor(pick, recall) {
    this.recall = recall;
    for (let row = 0; row < ROWS_MAX; row += 1) this.#rows.push(new Row(pick, () => (this.#dirty = true)));
    at("lanes").replaceChildren(...this.#rows.map(({ element }) => element));
    const step = () => {
      requestAnimationFrame(step);
      const moment = now();
      if (at("live").hidden || moment - this.#drawn < (still() ? STILL_MS : DRAW_MS)) return;
      if (this.#dirty || this.#lanes.size > 0) this.#draw(moment);
    };
    step();
  }

  /**
   * @param {string} event
   * @param {any} data
   * @param {number} here When, on this page's clock.
   */
  take(event, data, here) {
    if (event !== "decided" && event !== "result" && event !== "dropped") return;
    const lane = this.#lane(data, here);
    if (event === "decided") {
      lane.requests.push({ id: data.id, at: here, indicator: data.indicator, reason: data.reason, outcome: null });
      if (lane.requests.length > MARKS_MAX) lane.requests.shift();
      return;
    }
    const request = lane.requests.findLast((one) => one.id === data.id);
    if (request) request.outcome = event === "result" ? data.outcome : data.why;
    const shown = acknowledged(event, data);
    if (shown !== undefined) show(lane, here, shown);
  }

  /**
   * The icons that are on as the stream of events begins: what came before it is not in it.
   * @param {import("./daemon.js").Conversation[]} conversations
   * @param {boolean} all Whether there are no others.
   */
  begin(conversations, all) {
    const moment = now();
    this.#since = moment;
    for (const lane of this.#lanes.values()) [lane.since, lane.recalled] = [moment, false];
    const on = new Set(conversations.map(key));
    for (const [name, lane] of this.#lanes) if (all && !on.has(name)) show(lane, moment, false);
    for (const one of conversations.slice(0, KEPT_MAX)) show(this.#lane(one, moment), moment, true);
    this.#dirty = true;
  }

  /**
   * The daemon's history of a conversation. One that has been quiet for longer than lanes show gets none.
   * @param {any} found The daemon's answer.
   * @param {import("./strip.js").Skew} skew
   * @param {number} asked When it was asked for.
   */
  fill(found, skew, asked) {
    const { requests, icon, since } = past(found, skew);
    const name = key(found);
    const last = Math.max(requests.at(-1)?.at ?? 0, icon.at(-1)?.at ?? 0);
    if (!this.#lanes.has(name) && now() - last > WIDE_MS) return;
    const lane = this.#lanes.get(name) ?? this.#lane(found, last);
    // Something has happened since: the next answer has it.
    if (lane.last > asked) return void (lane.recalled = false);
    lane.recalled = true;
    lane.requests = requests.slice(-MARKS_MAX);
    lane.icon = icon.slice(-MARKS_MAX);
    // Unknown is also what it is while a refresh is on its way.
    const shown = SHOWN[found.shown] ?? null;
    if (shown !== null) show(lane, now(), shown);
    lane.since = Math.min(lane.since, since);
    this.#dirty = true;
  }

  /** The daemon has not answered for a second: an icon that was on may be off, and one that was off on. */
  age() {
    for (const lane of this.#lanes.values()) show(lane, now(), null);
  }

  clear() {
    this.#lanes.clear();
    this.#since = Infinity;
    this.#dirty = true;
  }

  /** @param {import("./daemon.js").Conversation | null} conversation */
  choose(conversation) {
    this.#picked = conversation;
    this.#dirty = true;
  }

  /**
   * @param {import("./daemon.js").Conversation} conversation
   * @param {number} here
   * @returns {Lane}
   */
  #lane({ to, from }, here) {
    const name = key({ to, from });
    const lane = this.#lanes.get(name) ?? { to, from, icon: [], requests: [], last: here, since: Math.min(this.#since, here), recalled: false };
    lane.last = here;
    // The map is in the order of their last events.
    this.#lanes.delete(name);
    this.#lanes.set(name, lane);
    if (this.#lanes.size > KEPT_MAX) this.#evict();
    return lane;
  }

  /** Forgets the conversation whose last event is the oldest, of those that have no row. */
  #evict() {
    const rows = new Set(this.#rows.map(({ lane }) => lane));
    for (const [name, lane] of this.#lanes) if (!rows.has(lane)) return this.#lanes.delete(name);
    return false;
  }

  /** @param {number} moment */
  #draw(moment) {
    this.#drawn = moment;
    this.#dirty = false;
    const span = at("lanes").clientWidth < NARROW_PX ? NARROW_MS : WIDE_MS;
    for (const [name, lane] of this.#lanes) {
      if (moment - lane.last > span && !lane.icon.at(-1)?.shown) this.#lanes.delete(name);
    }
    const waiting = this.#assign(moment);
    for (const { lane } of this.#rows) {
      if (!lane || lane.recalled || lane.since < moment - span) continue;
      lane.recalled = true;
      this.recall({ to: lane.to, from: lane.from });
    }
    for (const row of this.#rows) row.draw(moment, span, row.lane !== null && this.#is(row.lane));
    at("lanes-axis").hidden = this.#lanes.size === 0;
    setText(at("lanes-from"), `−${span / 1_000}\u00a0s`);
    at("lanes-none").hidden = this.#lanes.size > 0;
    const hatched = this.#rows.some(({ element, lane }) => lane && element.dataset.known !== "all");
    setText(at("lanes-past"), hatched ? PARTLY : "");
    const more = `${count(waiting)}${this.#lanes.size < KEPT_MAX ? "" : " or"} more ${waiting === 1 ? "conversation" : "conversations"}`;
    setText(at("lanes-more"), waiting > 0 ? more : "");
  }

  /**
   * Gives each row a lane, and each lane the row that it has: a row never moves.
   * @param {number} moment
   * @returns {number} How many conversations have none.
   */
  #assign(moment) {
    const shown = new Set();
    for (const row of this.#rows) {
      if (row.lane && this.#lanes.get(key(row.lane)) !== row.lane) row.lane = null;
      if (row.lane) shown.add(row.lane);
    }
    const waiting = [...this.#lanes.values()].filter((lane) => !shown.has(lane)).reverse();
    const all = waiting.length;
    for (const row of this.#rows) {
      if (waiting.length === 0) break;
      const quiet = row.lane && moment - row.lane.last > QUIET_MS && !row.lane.icon.at(-1)?.shown && !this.#is(row.lane);
      if (row.lane && (!quiet || waiting[0].last < row.lane.last)) continue;
      row.lane = waiting.shift() ?? null;
    }
    return Math.min(all, this.#lanes.size - this.#rows.filter(({ lane }) => lane).length);
  }

  /** @param {import("./daemon.js").Conversation} conversation */
  #is(conversation) {
    return this.#picked !== null && key(this.#picked) === key(conversation);
  }
}

/** One place for a lane. */
class Row {
  /** @type {Lane | null} */
  lane = null;
  #named = "";

  /**
   * @param {(conversation: import("./daemon.js").Conversation) => void} pick
   * @param {() => void} redraw
   */
  constructor(pick, redraw) {
    this.button = make("button", { type: "button", class: "who" });
    this.button.addEventListener("click", () => this.lane && pick({ to: this.lane.to, from: this.lane.from }));
    this.state = make("span", { class: "state" });
    const canvas = /** @type {HTMLCanvasElement} */ (make("canvas", { "aria-hidden": "true" }));
    this.element = make("li", { hidden: "" }, this.button, this.state, canvas);
    this.paint = new Paint(canvas, redraw);
  }

  /**
   * @param {number} moment
   * @param {number} span
   * @param {boolean} picked
   */
  draw(moment, span, picked) {
    const { lane, paint, element } = this;
    element.hidden = lane === null;
    if (!lane) return;
    const name = key(lane);
    if (this.#named !== name) this.button.replaceChildren(id(lane.to), " / ", id(lane.from));
    this.#named = name;
    this.button.setAttribute("aria-pressed", String(picked));
    const state = lane.icon.at(-1)?.shown ?? (lane.icon.length > 0 ? null : false);
    element.dataset.icon = state === null ? "unknown" : state ? "on" : "off";
    setText(this.state, state === null ? "unknown" : state ? "icon on" : "icon off");
    const x = (/** @type {number} */ at) => (1 - (moment - at) / span) * (paint.width - 8);
    paint.clear();
    for (let back = 0; back <= span; back += 10_000) paint.upright("rule", x(moment - back), 0, paint.height);
    lane.icon.forEach(({ at, shown }, number) => {
      const to = x(lane.icon[number + 1]?.at ?? moment);
      if (shown === false || to < 0) return;
      const from = Math.max(x(at), -6);
      const width = Math.max(to - from, 1.5);
      if (shown) paint.bar("seen", from, ICON.top, width, ICON.height, 4);
      else paint.piece("unknown", from, width, ICON.top + ICON.height, ICON.height);
    });
    const known = x(lane.since);
    element.dataset.known = known > 0 ? "in part" : "all";
    if (known > 0) paint.piece("unknown", 0, known, ICON.top + ICON.height, ICON.height);
    paint.bar("rule", 0, ICON.top + ICON.height, paint.width, 1);
    for (const request of lane.requests) if (x(request.at) > -6) paint.mark(request, x(request.at), MARKS);
  }
}

/**
 * @param {Lane} lane
 * @param {number} at
 * @param {boolean | null} shown
 */
function show(lane, at, shown) {
  if ((lane.icon.length > 0 ? lane.icon[lane.icon.length - 1].shown : false) === shown) return;
  lane.icon.push({ at, shown });
  if (lane.icon.length > MARKS_MAX) lane.icon.shift();
}

/** @param {import("./daemon.js").Conversation} conversation */
function key({ to, from }) {
  return JSON.stringify([to, from]);
}

/**
 * @typedef {object} Lane One conversation.
 * @property {string} to
 * @property {string} from
 * @property {{at: number, shown: boolean | null}[]} icon The changes of its icon; null: not known.
 * @property {import("./strip.js").Request[]} requests
 * @property {number} last When something happened last.
 * @property {number} since What came before is not known.
 * @property {boolean} recalled Whether its history has been asked for.
 */
