// Whoever types sees the agent's icon, and what another setting would have made of it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Daemon, until } from "./daemon.mjs";
import { icon, met, shows, withPage } from "./page.mjs";

/** A machine that does much else may be late by so much. */
const SLACK_MS = 2_500;

/** Notes when the agent's icon changes, and when keys are pressed, on the page's own clock. */
function note(page) {
  return page.evaluate(() => {
    window.noted = [];
    const agent = document.getElementById("agent");
    new MutationObserver(() => window.noted.push({ at: performance.now(), what: agent.dataset.icon }))
      .observe(agent, { attributeFilter: ["data-icon"] });
    document.getElementById("box").addEventListener("input", () => window.noted.push({ at: performance.now(), what: "key" }));
  });
}

test("the icon comes with the first key, stays while keys come, and goes at the configured time", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "900ms"\ntiming.check_interval = "2s"' });
  await withPage(daemon.url, async (page) => {
    await met(page);
    await note(page);
    await page.locator("#box").pressSequentially("hello there", { delay: 120 });
    await icon(page, "on");
    await shows(page, "#icon-state", "ann is typing");
    await icon(page, "off");
    const noted = await page.evaluate(() => window.noted);
    const states = noted.filter(({ what }) => what !== "key").map(({ what }) => what);
    assert.deepEqual(states, ["on", "off"], "once on, once off, no blinking in between");
    const at = (what) => noted.findLast((one) => one.what === what).at;
    const first = noted.find(({ what }) => what === "key").at;
    assert.ok(at("on") - first < SLACK_MS, `on ${at("on") - first} ms after the first key`);
    const off = at("off") - at("key");
    assert.ok(off > 850 && off < 900 + SLACK_MS, `off ${off} ms after the last key`);
    await shows(page, "#newest", "first key");
    await shows(page, "#newest", "silence");
    await shows(page, "#requests-list", "TypingStopped, silence: delivered");
  });
});

test("a send, a wiped box and a farewell end it at once, and nothing of the text leaves the page", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"\ntiming.max_typing = "5m"' });
  await withPage(daemon.url, async (page) => {
    /** @type {string[]} */
    const bodies = [];
    page.on("request", (request) => request.url().endsWith("/v1/signals") && bodies.push(request.postData() ?? ""));
    await met(page);
    for (const [end, reason] of [
      [() => page.keyboard.press("Enter"), "message sent"],
      [() => page.click("#clear"), "stopped"],
      [() => page.keyboard.press("Control+A").then(() => page.keyboard.press("Delete")), "stopped"],
      [() => page.click("#leave"), "ended"],
    ]) {
      await page.fill("#box", "");
      await page.locator("#box").pressSequentially("unspeakable");
      await icon(page, "on");
      await end();
      await icon(page, "off");
      await shows(page, "#newest tr:first-child", reason);
      assert.equal(await page.inputValue("#box"), "");
    }
    const signals = bodies.flatMap((body) => JSON.parse(body));
    assert.ok(signals.length >= 4 * 11, `${signals.length}`);
    for (const signal of signals) assert.deepEqual(Object.keys(signal).sort(), ["at", "from", "signal", "to"]);
    assert.ok(!bodies.join().includes("unspeakable"));
  });
});

test("the sliders take hold of the running daemon, the strip is replayed, and back is back", async (t) => {
  const daemon = await Daemon.start(t);
  const timing = async () => (await daemon.get("/v1/timing")).timing;
  await withPage(daemon.url, async (page) => {
    await met(page);
    const recall = page.locator("#recall-would");
    await until("the sample user is measured", async () => /\d/.test((await recall.textContent()) ?? ""));
    const before = await recall.textContent();
    await page.focus("#dismiss");
    for (let stop = 0; stop < 8; stop += 1) await page.keyboard.press("ArrowRight");
    assert.equal(await page.textContent("#dismiss-value"), "7\u00a0s");
    await until("the daemon follows", async () => (await timing()).dismiss_after === "7s");
    await until("more is seen", async () => parseInt((await recall.textContent()) ?? "") > parseInt(before ?? ""));
    assert.equal(await page.textContent("#recall-was"), before);
    await page.locator("#recall[data-change=better]").waitFor();
    await page.locator("#off[data-change=worse]").waitFor();
    await shows(page, "#held", "idle 5s/7s");
    await page.click("#keep summary");
    await shows(page, "#keep-toml", 'dismiss_after = "7s"');
    await page.locator('input[value="after_shown"]').check({ force: true });
    await until("the mode as well", async () => (await timing()).dismiss === "after_shown");
    await page.focus("#dismiss");
    await page.keyboard.press("Home");
    await shows(page, "#tune-warnings", "the icon will blink: dismiss_after 250ms is below 1s");
    await page.click("#undo");
    await until("as it was", async () => {
      const { dismiss, dismiss_after } = await timing();
      return dismiss === "idle" && dismiss_after === "2s";
    });
    await page.locator("#keep").waitFor({ state: "hidden" });
    assert.equal(await page.textContent("#tune-warnings"), "");
  });
});

test("the strip shows the reader's own minute after 20 s and a message", async (t) => {
  const daemon = await Daemon.start(t);
  await withPage(daemon.url, async (page) => {
    await met(page);
    const own = page.locator("#source-own");
    assert.ok(await own.isDisabled());
    await page.locator("#box").pressSequentially("quite enough keys", { delay: 20 });
    const begun = performance.now();
    await page.locator("#source-own:enabled").waitFor({ state: "attached" });
    await page.keyboard.press("Enter");
    await page.locator("#box").pressSequentially("more", { delay: 20 });
    assert.ok(!(await own.isChecked()), "a message alone does not switch it");
    await until("it shows the reader's own", async () => {
      await page.keyboard.type("k");
      await new Promise((resolve) => setTimeout(resolve, 400));
      return own.isChecked();
    });
    assert.ok(performance.now() - begun > 19_000, "nor does a short while");
    await page.keyboard.press("Enter");
    await page.click('label:has(#source-sample)');
    await page.locator("#box").pressSequentially("and on", { delay: 20 });
    assert.ok(!(await own.isChecked()), "what the reader has chosen stays");
  });
});

test("a change by somebody else is followed, and a channel's own timing is what is changed", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'channels.support.check_interval = "8s"' });
  await withPage(daemon.url, async (page) => {
    await met(page);
    await shows(page, "#held", "for the channel support: idle 8s/2s");
    await page.focus("#check");
    await page.keyboard.press("ArrowRight");
    await until("the channel's", async () => (await daemon.get("/v1/timing")).channels.support.check_interval === "9s");
    assert.equal((await daemon.get("/v1/timing")).timing.check_interval, "5s");
    await fetch(`${daemon.url}/v1/timing/support`, { method: "PUT", body: '{"dismiss_after": "3s"}' });
    await shows(page, "#dismiss-value", "3\u00a0s");
  });
});

test("a draft is not typed over", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(daemon.url, async (page) => {
    await met(page);
    await page.locator("#demo:enabled").waitFor();
    await page.locator("#box").pressSequentially("a draft");
    await page.locator("#demo:disabled").waitFor();
    await page.click("#clear");
    await page.click("#demo");
    await until("the page types", async () => (await page.inputValue("#box")).length > 1);
    await page.click("#demo");
    await page.locator("#demo:enabled[aria-pressed=false]").waitFor();
  });
});
