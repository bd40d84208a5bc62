// A trace given to the page, and the report of `tune` on it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Daemon, sandbox, until } from "./daemon.mjs";
import { met, shows, withPage } from "./page.mjs";

const TRACE = process.env.TYPINGD_TEST_TRACE ?? new URL("../data/typists.ndjson", import.meta.url).pathname;

test("a dropped trace gives the whole report, as it looks on its own", async (t) => {
  const daemon = await Daemon.start(t);
  await withPage(daemon.url, async (page) => {
    await met(page);
    const text = readFileSync(TRACE, "utf8");
    const files = await page.evaluateHandle((text) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], "typists.ndjson"));
      return transfer;
    }, text);
    await page.dispatchEvent("body", "dragenter", { dataTransfer: files });
    const { x, y, width, height } = await page.locator(".dropzone").boundingBox();
    assert.deepEqual({ x, y, width, height }, { x: 0, y: 0, ...page.viewportSize() }, "it covers what is in view");
    await page.dispatchEvent("body", "drop", { dataTransfer: files });
    assert.ok(!(await page.locator(".dropzone").isVisible()));
    await page.locator("dialog#report[open]").waitFor();
    const report = page.frameLocator("#report-page");
    await report.locator("h1").waitFor();
    await report.getByRole("heading", { name: "What the agent sees" }).waitFor();
    // Its own style holds within the frame: the page's policy lets just that in.
    assert.equal(await report.locator("main").evaluate((main) => getComputedStyle(main).maxWidth), "1208px");
    const [save] = await Promise.all([page.waitForEvent("download"), page.click("#report-save")]);
    assert.equal(save.suggestedFilename(), "typists-tune.html");
    await page.keyboard.press("Escape");
    await page.locator("dialog#report").waitFor({ state: "hidden" });
  });
});

/** Typing that a dismissal of half a second is clearly wrong for: many users, who pause for seconds. */
function users() {
  let seed = 7;
  const lot = () => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648;
  const signals = [];
  for (let user = 0; user < 24; user += 1) {
    let at = Math.round(lot() * 60_000);
    const say = (signal) => signals.push({ to: "support", from: `user-${user}`, signal, at: Math.round(at) });
    for (let message = 0; message < 10; message += 1) {
      for (let key = 0; key < 40; key += 1) {
        say("keystroke");
        at += lot() < 0.15 ? 1_200 + 2_000 * lot() : 120 + 200 * lot();
      }
      if (message % 5 !== 4) say("message_sent");
      at += 40_000 + 10_000 * lot();
    }
  }
  return signals.sort((one, other) => one.at - other.at).map((signal) => `${JSON.stringify(signal)}\n`).join("");
}

for (const org of ["the sandbox", "a real org"]) {
  test(`what the report advises is put in force: ${org}`, async (t) => {
    const upstream = org === "a real org" ? (await sandbox(t)).url : undefined;
    const daemon = await Daemon.start(t, { upstream, settings: 'timing.check_interval = "1s"\ntiming.dismiss_after = "500ms"' });
    const timing = async () => (await daemon.get("/v1/timing")).timing;
    await withPage(daemon.url, async (page) => {
      await page.locator('#state[data-met="yes"]').waitFor();
      await page.setInputFiles("#trace", { name: "users.ndjson", mimeType: "", buffer: Buffer.from(users()) });
      await page.locator("dialog#report[open]").waitFor();
      const apply = page.locator("#report-apply:visible");
      const [, mode, check, dismiss] = /^Put (\w+) (\w+)\/(\w+) in force/.exec((await apply.textContent()) ?? "") ?? [];
      const beyond = await page.evaluate(() => Math.max(...[...document.querySelectorAll("#report .head > *")].map((one) => one.getBoundingClientRect().right)));
      assert.ok(beyond <= 360, `what closes the report ends at ${beyond}`);
      await apply.click();
      await page.locator("dialog#report").waitFor({ state: "hidden" });
      if (upstream) {
        await shows(page, "#sure-what", `From idle 1s/500ms to ${mode} ${check}/${dismiss}`);
        assert.equal((await timing()).dismiss_after, "500ms", "nothing changes before it is confirmed");
        await page.click("#sure-yes");
      }
      await until("it is in force", async () => {
        const now = await timing();
        return now.dismiss === mode && now.check_interval === check && now.dismiss_after === dismiss;
      });
      await shows(page, "#held", `${mode} ${check}/${dismiss}`);
    }, { width: 360, height: 780 });
  });
}

test("too little data gives no advice to put in force", async (t) => {
  const daemon = await Daemon.start(t);
  await withPage(daemon.url, async (page) => {
    await met(page);
    await page.setInputFiles("#trace", TRACE);
    await shows(page, "#report-verdict", "Not enough data");
    assert.ok(await page.locator("#report-apply").isHidden());
  });
});

test("a file that is no trace is said to be none", async (t) => {
  const daemon = await Daemon.start(t);
  await withPage(
    daemon.url,
    async (page) => {
      await met(page);
      await page.setInputFiles("#trace", { name: "holiday.ndjson", mimeType: "", buffer: Buffer.from("no trace\n") });
      await shows(page, "#report-state", "holiday.ndjson: the trace:1: is not JSON");
    },
    { lawful: /400 \(Bad Request\)/ },
  );
});
