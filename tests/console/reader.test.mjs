// The page for everybody: by keyboard alone, in dark and light, on a telephone, to a screen reader, without motion.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import { Daemon } from "./daemon.mjs";
import { icon, met, shows, withPage } from "./page.mjs";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** What axe finds wrong. */
async function audit(page) {
  // Through the protocol, since the page's own policy lets no foreign script in.
  await page.evaluate((await import("node:fs")).readFileSync(AXE, "utf8"));
  const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} ${target}: ${failureSummary}`));
}

for (const scheme of /** @type {const} */ (["light", "dark"])) {
  test(`nothing keeps anybody out: ${scheme}`, async (t) => {
    const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
    await withPage(
      daemon.url,
      async (page) => {
        await met(page);
        assert.deepEqual(await audit(page), [], "at rest");
        await page.locator("#box").pressSequentially("k");
        await icon(page, "on");
        await page.focus("#dismiss");
        await page.keyboard.press("ArrowLeft");
        await page.locator("#keep").waitFor();
        await page.click("#keep summary");
        await page.click("#whom summary");
        await shows(page, "#newest", "first key");
        await page.click("#newest button");
        await page.locator("#found").waitFor();
        await page.locator("#recall-would", { hasText: "%" }).waitFor();
        assert.deepEqual(await audit(page), [], "at work");
      },
      { scheme, still: true },
    );
  });
}

for (const width of [320, 360, 768, 1180, 1600]) {
  test(`it fits ${width} pixels`, async (t) => {
    const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
    await withPage(
      daemon.url,
      async (page) => {
        await met(page);
        await page.locator("#box").pressSequentially("k");
        await icon(page, "on");
        await shows(page, "#newest", "first key");
        const over = await page.evaluate(() => {
          const wide = document.documentElement.clientWidth;
          const inside = (element) => element.closest(".scroll, .vh, pre, svg, dialog, .track");
          const sticking = [...document.querySelectorAll("body *")]
            .filter((element) => !inside(element) && element.getBoundingClientRect().right > wide + 1)
            .map((element) => `${element.tagName}#${element.id}.${element.className}`);
          return { wide, scrolled: document.documentElement.scrollWidth, sticking };
        });
        assert.deepEqual(over, { wide: width, scrolled: width, sticking: [] });
      },
      { width, height: 800 },
    );
  });
}

test("by keyboard alone everything is reached, seen, and done", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(daemon.url, async (page) => {
    await met(page);
    const focused = () => page.evaluate(() => {
      const element = /** @type {HTMLElement} */ (document.activeElement);
      // A radio and a file input are drawn by what stands beside them.
      const drawn = element.matches("input[type=radio]") ? element.nextElementSibling : element.matches("#trace") ? document.querySelector("label[for=trace]") : element;
      return { id: element.id || element.className || element.tagName, outlined: getComputedStyle(drawn).outlineStyle !== "none" };
    });
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal((await focused()).id, "box", "the first link leads to the box");
    await page.keyboard.type("hi");
    await icon(page, "on");
    const reached = [];
    for (let step = 0; step < 40; step += 1) {
      await page.keyboard.press("Tab");
      const { id, outlined } = await focused();
      if (id === "BODY" || id === "skip") break;
      assert.ok(outlined, `the focus on ${id} can't be seen`);
      reached.push(id);
    }
    for (const id of ["send", "clear", "leave", "check", "dismiss", "undo", "trace", "hold", "find-to", "find-from"]) {
      if (id !== "undo") assert.ok(reached.includes(id), `${id} is not reached: ${reached}`);
    }
    await page.focus("#send");
    await page.keyboard.press("Enter");
    await icon(page, "off");
    await page.focus("#demo");
    await page.keyboard.press("Space");
    await icon(page, "on");
    await page.locator("#demo[aria-pressed=true]").waitFor();
    await page.keyboard.press("Space");
    await page.locator("#demo[aria-pressed=false]").waitFor();
  });
});

test("who wants no motion gets none, and a screen reader announces the icon", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(
    daemon.url,
    async (page) => {
      await met(page);
      await page.locator("#box").pressSequentially("k");
      await icon(page, "on");
      assert.equal(await page.evaluate(() => document.getAnimations().filter(({ playState }) => playState === "running").length), 0);
      assert.equal(await page.locator("#track .pulse").count(), 0);
      assert.equal(await page.getAttribute("#icon-state", "role"), "status");
    },
    { still: true },
  );
});
