// A trace given to the page, and the report of `tune` on it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Daemon } from "./daemon.mjs";
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
    assert.ok(await page.locator(".dropzone").isVisible());
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
