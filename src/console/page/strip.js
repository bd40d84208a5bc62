// What one conversation did lately: keys, sends, requests, the icon. It holds times, and nothing of what was typed.

import { still } from "./dom.js";

/** How long it is remembered. */
const KEPT_MS = 180_000;
/** Things of one kind that are remembered, at most: a looping key makes thirty a second. */
const KEPT_MAX = 6_000;

/** Times that are counted down move on this often; and for a reader who wants no motion. */
const STEP_MS = 100;
const STILL_STEP_MS = 500;

/** Two reports of the same key are at most this far apart. */
const SAME_KEY_MS = 40;

/** Now, on a clock that doesn't jump, in the epoch's milliseconds. */
export function now() {
  return performance.timeOrigin + performance.now();
}

let step = { number: 0, at: 0 };

/**
 * The instant to which the whole page counts its times down: it moves in steps and is the same throughout a frame, so
 * that all that is seen agrees.
 */
export function counted() {
  const moment = performance.timeOrigin + Number(document.timeline.currentTime);
  const number = Math.floor(moment / (still() ? STILL_STEP_MS : STEP_MS));
  if (number !== step.number) step = { number, at: moment };
  return step.at;
}

/**
 * How long ago that was, for a time that is counted down.
 * @param {number} at
 */
export function elapsed(at) {
  return Math.max(0, counted() - at);
}

/**
 * Brings the daemon's times to this page's clock. The two may be minutes apart; the shortest way that an event has
 * taken lately is taken for no time at all.
 */
export class Skew {
  #least = Infinity;
  #until = 0;

  /** @param {number} at The daemon's time of an event that has just arrived. */
  here(at) {
    const late = now() - at;
    // Clocks drift, and are set: what was the shortest way is forgotten after a while.
    if (late < this.#least || now() > this.#until) [this.#least, this.#until] = [late, now() + 30_000];
    return at + this.#least;
  }

  /**
   * Brings an earlier time of the daemon's here.
   * @param {number} at
   * @param {number} ago How long ago that was, by the daemon.
   */
  earlier(at, ago) {
    return this.#least === Infinity ? now() - ago : at + this.#least;
  }
}

/** Dispatches `change` when something has happened. */
export class Strip extends EventTarget {
  /** @type {{at: number, signal: string}[]} */
  signals = [];
  /** @type {Request[]} */
  requests = [];
  /** The icon's changes; null: not known. @type {{at: number, shown: boolean | null}[]} */
  icon = [];
  /** Checks that have come. @type {number[]} */
  checks = [];
  /**
   * What comes next, by the daemon's own account, which was true at `at`.
   * @type {{check: number | null, dismiss: number | null, from: number, at: number}}
   */
  ahead = { check: null, dismiss: null, from: 0, at: 0 };

  /** @param {string} signal */
  signal(signal) {
    this.#add(this.signals, { at: now(), signal });
  }

  /** @param {Request} request */
  add(request) {
    this.#add(this.requests, request);
  }

  /**
   * @param {number} at
   * @param {boolean | null} shown
   */
  show(at, shown) {
    if (this.shown === shown) return;
    this.#add(this.icon, { at, shown });
  }

  /**
   * Replaces what happened before now by the daemon's history; the keys seen so far stay.
   * @param {{signals: {at: number, signal: string}[], requests: Request[], icon: {at: number, shown: boolean | null}[]}} past
   */
  replace({ signals, requests, icon }) {
    const keys = this.signals.filter(({ signal }) => signal === "keystroke");
    this.signals = [...keys, ...signals.filter(({ signal }) => signal !== "keystroke")].sort((a, b) => a.at - b.at);
    this.requests = requests;
    this.icon = icon;
    this.forget();
    this.dispatchEvent(new Event("change"));
  }

  /**
   * A key was pressed elsewhere.
   * @param {number} at
   */
  key(at) {
    const last = this.signals.findLast(({ signal }) => signal === "keystroke");
    if (last && at - last.at < SAME_KEY_MS) return;
    this.#add(this.signals, { at, signal: "keystroke" });
  }

  /** Whether the icon is on now; null: not known. */
  get shown() {
    const last = this.icon.at(-1);
    return last === undefined ? false : last.shown;
  }

  /**
   * @param {number | null} check
   * @param {number | null} dismiss
   * @param {number} [at] When the daemon said so.
   */
  expect(check, dismiss, at = now()) {
    this.#pass();
    this.ahead = { check, dismiss, from: now(), at };
    this.dispatchEvent(new Event("change"));
  }

  /** A check that was ahead and has come is one that was. */
  #pass() {
    const { check } = this.ahead;
    const late = this.requests.at(-1);
    if (check === null || check > now()) return;
    // It fell away if the icon went off before.
    if (late && late.indicator === "TypingStopped" && late.at < check - 20 && late.at >= this.ahead.from - 20) return;
    if (Math.abs((this.checks.at(-1) ?? 0) - check) > 100) this.checks.push(check);
  }

  /** Something that is known already has changed. */
  touch() {
    this.dispatchEvent(new Event("change"));
  }

  /** Lets go of what is old. */
  forget() {
    this.#pass();
    const since = now() - KEPT_MS;
    const old = (/** @type {{at: number}[]} */ list) => {
      const fresh = list.findIndex((one) => one.at >= since);
      const gone = Math.max(fresh < 0 ? list.length : fresh, list.length - KEPT_MAX);
      if (gone > 0) list.splice(0, gone);
    };
    old(this.signals);
    old(this.requests);
    while (this.checks.length > 0 && this.checks[0] < since) this.checks.shift();
    // The last change is the state.
    while (this.icon.length > 1 && this.icon[1].at < since) this.icon.shift();
  }

  clear() {
    this.signals = [];
    this.requests = [];
    this.icon = [];
    this.checks = [];
    this.ahead = { check: null, dismiss: null, from: 0, at: 0 };
    this.dispatchEvent(new Event("change"));
  }

  /**
   * @template {{at: number}} T
   * @param {T[]} list
   * @param {T} one
   */
  #add(list, one) {
    list.push(one);
    this.forget();
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * @typedef {object} Request A request, decided by the daemon.
 * @property {number} id
 * @property {number} at On this page's clock.
 * @property {string} indicator
 * @property {string} reason
 * @property {string | null} outcome Its result; null while it is on its way.
 * @property {string} [detail]
 */
