// The page in a real browser, watched for everything that a browser complains of.

import { after, before as beforeAll } from "node:test";
import assert from "node:assert/strict";

import { chromium } from "playwright-core";

import { PATIENCE_MS } from "./daemon.mjs";

/** @type {import("playwright-core").Browser} */
let browser;

beforeAll(async () => {
  browser = await chromium.launch({
    executablePath: process.env.TYPINGD_TEST_CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
});

after(() => browser?.close());

/**
 * Opens the page, hands it to `use`, and fails if the browser complains of anything that `lawful` does not name.
 * @param {string} url
 * @param {(page: import("playwright-core").Page) => Promise<void>} use
 * @param {{width?: number, height?: number, scheme?: "light" | "dark", forced?: boolean, still?: boolean, lawful?: RegExp,
 *   before?: () => void}} [how] `forced`: with the colours of a contrast theme; `before` runs in the page before its scripts.
 */
export async function withPage(url, use, { width = 1280, height = 900, scheme = "light", forced = false, still = false, lawful, before } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    forcedColors: forced ? "active" : "none",
    reducedMotion: still ? "reduce" : "no-preference",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  if (before) await page.addInitScript(before);
  /** @type {string[]} */
  const complaints = [];
  const hosts = new Set();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => request.url().startsWith("http") && hosts.add(new URL(request.url()).origin));
  try {
    await page.goto(url);
    await use(page);
    assert.deepEqual(complaints.filter((complaint) => !lawful?.test(complaint)), []);
    assert.deepEqual([...hosts], [new URL(url).origin], "nobody else is called");
  } finally {
    await context.close();
  }
}

/** Waits until the page shows this. @param {import("playwright-core").Page} page */
export function shows(page, selector, text) {
  return page.locator(selector).filter({ hasText: text }).waitFor({ state: "attached" });
}

/** Waits until the agent's icon is in this state. @param {import("playwright-core").Page} page */
export function icon(page, state) {
  return page.locator(`#agent[data-icon="${state}"]`).waitFor({ state: "attached" });
}

/** Waits until the page has met its daemon. @param {import("playwright-core").Page} page */
export async function met(page) {
  await page.locator('#state[data-met="yes"]').waitFor();
  await page.locator("#box:enabled").waitFor();
}

/** How wide the page is, and what sticks out of it. */
export function fits(page) {
  return page.evaluate(() => {
    const wide = document.documentElement.clientWidth;
    const inside = (element) => element.closest(".scroll, .vh, pre, svg, dialog, .track");
    const sticking = [...document.querySelectorAll("body *")]
      .filter((element) => !inside(element) && element.getBoundingClientRect().right > wide + 1)
      .map((element) => `${element.tagName}#${element.id}.${element.className}`);
    const table = document.querySelector(".scroll");
    if (table.scrollWidth > table.clientWidth) sticking.push("the latest indicators");
    return { wide, scrolled: document.documentElement.scrollWidth, sticking };
  });
}
