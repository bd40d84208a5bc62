// Timings that are measured beside the one in force, from the sliders to the daemon and back.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Daemon, sandbox, until } from "./daemon.mjs";
import { fits, met, shows, withPage } from "./page.mjs";

/** Refreshes come often, so that a candidate without them sends far less. */
const OFTEN = 'timing.check_interval = "300ms"\ntiming.dismiss_after = "1m"';
const USERS = Array.from({ length: 60 }, (_, number) => `user-${number}`);

/** Sixty users type until more than a minute of composing is counted, and send. @param {Daemon} daemon */
async function type(daemon, to) {
  const all = (signal) => daemon.report(...USERS.map((from) => ({ to, from, signal })));
  for (let key = 0; key < 16; key += 1) {
    await all("keystroke");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await all("message_sent");
}

/** Moves the slider of the check to its longest, and measures what the sliders say. */
async function measure(page) {
  await page.focus("#check");
  await page.keyboard.press("End");
  await page.click("#measure");
  await shows(page, "#beside-rows", "idle 1m/1m");
}

const candidates = async (daemon) => (await daemon.get("/v1/timing")).candidates;
const cells = (page, row) => page.locator("#beside-rows tr").nth(row).locator("td[data-name]").allTextContents();

test("what the sliders say is measured beside, from real traffic", async (t) => {
  const daemon = await Daemon.start(t, { upstream: (await sandbox(t)).url, settings: OFTEN });
  await withPage(daemon.url, async (page) => {
    await page.locator('#state[data-met="yes"]').waitFor();
    await page.locator("#apply").waitFor();
    assert.ok(await page.locator("#measure").isDisabled(), "the timing in force is measured anyway");
    assert.ok(await page.locator("#beside").isHidden());
    await measure(page);
    assert.ok(await page.locator("#measure").isDisabled(), "it is measured already");
    assert.deepEqual((await candidates(daemon)).timings, ["idle 1m/1m"]);
    assert.equal((await daemon.get("/v1/timing")).timing.check_interval, "300ms", "nothing else has changed");
    await shows(page, "#beside-say", "No one has typed since a timing last changed; the figures of “Tune it” are those of a made-up user");
    await type(daemon, "support");
    await shows(page, "#beside-notes", /idle 1m\/1m would have sent \d+\u00a0% less and shown as much\./);
    const [held, would] = [await cells(page, 0), await cells(page, 1)];
    assert.deepEqual([held[0], would[0], held[2], would[2]], ["100\u00a0%", "100\u00a0%", "0", "0"]);
    assert.ok(Number(held[4]) > 1.5 * Number(would[4]), `${held} ${would}`);

    // On a real org it is put in force once the reader confirms, and the count begins anew.
    await page.click('#beside-rows button[aria-label="Put in force… idle 1m/1m"]');
    await shows(page, "#sure-what", "From idle 300ms/1m to idle 1m/1m");
    await page.click("#sure-yes");
    await until("it holds", async () => (await daemon.get("/v1/timing")).timing.check_interval === "1m");
    await shows(page, "#beside-rows tr:first-child", "idle 1m/1m");
    await page.locator('#beside-rows button[aria-label="Put in force… idle 1m/1m"]:disabled').waitFor();
    await page.click('#beside-rows button[aria-label="Remove idle 1m/1m"]');
    await page.locator("#beside").waitFor({ state: "hidden" });
    assert.equal((await candidates(daemon)) ?? null, null);
  });
});

test("each channel has its figures, and another caller's candidates are shown", async (t) => {
  const settings = `${OFTEN}\nchannels.sales.check_interval = "2s"\nchannels.support.dismiss_after = "30s"`;
  const daemon = await Daemon.start(t, { upstream: (await sandbox(t)).url, settings });
  await withPage(
    daemon.url,
    async (page) => {
      await page.locator('#state[data-met="yes"]').waitFor();
      const body = JSON.stringify(["idle 10s/5s", "after_shown 5s/2500ms", "idle 20s/2s"]);
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${daemon.url}/v1/timing/candidates`, { method: "PUT", headers, body });
      assert.equal(answer.status, 200, await answer.text());
      await shows(page, "#beside-rows", "after_shown 5s/2.5s");
      assert.ok(await page.locator("#measure").isDisabled(), "three are as many as there can be");
      await daemon.report({ to: "sales", from: "bob", signal: "keystroke" });
      await shows(page, "#beside-say", "on the channel sales");
      await type(daemon, "support");
      await shows(page, "#beside-channel", "support");
      await page.selectOption("#beside-channel", "support");
      await shows(page, "#beside-rows tr:first-child", "idle 300ms/30s");
      await shows(page, "#beside-notes", "less and shown");
      await page.selectOption("#beside-channel", "sales");
      await shows(page, "#beside-rows tr:first-child", "idle 2s/1m");
      await shows(page, "#beside-notes", "Too little typing yet");
      assert.deepEqual(await fits(page), { wide: 360, scrolled: 360, sticking: [] });
      await page.click('#beside-rows button[aria-label="Remove idle 20s/2s"]');
      await until("one is gone", async () => (await candidates(daemon)).timings.join() === "idle 10s/5s,after_shown 5s/2500ms");
    },
    { width: 360, height: 780 },
  );
});

test("with the sandbox a candidate stays as the sliders move on", async (t) => {
  const daemon = await Daemon.start(t, { settings: OFTEN });
  await withPage(daemon.url, async (page) => {
    await met(page);
    await measure(page);
    await shows(page, "#held", "idle 1m/1m");
    await page.focus("#check");
    await page.keyboard.press("Home");
    await shows(page, "#beside-rows tr:first-child", "idle 500ms/1m");
    await page.locator("#box").pressSequentially("hello", { delay: 50 });
    await page.click("#send");
    await shows(page, "#beside-say", /of composing since \d\d:\d\d:\d\d on all channels/);
    await page.locator("#beside-rows tr").nth(1).locator("td", { hasText: "100\u00a0%" }).waitFor();
    await page.click('#beside-rows button[aria-label="Put in force idle 1m/1m"]');
    await shows(page, "#held", "In force for all channels: idle 1m/1m");
  });
});
