// Makes the pictures of the console that the README opens with. Usage, from the top of the tree, after `npm ci` here:
// TYPINGD_TEST_BINARY=target/debug/typingd node tests/console/picture.mjs

import { chromium } from "playwright-core";

import { Daemon } from "./daemon.mjs";

/** So far into the sample user's typing, with pauses behind her and one under way. */
const SEEN_MS = 25_300;
const OUT = new URL("../../docs/", import.meta.url).pathname;

const daemon = await Daemon.start({ after() {} }, { bare: true });
const browser = await chromium.launch({
  executablePath: process.env.TYPINGD_TEST_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, deviceScaleFactor: 1.25, colorScheme });
  const page = await context.newPage();
  await page.goto(daemon.url);
  await page.locator('#state[data-met="yes"]').waitFor();
  await page.click("#demo");
  await page.waitForTimeout(SEEN_MS - 12_000);
  await page.click('label:has(#source-sample)');
  await page.focus("#dismiss");
  for (let stop = 0; stop < 6; stop += 1) await page.keyboard.press("ArrowRight");
  await page.focus("#check");
  for (let stop = 0; stop < 5; stop += 1) await page.keyboard.press("ArrowRight");
  await page.waitForTimeout(12_000);
  await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).blur());
  await page.screenshot({ path: `${OUT}picture-${colorScheme}.png` });
  await page.click("#undo");
  await page.click("#leave");
  await context.close();
}
await browser.close();
await daemon.end();
