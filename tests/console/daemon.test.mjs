// The page and its daemon: a token that is asked for, an org that is real, a daemon that goes and comes back.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { Daemon, sandbox, until } from "./daemon.mjs";
import { icon, met, shows, withPage } from "./page.mjs";

/** A machine that does much else may be late by so much. */
const SLACK_MS = 1_500;

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
    { lawful: /net::ERR_|404 \(Not Found\)/ },
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

/** Opens the page of a daemon whose upstream is as real as an org. */
async function withOrg(t, use, { settings = 'timing.dismiss_after = "1m"', ...how } = {}) {
  const daemon = await Daemon.start(t, { upstream: (await sandbox(t)).url, settings });
  await daemon.report({ to: "support", from: "early", signal: "keystroke" });
  await until("the first icon is on", async () => (await daemon.get("/v1/status")).deliveries.delivered === 1);
  await withPage(daemon.url, async (page) => {
    await page.locator('#state[data-met="yes"]').waitFor();
    await use(page, daemon);
  }, how);
}

const lane = (page, name, state) => page.locator(`#lanes li[data-icon="${state}"]:visible`).filter({ hasText: name });

test("with a real org the page opens on what lives", async (t) => {
  await withOrg(t, async (page, daemon) => {
    // An icon that was on before the page was there has its lane, too.
    await lane(page, "support / early", "on").waitFor();
    await daemon.report({ to: "support", from: "bob", signal: "keystroke" });
    await lane(page, "support / bob", "on").waitFor();
    await shows(page, "#rate-text", "of 2,000 a second");
    await until("the gauge shows the requests", async () => /[1-9]\d* at most/.test((await page.textContent("#rate-text")) ?? ""));
    const order = await page.evaluate(() => ["mode", "lanes", "try"].map((id) => document.getElementById(id).getBoundingClientRect().top));
    assert.deepEqual([...order].sort((a, b) => a - b), order, "sliders, lanes, then what is tried");
    assert.ok(order[1] < 900, `the lanes are in view: ${order}`);
    await daemon.report({ to: "support", from: "bob", signal: "message_sent" });
    await lane(page, "support / bob", "off").waitFor();
  });
});

test("a conversation that is picked fills the timeline", async (t) => {
  await withOrg(t, async (page, daemon) => {
    await daemon.report({ to: "support", from: "bob", signal: "keystroke" });
    await lane(page, "support / bob", "on").getByRole("button").click();
    await shows(page, "#time-who", "support / bob");
    await shows(page, "#explained", "The user is typing");
    // What happened before it was picked is there as well, and what happens now.
    await shows(page, "#requests-list", "TypingStarted, first key: delivered");
    await daemon.report({ to: "support", from: "bob", signal: "message_sent" });
    await shows(page, "#requests-list", "TypingStopped, message sent: delivered");
    await shows(page, "#found-say", "The user is not typing");
    await page.locator('#lanes button[aria-pressed="true"]', { hasText: "bob" }).waitFor();
    await lane(page, "support / early", "on").getByRole("button").click();
    await shows(page, "#time-who", "support / early");
    assert.ok(await page.locator("#box").isDisabled(), "whoever is watched is not typed for");
  });
});

/** Counts the triangles of the requests in each picture, as it was drawn last. */
function noteMarks() {
  const { clearRect, closePath } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.clearRect = function (...all) {
    this.canvas.dataset.marks = "0";
    return clearRect.apply(this, all);
  };
  CanvasRenderingContext2D.prototype.closePath = function () {
    this.canvas.dataset.marks = String(Number(this.canvas.dataset.marks) + 1);
    return closePath.call(this);
  };
}

test("what came before the page was opened is in its lanes", async (t) => {
  const daemon = await Daemon.start(t, { upstream: (await sandbox(t)).url, settings: 'timing.dismiss_after = "1m"' });
  const delivered = (number) => until(`${number} delivered`, async () => (await daemon.get("/v1/status")).deliveries.delivered === number);
  for (const [number, signal] of ["keystroke", "message_sent", "keystroke"].entries()) {
    await daemon.report({ to: "support", from: "ann", signal });
    await delivered(number + 1);
  }
  await withPage(
    daemon.url,
    async (page) => {
      const drawn = () => lane(page, "support / ann", "on").locator('canvas[data-marks="3"]').waitFor();
      await drawn();
      for (const reason of ["first key", "message sent"]) await shows(page, "#newest", reason);
      assert.equal(await page.locator("#newest tr").count(), 3);
      await shows(page, "#newest-past", "before this page connected");
      // What no history tells of is not drawn as if the icon had been off.
      await page.locator('#lanes li[data-known="in part"]').waitFor();
      await shows(page, "#lanes-past", "Hatched: it is not known whether the icon was on");
      await daemon.report({ to: "support", from: "ann", signal: "message_sent" });
      await lane(page, "support / ann", "off").locator('canvas[data-marks="4"]').waitFor();
      await shows(page, "#newest tr:nth-child(1)", "Stopped");
      assert.equal(await page.locator("#newest tr").count(), 4, "nothing is listed twice");
    },
    { before: noteMarks },
  );
});

test("the sandbox's page lists what came before it", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await daemon.report({ to: "support", from: "bob", signal: "keystroke" });
  await withPage(daemon.url, async (page) => {
    await shows(page, "#newest", "support / bob");
    await shows(page, "#newest", "first key");
  });
});

/** Notes what the timeline said last of when the icon goes off. */
function noteOff() {
  const { fillText } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
    if (text.startsWith("off in")) window.off = text;
    return fillText.call(this, text, ...place);
  };
}

