// The page for everybody: by keyboard alone, in dark and light, on a telephone, to a screen reader, without motion.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import { Daemon, sandbox } from "./daemon.mjs";
import { fits, icon, met, shows, withPage } from "./page.mjs";

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

test("nothing keeps anybody out: a real org", async (t) => {
  const daemon = await Daemon.start(t, { upstream: (await sandbox(t)).url, settings: 'timing.dismiss_after = "1m"' });
  await withPage(
    daemon.url,
    async (page) => {
      await daemon.report({ to: "support", from: "bob", signal: "keystroke" });
      await page.locator('#lanes li[data-icon="on"]').waitFor();
      assert.deepEqual(await audit(page), [], "at rest");
      await page.click('#lanes li[data-icon="on"] button');
      await shows(page, "#explained", "The user is typing");
      await page.focus("#check");
      await page.keyboard.press("ArrowRight");
      await page.click("#measure");
      await daemon.report({ to: "support", from: "bob", signal: "keystroke" });
      await shows(page, "#beside-say", "of composing");
      assert.deepEqual(await audit(page), [], "with a conversation picked, and a timing measured");
    },
    { still: true },
  );
});

test("colours of a contrast theme leave every text readable", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(
    daemon.url,
    async (page) => {
      await met(page);
      await page.locator("#box").pressSequentially("k");
      await icon(page, "on");
      await page.click("#hold");
      const found = await page.evaluate(() => {
        const light = (colour) => {
          const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        return ["#send", "#clear", ".node", "#hold", "#mode input:checked + span", ".source input:checked + span"].map((selector) => {
          const { color, backgroundColor, forcedColorAdjust } = getComputedStyle(document.querySelector(selector));
          const [high, low] = [light(color), light(backgroundColor)].sort((a, b) => b - a);
          // A browser that adjusts colours puts a ground of the canvas' colour behind each text.
          const ground = forcedColorAdjust === "none" ? (high + 0.05) / (low + 0.05) : 1.05 / (light(color) + 0.05);
          return { selector, ratio: Math.round(ground * 10) / 10 };
        });
      });
      for (const { selector, ratio } of found) assert.ok(ratio >= 4.5, `${selector}: ${ratio}`);
      // Its text would be as white as its ground, where the browser adjusts one of the two alone.
      const disabled = await page.evaluate(() => {
        const send = document.getElementById("send");
        send.disabled = true;
        const { color, backgroundColor, forcedColorAdjust, opacity } = getComputedStyle(send);
        return { apart: color !== backgroundColor, forcedColorAdjust, opacity };
      });
      assert.deepEqual(disabled, { apart: true, forcedColorAdjust: "none", opacity: "1" });
      const slider = await page.locator("#check").evaluate((element) => getComputedStyle(element).forcedColorAdjust);
      assert.equal(slider, "none", "the slider's track is drawn");
      // A contrast theme's grounds may let through what is behind them: the wire ends at the pill.
      const widths = await page.evaluate(() => {
        const track = document.querySelector(".track");
        const side = (name) => parseFloat(getComputedStyle(track, name).width);
        const pill = track.querySelector(".node").getBoundingClientRect().width;
        return { left: side("::before"), right: side("::after"), pill, all: track.getBoundingClientRect().width };
      });
      assert.ok(widths.left > 0 && widths.left + widths.pill + widths.right <= widths.all + 1, JSON.stringify(widths));
    },
    { forced: true },
  );
});

/** Notes each text that is drawn on a canvas: where it begins and ends. */
function noteTexts() {
  window.texts = [];
  const { fillText } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    const { width } = this.measureText(text);
    const left = this.textAlign === "center" ? x - width / 2 : this.textAlign === "right" ? x - width : x;
    window.texts.push({ canvas: this.canvas.id, text, left, right: left + width, wide: this.canvas.clientWidth });
    return fillText.call(this, text, x, y);
  };
}

test("what is drawn stays within its picture at 360 pixels", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(
    daemon.url,
    async (page) => {
      await met(page);
      await page.locator("#recall-would", { hasText: "%" }).waitFor();
      const texts = () => page.evaluate(() => window.texts.filter(({ wide }) => wide > 0));
      const ticks = (await texts()).filter(({ canvas }) => canvas === "timeline").map(({ text }) => text);
      for (const tick of ["−10\u00a0s", "−5\u00a0s", "now"]) assert.ok(ticks.includes(tick), `${tick}: ${ticks}`);
      assert.ok(!ticks.includes("−9\u00a0s"));
      await page.locator("#box").pressSequentially("k");
      await icon(page, "on");
      await shows(page, "#explained", "The user is typing");
      for (const one of await texts()) assert.ok(one.left >= -1 && one.right <= one.wide + 1, JSON.stringify(one));
    },
    { width: 360, height: 780, before: noteTexts },
  );
});

test("small things look as they are meant", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(daemon.url, async (page) => {
    await met(page);
    await page.locator("#box").pressSequentially("k");
    await shows(page, "#newest", "first key");
    const found = await page.evaluate(() => {
      const style = (selector) => getComputedStyle(document.querySelector(selector));
      const right = (selector) => document.querySelector(selector).getBoundingClientRect().right;
      return {
        ids: style("#newest button .id").textDecorationLine,
        field: style("#find-from").color === style("body").color,
        spark: right(".tile:has(#f-spark)") - right(".tile svg"),
      };
    });
    assert.equal(found.ids, "underline", "ids can be clicked, and look like it");
    assert.ok(found.field, "what is in a field is as dark as any text");
    assert.ok(found.spark >= 12, `the sparkline ends ${found.spark} px before its tile`);
  });
});

for (const width of [320, 360, 768, 1180, 1600]) {
  test(`a real org's page fits ${width} pixels`, async (t) => {
    const daemon = await Daemon.start(t, { upstream: (await sandbox(t)).url, settings: 'timing.dismiss_after = "1m"' });
    await withPage(
      daemon.url,
      async (page) => {
        await daemon.report({ to: "support", from: `bob-${"x".repeat(200)}`, signal: "keystroke" });
        await page.locator('#lanes li[data-icon="on"] button').click();
        await shows(page, "#time-who", "bob");
        assert.deepEqual(await fits(page), { wide: width, scrolled: width, sticking: [] });
      },
      { width, height: 800 },
    );
  });

  test(`it fits ${width} pixels`, async (t) => {
    const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
    await withPage(
      daemon.url,
      async (page) => {
        await met(page);
        await page.locator("#box").pressSequentially("k");
        await icon(page, "on");
        await shows(page, "#newest", "first key");
        assert.deepEqual(await fits(page), { wide: width, scrolled: width, sticking: [] });
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
