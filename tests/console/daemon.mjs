// A daemon in a directory of its own, started for a test and never left behind.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARY = process.env.TYPINGD_TEST_BINARY;
if (!BINARY) throw new Error("TYPINGD_TEST_BINARY is not set; .ci/run does it");

/** How long anything may take that is sure to come. */
export const PATIENCE_MS = 20_000;

/**
 * Looks until it finds something.
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} look
 * @returns {Promise<T>}
 */
export async function until(what, look) {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > end) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whatever still runs goes with the tests. */
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

class Process {
  /** @param {string[]} args */
  constructor(args) {
    this.log = "";
    this.output = "";
    this.child = spawn(BINARY, args, { env: {}, stdio: ["ignore", "pipe", "pipe"] });
    this.child.stderr.on("data", (text) => (this.log += text));
    this.child.stdout.on("data", (text) => (this.output += text));
    running.add(this.child);
  }

  /** @param {NodeJS.Signals} signal */
  async end(signal = "SIGTERM") {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const gone = new Promise((resolve) => this.child.once("exit", resolve));
      this.child.kill(signal);
      await gone;
    }
    running.delete(this.child);
  }
}

export class Daemon {
  /**
   * @param {import("node:test").TestContext} t It ends with this test.
   * @param {{settings?: string, upstream?: string, token?: string, bare?: boolean}} [how] `upstream`: an upstream that is
   * not the built-in sandbox; `token`: what callers must show; `bare`: without a configuration.
   */
  static async start(t, { settings = "", upstream, token, bare = false } = {}) {
    const daemon = new Daemon();
    daemon.directory = mkdtempSync(join(tmpdir(), "typingd-console-"));
    const file = join(daemon.directory, "typingd.toml");
    let text = settings;
    if (upstream) {
      writeFileSync(join(daemon.directory, "token"), "any-token");
      text = `upstream.base_url = "${upstream}"\nupstream.org_id = "00DXX0000000001"\n` +
        `upstream.authorization_context = "Partner1_ChannelDefinition1"\nupstream.auth.token_file = "token"\n${text}`;
    }
    if (token) {
      writeFileSync(join(daemon.directory, "callers"), token);
      text = `ingest.token_file = "callers"\n${text}`;
    }
    writeFileSync(file, text);
    daemon.args = ["run", ...(bare ? [] : ["--config", file]), ...(upstream ? [] : ["--sandbox"])];
    daemon.headers = token ? { authorization: `Bearer ${token}` } : {};
    t.after(() => daemon.end());
    await daemon.#run("127.0.0.1:0");
    return daemon;
  }

  /** @param {string} listen */
  async #run(listen) {
    this.process = new Process([...this.args, "--listen", listen]);
    this.url = await until("the daemon's address", () => {
      if (this.process.child.exitCode !== null) throw new Error(this.process.log);
      return /INFO listening address=(\S+)/.exec(this.process.log)?.[1];
    });
    await until("readiness", () => fetch(`${this.url}/readyz`).then((answer) => answer.ok));
  }

  /** Starts it anew, where it was. */
  async again() {
    await this.#run(new URL(this.url).host);
  }

  async stop(signal) {
    await this.process.end(signal);
  }

  /** Stops it from doing anything, without an end. */
  freeze() {
    this.process.child.kill("SIGSTOP");
  }

  thaw() {
    this.process.child.kill("SIGCONT");
  }

  /** Reports signals, as a connector does. @param {object[]} signals */
  async report(...signals) {
    const headers = { "content-type": "application/json", ...this.headers };
    const answer = await fetch(`${this.url}/v1/signals`, { method: "POST", headers, body: JSON.stringify(signals) });
    if (answer.status !== 202) throw new Error(await answer.text());
  }

  async end() {
    if (this.process) await this.stop("SIGKILL");
    rmSync(this.directory, { recursive: true });
  }

  /** @param {string} path */
  async get(path) {
    const answer = await fetch(this.url + path, { headers: this.headers });
    return answer.json();
  }
}

/** The sandbox alone: to a daemon it is as real as an org. @param {import("node:test").TestContext} t */
export async function sandbox(t) {
  const process = new Process(["sandbox", "--listen", "127.0.0.1:0"]);
  t.after(() => process.end("SIGKILL"));
  const url = await until("the sandbox's address", () => /base_url = "([^"]+)"/.exec(process.output)?.[1]);
  return { url };
}
