// The page and its daemon: a token that is asked for, an org that is real, a daemon that goes and comes back.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { Daemon, sandbox, until } from "./daemon.mjs";
import { icon, met, shows, withPage } from "./page.mjs";

test("the token is asked for, a wrong one again, and kept nowhere but in memory", async (t) => {
  const daemon = await Daemon.start(t, { token: "s3cret" });
  const lawful = /401 \(Unauthorized\)/;
  await withPage(
    daemon.url,
    async (page) => {
      await page.locator("dialog#token[open]").waitFor();
      await page.keyboard.type("wrong");
      await page.keyboard.press("Enter");
      await shows(page, "#token-wrong", "does not accept that token");
      await page.keyboard.press("Escape");
      assert.ok(await page.locator("dialog#token").isVisible(), "there is nothing to be seen without it");
      await page.keyboard.type("tökén👍");
      await page.keyboard.press("Enter");
      await shows(page, "#token-wrong", "That can’t be a token");
      assert.ok(await page.locator("dialog#token").isVisible());
      assert.equal(await page.textContent("#trouble"), "");
      await page.keyboard.type("s3cret");
      await page.keyboard.press("Enter");
      await met(page);
      assert.ok(!(await page.locator("dialog#token").isVisible()));
      assert.equal(await page.evaluate(() => document.activeElement?.id), "box");
      await page.locator("#box").pressSequentially("k");
      await icon(page, "on");
      const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie, location.href]);
      assert.deepEqual(kept, [0, 0, "", `${daemon.url}/`]);
      assert.ok(!(await page.content()).includes("s3cret"));
      await page.reload();
      await page.locator("dialog#token[open]").waitFor();
    },
    { lawful },
  );
});

test("a daemon that stops is shown as such, and the page goes on when it is back", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(
    daemon.url,
    async (page) => {
      await met(page);
      await shows(page, "#state-text", "ready · sandbox");
      await page.locator("#box").pressSequentially("k");
      await icon(page, "on");
      await daemon.stop("SIGKILL");
      await shows(page, "#trouble", "typingd does not answer");
      await shows(page, "#state-text", "no answer");
      await icon(page, "unknown");
      await page.locator("#box").pressSequentially("lost keys");
      await page.fill("#find-to", "support");
      await page.fill("#find-from", "ann");
      await page.click("#find button");
      await shows(page, "#found-say", "typingd does not answer");
      await daemon.again();
      await shows(page, "#state-text", "ready · sandbox");
      assert.equal(await page.textContent("#trouble"), "");
      await icon(page, "off");
      await page.locator("#box").pressSequentially("k");
      await icon(page, "on");
      await shows(page, "#newest", "first key");
    },
    { lawful: /net::ERR_/ },
  );
});

test("with a real org nothing is sent before the reader says who is typing, and the timing waits to be applied", async (t) => {
  const far = await sandbox(t);
  const daemon = await Daemon.start(t, { upstream: far.url, settings: 'timing.dismiss_after = "1m"' });
  await withPage(daemon.url, async (page) => {
    await page.locator('#state[data-met="yes"]').waitFor();
    await shows(page, "#state-text", "real upstream");
    assert.ok(await page.locator("#box").isDisabled());
    await page.fill("#whom-to", "trying");
    await page.fill("#whom-from", "eve");
    await page.click("#whom-form button");
    await shows(page, "#sure-what", "typed by eve on trying");
    await page.click("#sure-no");
    assert.ok(await page.locator("#box").isDisabled());
    await page.click("#whom-form button");
    await page.click("#sure-yes");
    await page.locator("#box").pressSequentially("k");
    await icon(page, "on");
    await shows(page, "#icon-state", "Salesforce acknowledged: eve is typing");
    const requests = async () => (await (await fetch(`${far.url}/requests`)).json()).requests;
    assert.deepEqual((await requests()).map(({ to, from }) => `${to}/${from}`), ["trying/eve"]);

    const timing = async () => (await daemon.get("/v1/timing")).timing.dismiss_after;
    await page.focus("#dismiss");
    await page.keyboard.press("ArrowLeft");
    await page.locator("#apply:enabled").waitFor();
    assert.equal(await timing(), "1m");
    await page.click("#apply");
    await shows(page, "#sure-what", "This holds at once for all channels".toLowerCase());
    await page.click("#sure-no");
    assert.equal(await timing(), "1m");
    await page.click("#apply");
    await page.click("#sure-yes");
    await until("it holds", async () => (await timing()) === "30s");
    await page.locator("#apply:disabled").waitFor();
    await page.click("#clear");
    await icon(page, "off");
  });
});

