// The page put together: who is called, who is shown what.

import { Agent, caption, pulse } from "./agent.js";
import { Box } from "./box.js";
import { Candidates } from "./candidates.js";
import { Explained } from "./conversation.js";
import { Daemon, Refusal, events, naming } from "./daemon.js";
import { askToken, sure } from "./dialogs.js";
import { at, id, make, pause, setText, write } from "./dom.js";
import { Figures } from "./figures.js";
import { Followed } from "./followed.js";
import { Lanes } from "./lanes.js";
import { arrange } from "./layout.js";
import { Newest } from "./newest.js";
import { Replay } from "./replay.js";
import { Report } from "./report.js";
import { Timing } from "./setting.js";
import { Signals } from "./signals.js";
import { Sliders } from "./sliders.js";
import { Skew, counted, now } from "./strip.js";
import { Timeline } from "./timeline.js";
import { became, clock, visible, why } from "./words.js";

/** How often the daemon's status is fetched: while it answers, and while it does not, the last for all that follow. */
const BEAT_MS = 400;
const AGAIN_MS = [250, 500, 1_000, 2_000];
/** A hidden page closes its streams: a browser has six connections to one daemon, over all its pages. */
const UNSEEN_MS = 5_000;
/** Requests listed in words beside the timeline. */
const LISTED_MAX = 8;
/** Icons that are on when the page begins to follow them; and conversations whose history is fetched then. */
const ICONS_MAX = 100;
const RECALLED_MAX = 12;
/** How long it waits before it catches up once more. */
const BEGIN_AGAIN_MS = 500;

/** The conversation of the sandbox, as in the manual. */
const USUAL = { to: "support", from: "ann" };

const daemon = new Daemon(async (wrong) => {
  const token = await askToken(wrong);
  bereft = true;
  return token;
});
let sandbox = true;
let skew = new Skew();
let streams = new AbortController();
let started = 0;
/** Whether the beginning of the stream is being caught up with, and has to be once more. */
let beginning = false;
let again = false;
/** Ends the pause before the status is fetched again. */
let wake = new AbortController();
/** Whether the focus is to be set: the token was asked for before the box could have it. */
let bereft = false;

/** The conversation that is typed on this page, and the one that a reader has picked. */
const typed = new Followed(daemon, () => skew);
const picked = new Followed(daemon, () => skew);
/** Where the timeline is: with a real org the last one that was chosen. */
let seen = typed;

const agent = new Agent(typed.strip);
const figures = new Figures();
const explained = new Explained(daemon);
const lanes = new Lanes((conversation) => pick(conversation), (conversation) => void recall(conversation));
const newest = new Newest((conversation) => pick(conversation));
const signals = new Signals(daemon, (error) => {
  setText(at("box-trouble"), visible(error?.message ?? ""));
  if (!error) typed.signalled();
});
const timing = new Timing(daemon, () => seen.conversation?.to ?? (sandbox ? USUAL.to : ""));
const sliders = new Sliders(timing, sure, (error) => setText(at("tune-trouble"), error.message));
new Candidates(sliders, (error) => setText(at("tune-trouble"), error.message));
const replay = new Replay(daemon, typed.strip, sliders);
const timeline = new Timeline(at("timeline"), typed.strip);
new Report(daemon, sliders);
const box = new Box((signal) => {
  if (!typed.conversation) return;
  typed.strip.signal(signal);
  signals.give(typed.conversation, signal);
});

/** Follows the indicators of all conversations, and the icon of the one that is typed here. */
function join() {
  streams.abort();
  streams = new AbortController();
  const { signal } = streams;
  skew = new Skew();
  void daemon.follow("/v1/indicators", signal, events(take), () => void begun());
  if (!sandbox || !typed.conversation) return;
  void daemon.follow(`/v1/sandbox/icons?watch=true&${naming(typed.conversation)}`, signal, (line) => {
    if (line.trim() === "") return;
    const { at, shown } = JSON.parse(line);
    typed.strip.show(skew.here(at), shown);
    typed.refreshSoon();
  });
}

