// The page put together: who is called, who is shown what.

import { Agent, caption, pulse } from "./agent.js";
import { Box } from "./box.js";
import { Explained } from "./conversation.js";
import { Daemon, Refusal, events, naming } from "./daemon.js";
import { askToken, sure } from "./dialogs.js";
import { at, id, make, pause, setText, write } from "./dom.js";
import { Figures } from "./figures.js";
import { Newest } from "./newest.js";
import { Replay } from "./replay.js";
import { Report } from "./report.js";
import { Timing } from "./setting.js";
import { Signals } from "./signals.js";
import { Sliders } from "./sliders.js";
import { Skew, Strip, now } from "./strip.js";
import { Timeline } from "./timeline.js";
import { became, clock, later, visible, why } from "./words.js";

/** How often the daemon is asked how it is: while it answers, and while it does not, the last for all that follow. */
const BEAT_MS = 1_000;
const AGAIN_MS = [250, 500, 1_000, 2_000];
/** How often a conversation under way is fetched, and how soon after a key. */
const LOOK_MS = 1_000;
const LOOK_SOON_MS = 90;
/** The times of what is explained are written anew this often. */
const COUNT_MS = 100;
/** How long after its last signal it may still change. */
const AFTERWARDS_MS = 10_000;
/** A hidden page closes its streams: a browser has six connections to one daemon, over all its pages. */
const UNSEEN_MS = 5_000;
/** Requests listed in words beside the timeline. */
const LISTED_MAX = 8;

/** The conversation of the sandbox, as in the manual. */
const USUAL = { to: "support", from: "ann" };

const daemon = new Daemon(async (wrong) => {
  const token = await askToken(wrong);
  bereft = true;
  return token;
});
const strip = new Strip();
const agent = new Agent(strip);
const figures = new Figures();
const explained = new Explained(daemon);
const newest = new Newest((conversation) => void explained.show(conversation));
const signals = new Signals(daemon, (error) => {
  setText(at("box-trouble"), visible(error?.message ?? ""));
  if (error) return;
  known = true;
  lookSoon();
});

/** @type {import("./daemon.js").Conversation | null} */
let conversation = null;
let sandbox = true;
let skew = new Skew();
let streams = new AbortController();
let started = 0;
let looking = 0;
/** Whether the daemon knows the conversation. */
let known = false;
/** Whether a look is about to be taken. */
let soon = false;
/** The daemon's explanation, when it was given, and how many events there had been by then. */
let explanation = { text: "", at: 0 };
let taken = 0;
/** Whether the focus is to be set: the token was asked for before the box could have it. */
let bereft = false;

const timing = new Timing(daemon, () => conversation?.to ?? USUAL.to);
const sliders = new Sliders(timing, sure, (error) => setText(at("tune-trouble"), error.message));
const replay = new Replay(daemon, strip, sliders);
new Timeline(at("timeline"), strip);
new Report(daemon, sliders);
const box = new Box((signal) => {
  if (!conversation) return;
  strip.signal(signal);
  signals.give(conversation, signal);
});

/** Follows the indicators of all conversations, and the icon of the one on the page. */
function join() {
  streams.abort();
  streams = new AbortController();
  const { signal } = streams;
  skew = new Skew();
  void daemon.follow("/v1/indicators", signal, events(take));
  if (!sandbox || !conversation) return;
  void daemon.follow(`/v1/sandbox/icons?watch=true&${naming(conversation)}`, signal, (line) => {
    if (line.trim() === "") return;
    const { at, shown } = JSON.parse(line);
    strip.show(skew.here(at), shown);
    lookSoon();
  });
}

/**
 * @param {string} event
 * @param {any} data
 */
function take(event, data) {
  if (event === "timing") {
    lookSoon();
    return;
  }
  if (event !== "ignored") newest.take(event, data);
  if (event === "lagged" || data.to !== conversation?.to || data.from !== conversation?.from) return;
  const here = skew.here(data.at);
  // What was explained before it is older than it.
  taken += 1;
  explain("");
  lookSoon();
  if (event === "ignored") return;
  if (event === "decided") {
    const request = { id: data.id, at: here, indicator: data.indicator, reason: data.reason, outcome: null };
    known = true;
    strip.add(request);
    pulse(request);
    caption(request);
  } else {
    const request = strip.requests.findLast(({ id }) => id === data.id);
    if (!sandbox) follow(data, here);
    if (!request) return;
    request.outcome = event === "result" ? data.outcome : data.why;
    caption({ ...request, status: data.status, ms: data.round_trip_ms });
    strip.touch();
  }
  listRequests();
}

/**
 * Of a real upstream only what it has acknowledged is known.
 * @param {any} data
 * @param {number} here
 */
function follow(data, here) {
  if (data.outcome === "delivered") strip.show(here, data.indicator === "TypingStarted");
  else if (data.outcome === "unsure") strip.show(here, null);
  else if (data.why === "moot") strip.show(here, false);
  agent.result(data);
}

function listRequests() {
  const lines = strip.requests.slice(-LISTED_MAX).reverse();
  at("requests-list").replaceChildren(
    ...lines.map((request) => make("li", {}, `${clock(request.at)} ${request.indicator}, ${why(request.reason)}: ${request.outcome === null ? "on its way" : became(request.outcome)}`)),
  );
}

