// Spans of time and numbers, as people and as the daemon write them; the names of what happens.

const UNITS = /** @type {const} */ ([["h", 3_600_000], ["m", 60_000], ["s", 1_000], ["ms", 1]]);

/**
 * Milliseconds of a span as the daemon writes it: `5s`, `1500ms`, `1m30s`.
 * @param {string} text
 */
export function millis(text) {
  let total = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)(ms|h|m|s)/g)) {
    total += Number(number) * (UNITS.find(([name]) => name === unit)?.[1] ?? 0);
  }
  return Math.round(total);
}

/**
 * A span as the daemon reads it, in the coarsest unit that makes it whole.
 * @param {number} ms
 */
export function span(ms) {
  const [name, unit] = UNITS.find(([, unit]) => ms > 0 && ms % unit === 0) ?? UNITS[3];
  return `${ms / unit}${name}`;
}

/**
 * A span for people: `250 ms`, `1.5 s`, `2 min`.
 * @param {number} ms
 */
export function spell(ms) {
  if (ms < 1_000) return `${Math.round(ms)}\u00a0ms`;
  if (ms < 60_000) return `${trim(ms / 1_000, ms < 10_000 ? 2 : 1)}\u00a0s`;
  if (ms < 3_600_000) return `${trim(ms / 60_000, 1)}\u00a0min`;
  return `${trim(ms / 3_600_000, 1)}\u00a0h`;
}

/**
 * A latency for people.
 * @param {number | null | undefined} ms
 */
export function lag(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 1_000) return spell(ms);
  return `${ms < 10 ? trim(ms, 1) : Math.round(ms)}\u00a0ms`;
}

/**
 * A number with at most so many digits after the point.
 * @param {number} value
 * @param {number} digits
 */
export function trim(value, digits) {
  return String(Number(value.toFixed(digits)));
}

const COUNT = new Intl.NumberFormat("en-GB");

/**
 * A count with its thousands apart.
 * @param {number} value
 */
export function count(value) {
  return COUNT.format(value);
}

/**
 * The time of day to the second.
 * @param {number} at Unix epoch milliseconds.
 */
export function clock(at) {
  return new Date(at).toLocaleTimeString("en-GB", { hour12: false });
}

/** Why an indicator was decided, for people. @type {Record<string, string>} */
const REASONS = {
  first_keystroke: "first key",
  check: "check",
  idle: "silence",
  dismissed: "dismissed",
  message_sent: "message sent",
  stopped: "stopped",
  ended: "ended",
  max_typing: "too long",
  recovered: "left on by a crash",
  shutdown: "shutting down",
};

/** Why a request was dropped, for people. @type {Record<string, string>} */
const DROPS = {
  replaced: "replaced by a newer one",
  moot: "not needed",
  expired: "too late",
  muted: "muted after a refusal",
  given_up: "given up",
};

/** @param {string} reason */
export function why(reason) {
  return REASONS[reason] ?? DROPS[reason] ?? reason.replaceAll("_", " ");
}

/** The results of a request, for people. @type {Record<string, string>} */
const OUTCOMES = { delivered: "delivered", not_sent: "not sent", unsure: "unknown", refused: "refused" };

/** @param {string} outcome */
export function became(outcome) {
  return OUTCOMES[outcome] ?? why(outcome);
}

/**
 * The answer to a request, for people.
 * @param {any} result Its outcome, status and round trip, as in an event.
 */
export function answered({ outcome, status, round_trip_ms: ms }) {
  return `${result(outcome, status)} in ${lag(ms)}`;
}

/**
 * The result of a request, with the status of the answer.
 * @param {string} outcome
 * @param {number | null} [status]
 */
export function result(outcome, status) {
  return became(outcome) + (status ? ` (${status})` : "");
}

/**
 * An indicator in short, with its mark.
 * @param {string} indicator
 */
export function marked(indicator) {
  return indicator === "TypingStarted" ? "▲ Started" : "▼ Stopped";
}

/**
 * A foreign text, with what is invisible in it made visible: controls, marks of direction, spaces at its ends.
 * @param {string} text
 */
export function visible(text) {
  return text
    .replace(/^ +| +$| {2,}/g, (spaces) => "␠".repeat(spaces.length))
    .replace(/(?! )[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/gu, (hidden) => {
      const point = /** @type {number} */ (hidden.codePointAt(0));
      return `‹U+${point.toString(16).toUpperCase().padStart(4, "0")}›`;
    });
}

/**
 * A time that is left, to the tenth of a second, rounded up: the page counts all of them down in this way.
 * @param {number} ms
 */
export function left(ms) {
  const tenths = Math.max(0, Math.ceil(ms / 100));
  if (tenths < 600) return `${(tenths / 10).toFixed(1)}\u00a0s`;
  return `${Math.floor(tenths / 600)}\u00a0min\u00a0${Math.floor((tenths % 600) / 10)}\u00a0s`;
}

/**
 * An explanation of the daemon so long after it was given: its times go down, and it is over with the first of them.
 * @param {string} text
 * @param {number} ms
 * @param {number[]} deadlines What the daemon cut to tenths or seconds for the text, in milliseconds.
 */
export function later(text, ms, deadlines) {
  let over = false;
  const counted = text.replace(/(?:(\d+) min )?(\d+(?:\.\d)?) (ms|s)\b/g, (_, minutes, number, unit) => {
    const cut = Math.round(Number(minutes ?? 0) * 60_000 + Number(number) * (unit === "s" ? 1_000 : 1));
    const lost = minutes ? 1_000 : unit === "s" ? 100 : 1;
    const whole = deadlines.find((deadline) => deadline >= cut && deadline < cut + lost) ?? cut;
    over ||= whole < ms;
    return left(whole - ms);
  });
  return over ? "" : counted;
}

/**
 * A setting in short: `idle 5s/2.5s`.
 * @param {Setting} setting
 */
export function named(setting) {
  const short = (/** @type {number} */ ms) => (ms >= 1_000 && ms < 60_000 ? `${ms / 1_000}s` : span(ms));
  return `${setting.mode} ${short(setting.check)}/${short(setting.dismiss)}`;
}

/**
 * Reads a setting as the daemon writes it: `idle 5s/2500ms`.
 * @param {string} text
 * @returns {Setting}
 */
export function setting(text) {
  const [mode, times] = text.split(" ");
  const [check, dismiss] = times.split("/").map(millis);
  return { mode, check, dismiss };
}

/**
 * Whether two settings are the same.
 * @param {Setting} one
 * @param {Setting} other
 */
export function same(one, other) {
  return one.mode === other.mode && one.check === other.check && one.dismiss === other.dismiss;
}

/** @typedef {{mode: string, check: number, dismiss: number}} Setting Times in milliseconds. */
