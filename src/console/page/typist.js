// A made-up user: what she types, and with which pauses.

/** `|4.2` is a pause in seconds, `>` sends, `<` wipes the box. */
const SCRIPT =
  "Hello! |1.1I ordered a lamp |2.7on Monday, |1.3and it is |4.4still not here. |1.6Could you please |3.1check" +
  " |0.9where it is?|1.2>|5.5Oh, |2.4wait|1.4 - my neighbour|3.6 might have|6.2 taken it.|7.5<";

/** @type {Stroke[]} */
export const STROKES = strokes();
/** So long after her last key she counts as gone, and her draft as abandoned. */
const AWAY_MS = 31_000;
/** Of which so much is shown. */
const SHOWN_MS = 9_000;

/** @returns {Stroke[]} */
function strokes() {
  const found = [];
  let [at, seed] = [400, 7];
  for (const [, pause, key] of SCRIPT.matchAll(/(?:\|([\d.]+))?([^|])/g)) {
    // The same rhythm for everybody: a small generator with a fixed seed.
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    const lot = seed / 2_147_483_648;
    at += pause ? Number(pause) * 1_000 : 70 + 150 * lot + (key === " " ? 60 : 0);
    found.push({ at: Math.round(at), key });
  }
  return found;
}

/** Her strokes as signals; but here she does not wipe the box in the end, she walks away from it. */
export function sample() {
  const signals = STROKES.map(({ at, key }) => ({ at, signal: signalOf(key) }));
  signals.pop();
  const end = signals[signals.length - 1].at;
  signals.push({ at: end + AWAY_MS, signal: "ended" });
  return { signals, from: 0, to: end + SHOWN_MS };
}

/** @param {string} key */
export function signalOf(key) {
  if (key === ">") return "message_sent";
  return key === "<" ? "stopped" : "keystroke";
}

/** Plays her, key by key. */
export class Typist {
  #timer = 0;

  /** @param {(key: string | null) => void} press Is given each stroke, and null at the end. */
  constructor(press) {
    this.press = press;
  }

  get typing() {
    return this.#timer !== 0;
  }

  start() {
    this.stop();
    const begun = performance.now();
    let next = 0;
    const step = () => {
      const stroke = STROKES[next];
      if (!stroke) {
        this.#timer = 0;
        return this.press(null);
      }
      next += 1;
      this.#timer = setTimeout(step, Math.max(0, begun + (STROKES[next]?.at ?? stroke.at) - performance.now()));
      this.press(stroke.key);
    };
    this.#timer = setTimeout(step, STROKES[0].at);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
  }
}

/** @typedef {{at: number, key: string}} Stroke Milliseconds from the start. */
