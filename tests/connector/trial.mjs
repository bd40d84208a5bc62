// A trial: connector processes in front of a recording upstream, straight or through typingd, and what the upstream has
// read compared with what they wrote, entry by entry.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Upstream } from "./upstream.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const BINARY = process.env.TYPINGD_TEST_BINARY;
/** How long anything may take that is sure to come. */
const PATIENCE_MS = 20_000;

/** Whatever still runs goes with the trial. */
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(what, look, patience = PATIENCE_MS) {
  for (const end = performance.now() + patience; !(await look()); await pause(20)) {
    if (performance.now() > end) throw new Error(`never came: ${what}`);
  }
}

class Daemon {
  /**
   * In front of `upstream`, with times that fit a connector which sends a Started every `throttle` milliseconds: the
   * defaults, for the sample's 5,000. `settings` are further lines of its configuration.
   */
  static async start(upstream, throttle, settings) {
    if (!BINARY) throw new Error("TYPINGD_TEST_BINARY is not set");
    const daemon = new Daemon();
    daemon.directory = mkdtempSync(join(tmpdir(), "typingd-trial-"));
    const file = join(daemon.directory, "typingd.toml");
    const lines = [
      `upstream.base_url = "${upstream}"`,
      `ingest.listen = ["127.0.0.1:0"]`,
      `drop_in.enabled = true`,
      `drop_in.activity_lasts = "${throttle}ms"`,
      `timing.check_interval = "${throttle}ms"`,
      `timing.dismiss_after = "${Math.round(throttle * 0.4)}ms"`,
      ...settings,
    ];
    writeFileSync(file, lines.join("\n"));
    daemon.log = "";
    daemon.child = spawn(BINARY, ["run", "--config", file], { env: {}, stdio: ["ignore", "ignore", "pipe"] });
    daemon.child.stderr.on("data", (text) => (daemon.log += text));
    running.add(daemon.child);
    await until("the daemon", () => / ready$/m.test(daemon.log)).catch((error) => {
      throw new Error(`${error.message}\n${daemon.log}`);
    });
    daemon.url = /http:\/\/[0-9.:]+/.exec(daemon.log)[0];
    return daemon;
  }

  async stop() {
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    const code = await gone;
    running.delete(this.child);
    rmSync(this.directory, { recursive: true });
    if (code !== 0) throw new Error(`the daemon ended with ${code}:\n${this.log}`);
  }
}

/** Runs one connector process to its end. Returns what it said. */
async function connector(settings) {
  const env = { PATH: process.env.PATH, ...settings };
  const child = spawn(process.execPath, [join(HERE, "typists.mjs")], { env, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  let errors = "";
  child.stderr.on("data", (text) => (errors += text));
  const ended = new Promise((resolve) => child.once("close", resolve));
  const said = [];
  for await (const line of createInterface({ input: child.stdout })) said.push(JSON.parse(line));
  const code = await ended;
  running.delete(child);
  if (code !== 0) throw new Error(`a connector ended with ${code}:\n${errors}`);
  return said;
}

const isMessage = (entry) => entry.kind === "Message" || entry.kind === "Attachment";

function byUser(entries) {
  const users = new Map();
  for (const entry of entries) {
    if (!users.has(entry.from)) users.set(entry.from, []);
    users.get(entry.from).push(entry);
  }
  return users;
}

/** Compares what was written with what was read. */
function compare(said, records) {
  const read = new Map(records.map((record) => [record.request, record]));
  const problems = [];
  const wrongPairs = [];
  let messages = 0;
  const written = byUser(said.filter((entry) => entry.wrote));
  for (const [from, wrote] of written) {
    let before;
    for (const entry of wrote) {
      const record = read.get(entry.wrote);
      if (!record) {
        problems.push(`${from}: ${entry.kind} ${entry.id} is missing`);
        continue;
      }
      if (before && record.at < before.at) {
        wrongPairs.push(`${from}: ${record.id} was read ${(before.at - record.at).toFixed(1)} ms before ${before.id}`);
      }
      before = record;
    }
    const accepted = records.filter((record) => record.from === from && isMessage(record) && record.status === 202);
    const ids = new Set(wrote.map((entry) => entry.id));
    messages += ids.size;
    for (const id of ids) {
      const times = accepted.filter((record) => record.id === id).length;
      if (times !== 1) problems.push(`${from}: ${id} was accepted ${times} times`);
    }
    if (accepted.length !== ids.size) problems.push(`${from}: ${accepted.length} accepted, ${ids.size} sent`);
  }
  return { messages, wrongPairs, problems };
}

/** The value below which `share` of `values` lies. */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))] ?? NaN;
}

/** The connector processes: what becomes of their tokens, and whether their users send messages. */
const PROCESSES = [
  { name: "good", token: "good", sends: true },
  { name: "expiring", token: "expiring", sends: true },
  { name: "expired", token: "expired", sends: true },
  { name: "expired-silent", token: "expired", sends: false },
];

/** Whether all tokens of the user's process are good. */
export const isGood = (from) => from.startsWith("good-");

/**
 * Several connector processes on one channel, each with a token of its own.
 * @param {{latency: number, through: boolean, throttle: number, users?: number, rounds?: number,
 * settings?: string[]}} how `latency` and `throttle` in milliseconds; `settings` are lines of typingd's configuration.
 */
export async function trial({ latency, through, throttle, users = 8, rounds = 3, settings = [] }) {
  const upstream = await Upstream.start(latency);
  const daemon = through ? await Daemon.start(upstream.url, throttle, settings) : undefined;
  if (daemon) await upstream.warmUp(daemon.url);
  const connectors = PROCESSES.map(({ name, token, sends }) => {
    const first = token === "expired" ? `expired-of-${name}` : upstream.issue();
    if (token === "expiring") setTimeout(() => upstream.withdraw(first), 2 * throttle).unref();
    return connector({
      BASE_URL: daemon?.url ?? upstream.url,
      TOKEN_URL: `${upstream.url}/token`,
      TOKEN: first,
      NAME: name,
      USERS: String(users),
      ROUNDS: String(rounds),
      THROTTLE_MS: String(throttle),
      SENDS: sends ? "yes" : "",
    });
  });
  const said = (await Promise.all(connectors)).flat();
  // What is on now goes off by itself, if there is somebody who sees to it.
  const patience = throttle * 1.4 + 2 * latency + 5_000;
  if (daemon) await until("no icon", () => upstream.iconsOn.size === 0, patience).catch(() => {});
  const leftOn = [...upstream.iconsOn];
  await daemon?.stop();
  await upstream.stop();

  const { records } = upstream;
  const { messages, wrongPairs, problems } = compare(said, records);
  const under = records.filter((record) => isMessage(record) && record.status === 202 && record.underIcon);
  const waits = said.filter((entry) => entry.answered && entry.status === 202).map((entry) => entry.ms);
  return {
    requests: records.length,
    /** The processes that have heard of a refused token. */
    refused: [...new Set(said.filter((entry) => entry.refused).map((entry) => entry.refused))].sort(),
    messages,
    wrongPairs,
    problems,
    leftOn,
    /** Messages that were read while their user's icon was on. */
    under: under.map((record) => record.from),
    median: quantile(waits, 0.5),
    p95: quantile(waits, 0.95),
  };
}