for (const still of [false, true]) {
  test(`a deadline is one time all over the page: ${still ? "no motion" : "motion"}`, async (t) => {
    await withOrg(
      t,
      async (page) => {
        await lane(page, "support / early", "on").getByRole("button").click();
        await shows(page, "#explained", "goes off in");
        await shows(page, "#facts", "icon off in");
        const seen = await page.evaluate(async () => {
          const frames = [];
          const end = performance.now() + 2_000;
          while (performance.now() < end) {
            await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
            const text = (id) => document.getElementById(id).textContent;
            const of = (one) => /off in\s*(?:\d+\smin\s)?[\d.]+\ss/.exec(one)?.[0].replace(/^off in\s*/, "");
            frames.push(["explained", "found-say", "facts"].map((id) => of(text(id))).concat(of(window.off ?? "")));
          }
          return frames;
        });
        const whole = seen.filter((times) => times.every(Boolean));
        assert.ok(whole.length > seen.length / 2, JSON.stringify(seen.slice(0, 5)));
        assert.ok(new Set(whole.map(String)).size > 2, "they go down");
        for (const times of whole) assert.equal(new Set(times).size, 1, `${times}`);
      },
      { still, before: noteOff, settings: 'timing.dismiss_after = "50s"' },
    );
  });
}

test("a busy org's lanes stay where they are", async (t) => {
  await withOrg(t, async (page, daemon) => {
    const users = Array.from({ length: 30 }, (_, number) => `user-${number}`);
    await daemon.report(...users.map((from) => ({ to: "support", from, signal: "keystroke" })));
    await shows(page, "#lanes-more", "23 more conversations");
    const named = () => page.locator("#lanes li:visible button").allTextContents();
    const before = await named();
    assert.equal(before.length, 8);
    await daemon.report(...users.slice(20).map((from) => ({ to: "support", from, signal: "message_sent" })));
    await shows(page, "#newest", "message sent");
    await page.waitForTimeout(500);
    assert.deepEqual(await named(), before);
    // Far more than are kept: those in view are none of those that go.
    for (let batch = 0; batch < 6; batch += 1) {
      await daemon.report(...users.slice(0, 20).flatMap((_, one) => Array.from({ length: 5 }, (_, two) => ({ to: "other", from: `crowd-${batch}-${one}-${two}`, signal: "keystroke" }))));
    }
    await shows(page, "#lanes-more", "492 or more conversations");
    assert.deepEqual(await named(), before);
  });
});

for (const org of [false, true]) {
  test(`"is typing" is never older than a second: ${org ? "a real org" : "the sandbox"}`, async (t) => {
    const settings = 'timing.dismiss_after = "1m"';
    const upstream = org ? (await sandbox(t)).url : undefined;
    const daemon = await Daemon.start(t, { settings, upstream });
    await withPage(
      daemon.url,
      async (page) => {
        await page.locator('#state[data-met="yes"]').waitFor();
        if (org) {
          await page.fill("#whom-to", "support");
          await page.fill("#whom-from", "ann");
          await page.click("#whom-form button");
          await page.click("#sure-yes");
        }
        await page.locator("#box").pressSequentially("k");
        await icon(page, "on");
        await shows(page, "#explained", "The user is typing");
        await daemon.report({ to: "support", from: "bob", signal: "keystroke" }, { to: "support", from: "bob", signal: "message_sent" });
        if (org) await lane(page, "support / ann", "on").waitFor();
        if (org) await lane(page, "support / bob", "off").waitFor();
        daemon.freeze();
        const frozen = performance.now();
        await icon(page, "unknown");
        const late = performance.now() - frozen;
        assert.ok(late < 1_000 + SLACK_MS, `${late} ms`);
        const told = await page.evaluate(() => document.body.innerText);
        assert.ok(!/ is typing/.test(told.replace("tells Salesforce when an end user is typing", "").replace(/whether the user is still typing/g, "")), told);
        await shows(page, "#state-text", /no answer since \d\d:\d\d:\d\d/);
        await shows(page, "#f-requests", "–");
        const dimmed = (selector) => page.locator(selector).evaluate((element) => getComputedStyle(element).opacity);
        assert.equal(await dimmed("#tiles"), "0.55");
        if (org) {
          await lane(page, "support / ann", "unknown").waitFor();
          await lane(page, "support / bob", "unknown").waitFor();
          await shows(page, "#live-silent", /Nothing has been heard from typingd since \d\d:\d\d:\d\d/);
          assert.equal(await page.textContent("#rate-text"), "unknown");
          assert.deepEqual([await dimmed("#lanes"), await dimmed("#live-silent")], ["0.55", "1"]);
        }
        daemon.thaw();
        await icon(page, "on");
        await shows(page, "#explained", "The user is typing");
        await page.locator("html:not([data-silent])").waitFor({ state: "attached" });
        if (org) await lane(page, "support / ann", "on").waitFor();
        if (org) await lane(page, "support / bob", "off").waitFor();
        await shows(page, org ? "#rate-text" : "#f-limit", "of 2,000 a second");
        assert.equal(await page.textContent("#live-silent"), "");
      },
      { lawful: /net::ERR_/ },
    );
  });
}

test("figures move, and a conversation is explained", async (t) => {
  const daemon = await Daemon.start(t, { settings: 'timing.dismiss_after = "1m"' });
  await withPage(daemon.url, async (page) => {
    await met(page);
    const body = JSON.stringify({ to: "support", from: "bob", signal: "keystroke" });
    await fetch(`${daemon.url}/v1/signals`, { method: "POST", headers: { "content-type": "application/json" }, body });
    await shows(page, "#newest", "support / bob");
    await shows(page, "#f-conversations", "1");
    await shows(page, "#f-delivered", "1");
    for (const id of ["f-delivered", "f-round"]) await shows(page, `.tile:has(#${id}) h3`, "since typingd’s start");
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