/** The stream of indicators has begun, or has left events out. */
async function begun() {
  again = true;
  if (beginning) return;
  beginning = true;
  while (again) {
    again = false;
    await begins();
    // A daemon that is too busy for this page leaves events out all the time.
    if (again) await pause(BEGIN_AGAIN_MS);
  }
  beginning = false;
}

/** The icons that are on already are fetched, and what came before of some conversations. */
async function begins() {
  try {
    const { conversations, next } = await daemon.get(`/v1/conversations?icon=true&limit=${ICONS_MAX}`);
    if (!sandbox) lanes.begin(conversations, next === null);
    const { conversations: others } = await daemon.get(`/v1/conversations?limit=${RECALLED_MAX}`);
    // The lanes ask for the histories of their own.
    const asked = [...(sandbox ? conversations : []), ...others.filter((/** @type {any} */ one) => !one.icon)];
    for (const conversation of asked.slice(0, RECALLED_MAX)) {
      if (again) return;
      await recall(conversation);
    }
  } catch (error) {
    if (error instanceof Refusal) setText(at("lanes-none"), visible(error.message));
  }
}

/**
 * Fetches the history of a conversation. One that cannot be had is shown as not known.
 * @param {import("./daemon.js").Conversation} conversation
 */
async function recall({ to, from }) {
  const asked = now();
  const found = await daemon.explain({ to, from }).catch(() => null);
  if (!found) return;
  if (!sandbox) lanes.fill(found, skew, asked);
  newest.fill(found);
}

/**
 * @param {string} event
 * @param {any} data
 */
function take(event, data) {
  if (event === "timing") return seen.refreshSoon();
  if (event === "lagged") {
    newest.take(event, data);
    return void begun();
  }
  const here = skew.here(data.at);
  if (event !== "ignored") newest.take(event, data);
  if (!sandbox) lanes.take(event, data, here);
  if (picked.is(data)) picked.take(event, data, here);
  if (typed.is(data)) {
    const request = typed.take(event, data, here);
    if (!sandbox && event !== "decided" && event !== "ignored") agent.result(data);
    if (request && event === "decided") pulse(request);
    if (request) caption({ ...request, status: data.status, ms: data.round_trip_ms });
  }
}

/** What is beside the timeline, in words: its times go down as the timeline moves, all of them at once. */
let written = 0;
daemon.addEventListener("explained", () => (written = 0));
function count() {
  requestAnimationFrame(count);
  if (written === counted()) return;
  written = counted();
  explained.count();
  setText(at("explained"), seen.explanation);
  const lines = seen.strip.requests.slice(-LISTED_MAX).reverse().map((request) => {
    const result = request.outcome === null ? "on its way" : became(request.outcome);
    return make("li", {}, `${clock(request.at)} ${request.indicator}, ${why(request.reason)}: ${result}`);
  });
  write(at("requests-list"), ...lines);
}
count();

/** @param {Followed} followed */
function see(followed) {
  seen = followed;
  timeline.show(followed.strip);
  const { conversation } = followed;
  write(at("time-who"), ...(sandbox || !conversation ? [] : [id(conversation.to), " / ", id(conversation.from)]));
  setText(at("time-keys"), followed === picked ? "keys, some of them" : "keys");
  lanes.choose(conversation);
  void timing.refresh(true).catch(() => {});
}

/**
 * A conversation is picked: with a real org it fills the timeline, and everywhere it is explained.
 * @param {import("./daemon.js").Conversation} conversation
 */
function pick(conversation) {
  void explained.show(conversation);
  if (sandbox) return;
  if (typed.is(conversation)) return see(typed);
  picked.choose(conversation, true);
  see(picked);
}