test("figures move, and a conversation is explained", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(daemon.url, async (page) => {
    await met(page);
    const body = JSON.stringify({ to: "support", from: "bob", signal: "keystroke" });
    await fetch(`${daemon.url}/v1/signals`, { method: "POST", headers: { "content-type": "application/json" }, body });
    await shows(page, "#newest", "support / bob");
    await shows(page, "#f-conversations", "1");
    await shows(page, "#f-delivered", "1");
    await page.click("#newest button");
    await shows(page, "#facts", "icon");
    assert.notEqual(await page.textContent("#found-say"), "");
    await shows(page, "#past", "Started");
    await page.locator("#box").pressSequentially("k");
    await until("the page says what comes next", async () => ((await page.textContent("#explained")) ?? "") !== "");
  });
});

test("what a failing org answers is named, until a stop is acknowledged", async (t) => {
  // No Started is ever acknowledged: what the page shows goes from not known straight to off.
  const far = createServer(async (request, answer) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    answer.writeHead(body.includes("TypingStoppedIndicator") ? 202 : 503).end();
  });
  await new Promise((resolve) => far.listen(0, "127.0.0.1", () => resolve(null)));
  t.after(() => (far.closeAllConnections(), far.close()));
  const daemon = await Daemon.start(t, { upstream: `http://127.0.0.1:${far.address().port}`, settings: 'timing.dismiss_after = "1m"' });
  await withPage(daemon.url, async (page) => {
    await page.locator('#state[data-met="yes"]').waitFor();
    await page.fill("#whom-to", "trying");
    await page.fill("#whom-from", "eve");
    await page.click("#whom-form button");
    await page.click("#sure-yes");
    await page.locator("#box").pressSequentially("k");
    await shows(page, "#icon-state", "Salesforce answered 503; the TypingStarted is retried");
    await page.click("#clear");
    await shows(page, "#icon-state", "Salesforce acknowledged: eve is not typing");
    await icon(page, "off");
  });
});

test("an id can neither hide a character, nor turn round or push aside what stands beside it", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(daemon.url, async (page) => {
    await met(page);
    const say = async (from) => {
      const body = JSON.stringify({ to: "support", from, signal: "keystroke" });
      const answer = await fetch(`${daemon.url}/v1/signals`, { method: "POST", headers: { "content-type": "application/json" }, body });
      assert.equal(answer.status, 202, await answer.text());
    };
    await say("eve\u202Eevil\u2066");
    await say(" padded ");
    await say("x".repeat(240));
    for (const list of ["#newest", "#offered"]) {
      await shows(page, list, "eve‹U+202E›evil‹U+2066›");
      await shows(page, list, "support / ␠padded␠");
    }
    const { wide, isolated, over } = await page.evaluate(() => ({
      wide: Math.max(...[...document.querySelectorAll("#newest button, #offered button")].map((one) => one.getBoundingClientRect().width)),
      isolated: [...document.querySelectorAll("#newest .id, #offered .id")].every((one) => getComputedStyle(one).unicodeBidi === "isolate"),
      over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    }));
    assert.ok(wide < 450, `${wide}`);
    assert.ok(isolated);
    assert.equal(over, 0);
    await page.locator("#offered button", { hasText: "padded" }).click();
    await shows(page, "#past", "Started");
    await page.click("#find button");
    await shows(page, "#found-say", "The user is typing");
    await page.click("#whom summary");
    await page.fill("#whom-from", `eve\u202E${"y".repeat(200)}`);
    await page.click("#whom-form button");
    await shows(page, "#user-name", "eve‹U+202E›yyy");
    await shows(page, "#whom-now", "support / eve‹U+202E›yyy");
    await page.locator("#box").pressSequentially("k");
    await shows(page, "#icon-state", "yyy is typing");
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0);
  });
});
