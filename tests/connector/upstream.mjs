// An Interaction Service that records what it has read, in that order, and answers after a while. It knows tokens, and
// which icons are on.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

/**
 * Connections that are there before a trial begins. Which of two requests came first can be told if both connections have
 * been accepted before.
 */
const CONNECTIONS = 128;

/** The part `json` of a form. */
function interaction(contentType, body) {
  const boundary = /boundary="?([^";]+)/i.exec(contentType)?.[1];
  const parts = body.toString("latin1").split(`--${boundary}`);
  const json = parts.find((part) => /^[^]*?name="json"/.test(part.slice(0, part.indexOf("\r\n\r\n"))));
  return JSON.parse(Buffer.from(json.slice(json.indexOf("\r\n\r\n") + 4), "latin1").toString());
}

export class Upstream {
  /** @param {number} latencyMs How long an answer takes. */
  static async start(latencyMs) {
    const upstream = new Upstream();
    upstream.latencyMs = latencyMs;
    await new Promise((listening) => upstream.server.listen(0, "127.0.0.1", listening));
    upstream.url = `http://127.0.0.1:${upstream.server.address().port}`;
    return upstream;
  }

  constructor() {
    /** What has been read: `at` in milliseconds, `from`, `kind`, `request` (its id), `id`, `status`, `underIcon`. */
    this.records = [];
    this.iconsOn = new Set();
    this.tokens = new Set();
    /** Answers that wait until so many have been asked for. */
    this.waiting = [];
    this.server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => this.answer(request, response));
  }

  /** A token that is taken until it is withdrawn. */
  issue() {
    const token = randomUUID();
    this.tokens.add(token);
    return token;
  }

  withdraw(token) {
    this.tokens.delete(token);
  }

  async answer(request, response) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const at = performance.now();
    const send = (status, body) =>
      setTimeout(() => {
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      }, this.latencyMs);
    // typingd's look at the way, at its start.
    if (request.method === "HEAD") return response.writeHead(404).end();
    if (request.method === "GET") {
      this.waiting.push(() => send(200, {}));
      if (this.waiting.length === CONNECTIONS) this.waiting.splice(0).forEach((answer) => answer());
      return undefined;
    }
    if (request.url === "/token") return send(200, { access_token: this.issue() });
    const { from, interactions } = interaction(request.headers["content-type"], Buffer.concat(pieces));
    const [{ interactionType, payload, id = payload.id }] = interactions;
    const kind = interactionType === "AttachmentInteraction" ? "Attachment" : payload.entryType;
    const taken = this.tokens.has(request.headers.authorization?.replace("Bearer ", ""));
    const record = { at, from, kind, id, request: request.headers.requestid, status: taken ? 202 : 401 };
    record.underIcon = this.iconsOn.has(from);
    this.records.push(record);
    if (!taken) return send(401, { code: 10004, message: "the token is not taken" });
    if (kind === "TypingStartedIndicator") this.iconsOn.add(from);
    if (kind === "TypingStoppedIndicator") this.iconsOn.delete(from);
    return send(202, { id, success: true, workItemIds: [] });
  }

  /** Lets whoever is at `url` open connections to it. */
  async warmUp(url) {
    const get = () => fetch(`${url}/api/v1/conversations`).then((answer) => answer.arrayBuffer());
    await Promise.all(Array.from({ length: CONNECTIONS }, get));
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }
}