/** @param {import("./daemon.js").Conversation | null} chosen */
function choose(chosen) {
  agent.forget();
  agent.name = chosen?.from ?? "no one";
  agent.sandbox = sandbox;
  typed.inView = sandbox;
  typed.choose(chosen, false);
  write(at("user-name"), chosen ? id(chosen.from) : "no one yet");
  const [first = "?"] = chosen?.from.trim() ?? "";
  setText(at("face"), visible(first) === first ? first.toUpperCase() : "?");
  if (chosen) [at("whom-to").value, at("whom-from").value] = [chosen.to, chosen.from];
  write(at("whom-now"), ...(chosen ? [id(chosen.to), " / ", id(chosen.from)] : ["none is chosen yet"]));
  box.enable(chosen !== null);
  if (bereft && document.activeElement === document.body) at(chosen ? "box" : "live").focus();
  bereft = false;
  agent.show();
  join();
  see(chosen || !picked.conversation ? typed : picked);
}

/**
 * What depends on whether a real org is behind the daemon.
 * @param {boolean} built_in Whether it is the sandbox that is.
 */
function begin(built_in) {
  sandbox = built_in;
  sliders.live = sandbox;
  timeline.real = !sandbox;
  explained.offers = sandbox;
  picked.inView = false;
  if (sandbox) picked.choose(null, false);
  lanes.clear();
  arrange(sandbox);
  setText(at("agent-what"), sandbox ? "as the sandbox shows it" : "as the upstream has acknowledged it");
  setText(
    at("tune-sub"),
    sandbox
      ? "Move a slider: the running daemon follows at once, and the strip below shows what would have been."
      : "Move a slider: the strip shows what would have been. The running daemon follows when you apply it. “Measure beside” counts on real traffic what it would do; nothing of it is sent.",
  );
  setText(
    at("whom-note"),
    sandbox
      ? "Any names will do in the sandbox."
      : "The upstream is a real org: an agent sees that you are typing. Use a channel and a user made for tests; for a pair that it does not know Salesforce may open a session.",
  );
  at("whom").open = !sandbox && !typed.conversation;
  if (picked.conversation) picked.choose(picked.conversation, true);
  choose(typed.conversation ?? (sandbox ? USUAL : null));
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
    const asked = now();
    if (!document.hidden) {
      try {
        const status = await daemon.get("/v1/status");
        if (failures > 0 || status.started_at !== started) {
          started = status.started_at;
          at("state").dataset.met = "yes";
          newest.clear();
          begin(status.sandbox);
        }
        await timing.refresh();
        figures.show(status);
        showState(status);
        failures = 0;
      } catch (error) {
        if (error instanceof Refusal) showState({ state: "not_ready", why: error.message });
        else failures += 1;
      }
    }
    wake = new AbortController();
    const rest = failures > 0 ? AGAIN_MS[Math.min(failures, AGAIN_MS.length) - 1] : BEAT_MS - (now() - asked);
    await pause(Math.max(rest, BEAT_MS / 8), wake.signal);
  }
}

daemon.addEventListener("link", () => {
  if (daemon.up) {
    replay.ask();
    heard();
    setText(at("box-trouble"), "");
    setText(at("tune-trouble"), "");
    return setText(at("trouble"), "");
  }
  setText(at("trouble"), "typingd does not answer. Is it running? This page reconnects by itself.");
  silent();
  agent.forget();
});

/** Nothing is heard of the daemon: the page says since when, and shows nothing as if it still were so. */
function silent() {
  const since = daemon.heard === null ? "" : ` since ${clock(daemon.heard)}`;
  at("state").dataset.state = "down";
  setText(at("state-text"), `no answer${since}`);
  setText(at("live-silent"), `Nothing has been heard from typingd${since}. Icons and rates are unknown until it answers.`);
  document.documentElement.dataset.silent = "yes";
  lanes.age();
  figures.age();
}

function heard() {
  delete document.documentElement.dataset.silent;
  setText(at("live-silent"), "");
}

daemon.addEventListener("fresh", () => {
  if (!daemon.fresh) return silent();
  heard();
  // The streams report changes; their beginning is the state.
  if (typed.strip.shown === null || !sandbox) join();
});

let unseen = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(unseen);
  if (document.hidden) {
    unseen = setTimeout(() => streams.abort(), UNSEEN_MS);
    return;
  }
  wake.abort();
  if (streams.signal.aborted) join();
});

replay.ask();
void watch();