/** Fetches the conversation: its explanation, and what comes next. */
async function look() {
  clearTimeout(looking);
  soon = false;
  looking = setTimeout(look, LOOK_MS);
  const busy = strip.shown !== false || now() - (strip.signals.at(-1)?.at ?? 0) < AFTERWARDS_MS;
  if (!conversation || !known || document.hidden || !daemon.up || !busy) return;
  try {
    const asked = now();
    const before = taken;
    const found = await daemon.get(`/v1/conversations?${naming(conversation)}`);
    if (taken !== before) return lookSoon();
    // The daemon looked at it somewhere between the question and the answer.
    const moment = (asked + now()) / 2;
    const due = (/** @type {number | null | undefined} */ ms) => (typeof ms === "number" ? moment + ms : null);
    const typing = found.state !== "forgotten";
    strip.expect(typing ? due(found.deadlines?.check_in_ms) : null, typing ? due(found.deadlines?.dismiss_in_ms) : null);
    explain(found.explanation ?? "", moment);
  } catch (error) {
    if (!(error instanceof Refusal)) return;
    strip.expect(null, null);
    explain("");
  }
}

/**
 * @param {string} text
 * @param {number} [at] When it was true.
 */
function explain(text, at = now()) {
  explanation = { text, at };
  count();
}

/** The times of the explanation go down with those of the timeline. */
function count() {
  const text = later(explanation.text, Math.max(0, now() - explanation.at));
  setText(at("explained"), text);
  if (explanation.text && !text) lookSoon();
}
setInterval(count, COUNT_MS);

function lookSoon() {
  if (soon) return;
  soon = true;
  clearTimeout(looking);
  looking = setTimeout(look, LOOK_SOON_MS);
}

/** @param {import("./daemon.js").Conversation | null} chosen */
function choose(chosen) {
  conversation = chosen;
  known = false;
  strip.clear();
  agent.forget();
  agent.name = chosen?.from ?? "no one";
  agent.sandbox = sandbox;
  write(at("user-name"), chosen ? id(chosen.from) : "no one yet");
  const [first = "?"] = chosen?.from.trim() ?? "";
  setText(at("face"), visible(first) === first ? first.toUpperCase() : "?");
  if (chosen) [at("whom-to").value, at("whom-from").value] = [chosen.to, chosen.from];
  write(at("whom-now"), ...(chosen ? [id(chosen.to), " / ", id(chosen.from)] : ["none is chosen yet"]));
  box.enable(chosen !== null);
  if (bereft && document.activeElement === document.body) at(chosen ? "box" : "whom-to").focus();
  bereft = false;
  agent.show();
  join();
  void look();
  void timing.look(true).catch(() => {});
}

/**
 * What depends on whether a real org is behind the daemon.
 * @param {boolean} built_in Whether it is the sandbox that is.
 */
function begin(built_in) {
  sandbox = built_in;
  sliders.live = sandbox;
  setText(at("agent-what"), sandbox ? "as the sandbox shows it" : "as the upstream has acknowledged it");
  setText(
    at("tune-sub"),
    sandbox
      ? "Move a slider: the running daemon follows at once, and the strip below shows what would have been."
      : "Move a slider: the strip below shows what would have been. The running daemon follows when you apply it.",
  );
  setText(
    at("whom-note"),
    sandbox
      ? "Any names will do in the sandbox."
      : "The upstream is a real org: an agent sees that you are typing. Use a channel and a user made for tests; for a pair that it does not know Salesforce may open a session.",
  );
  at("whom").open = !sandbox && !conversation;
  choose(conversation ?? (sandbox ? USUAL : null));
}

at("whom-form").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  const chosen = { to: at("whom-to").value.trim(), from: at("whom-from").value.trim() };
  if (!chosen.to || !chosen.from) return;
  const question = [
    "Each key that you press here is reported to a real org as typed by ",
    id(chosen.from),
    " on ",
    id(chosen.to),
    "; an agent may see it.",
  ];
  if (!sandbox && !(await sure("Type to a live org?", ...question))) return;
  at("whom").open = false;
  choose(chosen);
  at("box").focus();
});

/** @param {any} status */
function showState(status) {
  const ready = status.state === "ready";
  const text = ready ? "ready" : status.state === "stopping" ? "stopping" : `not ready: ${status.why ?? "no reason given"}`;
  at("state").dataset.state = ready ? "ready" : "not-ready";
  setText(at("state-text"), `${text} · ${sandbox ? "sandbox" : "real upstream"}`);
}

/** Watches the daemon for as long as the page is open. */
async function watch() {
  let failures = 0;
  for (;;) {
    if (!document.hidden) {
      try {
        const status = await daemon.get("/v1/status");
        if (failures > 0 || status.started_at !== started) {
          started = status.started_at;
          at("state").dataset.met = "yes";
          newest.clear();
          begin(status.sandbox);
        }
        await timing.look();
        figures.show(status);
        showState(status);
        failures = 0;
      } catch (error) {
        if (error instanceof Refusal) showState({ state: "not_ready", why: error.message });
        else failures += 1;
      }
    }
    await pause(failures > 0 ? AGAIN_MS[Math.min(failures, AGAIN_MS.length) - 1] : BEAT_MS);
  }
}

daemon.addEventListener("link", () => {
  document.documentElement.dataset.link = daemon.up ? "up" : "down";
  if (daemon.up) {
    replay.ask();
    setText(at("box-trouble"), "");
    setText(at("tune-trouble"), "");
    return setText(at("trouble"), "");
  }
  setText(at("trouble"), "typingd does not answer. Is it running? This page reconnects by itself.");
  at("state").dataset.state = "down";
  setText(at("state-text"), "no answer");
  // What is shown is not known now, and the daemon may have forgotten it when it is back.
  known = false;
  explain("");
  agent.forget();
  strip.expect(null, null);
  if (strip.shown) strip.show(now(), null);
});

let unseen = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(unseen);
  if (document.hidden) unseen = setTimeout(() => streams.abort(), UNSEEN_MS);
  else if (streams.signal.aborted) join();
});

replay.ask();
void watch();
