// The page put together: who is called, who is shown what.

import { Agent, caption, pulse } from "./agent.js";
import { Box } from "./box.js";
import { Explained } from "./conversation.js";
import { Daemon, Refusal, events, naming } from "./daemon.js";
import { askToken, sure } from "./dialogs.js";
import { at, id, make, pause, tell, write } from "./dom.js";
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
/** A conversation under way is looked at this often, and this soon after a key. */
const LOOK_MS = 1_000;
const LOOK_SOON_MS = 90;
/** The times of what is explained are written anew this often. */
const COUNT_MS = 100;
/** So long after its last signal it may still have something to tell. */
const AFTERWARDS_MS = 10_000;
/** A page that nobody sees lets its streams go: a browser has six connections to one daemon, over all its pages. */
const UNSEEN_MS = 5_000;
/** Requests told in words beside the timeline. */
const TOLD_MAX = 8;

/** The conversation of the sandbox, as the manual has it. */
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
  tell(at("box-trouble"), visible(error?.message ?? ""));
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
/** Whether the daemon has heard of the conversation, as far as this page knows. */
let known = false;
/** Whether a look is about to be taken. */
let soon = false;
/** The daemon's explanation, when it was given, and how many events there had been by then. */
let explanation = { text: "", at: 0 };
let heard = 0;
/** Whether the token was asked for before there was a place for the focus. */
let bereft = false;

const timing = new Timing(daemon, () => conversation?.to ?? USUAL.to);
const sliders = new Sliders(timing, sure, (error) => tell(at("tune-trouble"), error.message));
const replay = new Replay(daemon, strip, sliders);
new Timeline(at("timeline"), strip);
new Report(daemon);
const box = new Box((signal) => {
  if (!conversation) return;
  strip.signal(signal);
  signals.give(conversation, signal);
});

/** Everything that is told of the conversation on the page, and of all others. */
function join() {
  streams.abort();
  streams = new AbortController();
  const { signal } = streams;
  skew = new Skew();
  void daemon.follow("/v1/indicators", signal, events(hear));
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
function hear(event, data) {
  newest.take(event, data);
  if (event === "lagged" || data.to !== conversation?.to || data.from !== conversation?.from) return;
  const here = skew.here(data.at);
  // What was explained before it is older than it.
  heard += 1;
  explain("");
  lookSoon();
  if (event === "decided") {
    const told = { id: data.id, at: here, indicator: data.indicator, reason: data.reason, outcome: null };
    known = true;
    strip.tell(told);
    pulse(told);
    caption(told);
  } else {
    const told = strip.told.findLast(({ id }) => id === data.id);
    if (!sandbox) follow(data, here);
    if (!told) return;
    told.outcome = event === "result" ? data.outcome : data.why;
    caption({ ...told, status: data.status, ms: data.round_trip_ms });
    strip.touch();
  }
  tellRequests();
}

/**
 * Of a real upstream it is known what it has acknowledged, and no more.
 * @param {any} data
 * @param {number} here
 */
function follow(data, here) {
  if (data.outcome === "delivered") strip.show(here, data.indicator === "TypingStarted");
  else if (data.outcome === "unsure") strip.show(here, null);
  else if (data.why === "moot") strip.show(here, false);
  agent.heard(data);
}

function tellRequests() {
  const lines = strip.told.slice(-TOLD_MAX).reverse();
  at("told").replaceChildren(
    ...lines.map((told) => make("li", {}, `${clock(told.at)} ${told.indicator}, ${why(told.reason)}: ${told.outcome === null ? "on its way" : became(told.outcome)}`)),
  );
}

/** What the daemon thinks of the conversation, and what comes next. */
async function look() {
  clearTimeout(looking);
  soon = false;
  looking = setTimeout(look, LOOK_MS);
  const busy = strip.shown !== false || now() - (strip.signals.at(-1)?.at ?? 0) < AFTERWARDS_MS;
  if (!conversation || !known || document.hidden || !daemon.up || !busy) return;
  try {
    const asked = now();
    const before = heard;
    const found = await daemon.get(`/v1/conversations?${naming(conversation)}`);
    if (heard !== before) return lookSoon();
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
  tell(at("explained"), text);
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
  agent.name = chosen?.from ?? "nobody";
  agent.sandbox = sandbox;
  write(at("user-name"), chosen ? id(chosen.from) : "nobody yet");
  const [first = "?"] = chosen?.from.trim() ?? "";
  tell(at("face"), visible(first) === first ? first.toUpperCase() : "?");
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
  tell(at("agent-what"), sandbox ? "as the sandbox shows it" : "as the upstream has acknowledged it");
  tell(
    at("tune-sub"),
    sandbox
      ? "Move a slider: the running daemon follows at once, and the strip below shows what would have been."
      : "Move a slider: the strip below shows what would have been. The running daemon follows when you apply it.",
  );
  tell(
    at("whom-note"),
    sandbox
      ? "Any names do: the sandbox knows no others."
      : "The upstream is a real one: what you type here shows to an agent. Take a channel and a user made for trying; for a pair that it does not know Salesforce may open a session.",
  );
  at("whom").open = !sandbox && !conversation;
  choose(conversation ?? (sandbox ? USUAL : null));
}

at("whom-form").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  const chosen = { to: at("whom-to").value.trim(), from: at("whom-from").value.trim() };
  if (!chosen.to || !chosen.from) return;
  const question = [
    "The upstream is a real one. Each key that you press here is told to it as typed by ",
    id(chosen.from),
    " on ",
    id(chosen.to),
    ", and an agent may see it.",
  ];
  if (!sandbox && !(await sure(...question))) return;
  at("whom").open = false;
  choose(chosen);
  at("box").focus();
});

/** @param {any} status */
function showState(status) {
  const ready = status.state === "ready";
  const text = ready ? "ready" : status.state === "stopping" ? "stopping" : `not ready: ${status.why ?? "no reason given"}`;
  at("state").dataset.state = ready ? "ready" : "not-ready";
  tell(at("state-text"), `${text} · ${sandbox ? "sandbox" : "real upstream"}`);
}

/** Looks after the daemon for as long as the page is there. */
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
    tell(at("box-trouble"), "");
    tell(at("tune-trouble"), "");
    return tell(at("trouble"), "");
  }
  tell(at("trouble"), "typingd does not answer. Is it running? This page goes on by itself as soon as it does.");
  at("state").dataset.state = "down";
  tell(at("state-text"), "no answer");
  // Whoever has gone can't say what is shown, and may have forgotten it when it is back.
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
