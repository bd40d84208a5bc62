// Bursts without waiting for answers, from several processes with tokens of their own: through typingd the upstream reads
// the same messages in the same order as straight, and no icon is left on.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isGood, trial } from "./trial.mjs";

const THROTTLE_MS = 500;
/** Long enough that each message waits for its Stopped until it is acknowledged. */
const settings = ['drop_in.settle = "10s"'];

for (const latency of [0, 60, 300]) {
  test(`an upstream that answers after ${latency} ms`, async () => {
    const straight = await trial({ latency, through: false, throttle: THROTTLE_MS });
    const through = await trial({ latency, through: true, throttle: THROTTLE_MS, settings });
    assert.deepEqual(through.problems, []);
    assert.deepEqual(through.leftOn, []);
    assert.equal(through.messages, straight.messages);
    // Whoever has an expired token hears of it, also if its users only type.
    assert.deepEqual(through.refused, straight.refused);
    // On a busy machine it may be chance which of two requests is read first. Without an order it is every fourth pair.
    const chance = through.messages / 50;
    assert.ok(through.wrongPairs.length <= chance, through.wrongPairs.join("\n"));
    // No icon is on as a message comes, unless its token has just been refused.
    const under = through.under.filter(isGood);
    assert.ok(under.length <= chance, under.join("\n"));
  });
}
