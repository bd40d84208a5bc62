// One process of a connector, as Salesforce's sample is one, whose users are in a hurry: they send several lines without
// waiting for an answer, type on at once, and some leave without a word. It has a token of its own, and gets another when
// that is refused. It writes what it does to the standard output, a line of JSON each: `wrote` when a message is with the
// operating system as a whole, `answered` when its answer is there, `refused` when a token was.

import { randomUUID } from "node:crypto";
import http from "node:http";
import { Readable } from "node:stream";
import axios from "axios";
import FormData from "form-data";

const { BASE_URL, TOKEN_URL, NAME, USERS, ROUNDS, THROTTLE_MS, SENDS } = process.env;
const THROTTLE = Number(THROTTLE_MS);
/**
 * Two lines of a user follow each other within this time. None begins before a half of it has passed since the one before
 * was written: on a busy machine it would be chance which of two is read first.
 */
const GAP_MS = 80;
const TIMESTAMP = 1688190840000;
/** Of one request; a token is refreshed once, another may expire meanwhile. */
const ATTEMPTS_MAX = 4;

let token = process.env.TOKEN;
let refreshing;

/** A token other than `refused`. */
async function refresh(refused) {
  if (token !== refused) return;
  refreshing ??= axios.post(TOKEN_URL).then((answer) => {
    token = answer.data.access_token;
    refreshing = undefined;
  });
  await refreshing;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const tell = (what) => console.log(JSON.stringify(what));

/** The same numbers between 0 and 1 for the same text (mulberry32). */
function random(text) {
  let state = [...text].reduce((sum, letter) => Math.imul(sum, 31) + letter.charCodeAt(0), 7);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function uuid(random) {
  const hex = Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16)).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}

class User {
  constructor(number) {
    this.from = `${NAME}-${number}`;
    this.random = random(this.from);
    /** When the request before the next one is with the operating system. */
    this.written = Promise.resolve();
    this.answers = [];
    this.armed = -Infinity;
    /** When the last line was. */
    this.lineAt = -Infinity;
  }

  /** Writes one request once the one before is written, and waits for its answer. */
  post(json, file, wrote) {
    const before = this.written.then(() => (wrote ? pause(this.lineAt + GAP_MS / 2 - performance.now()) : undefined));
    let done;
    this.written = new Promise((resolve) => (done = resolve));
    const answer = before.then(() => {
      const form = new FormData();
      if (file) form.append("attachments", Readable.from([file]), { filename: "notes.txt", knownLength: file.length });
      form.append("json", JSON.stringify(json), { contentType: "application/json" });
      const id = randomUUID();
      const headers = {
        Authorization: `Bearer ${token}`,
        "Content-Type": "multipart/form-data",
        Accept: "application/json",
        OrgId: "00DXX0000000001",
        AuthorizationContext: "Partner1_ChannelDefinition1",
        RequestId: id,
      };
      const transport = {
        request(options, answered) {
          const request = http.request(options, answered);
          request.once("finish", () => {
            if (wrote) this.lineAt = performance.now();
            wrote?.(id);
            done();
          });
          return request;
        },
      };
      return axios.post(`${BASE_URL}/api/v1/interactions`, form, { headers, transport, validateStatus: null });
    });
    answer.finally(done).catch(() => {});
    return answer;
  }

  async send(interaction, file, kind) {
    const json = { to: "support", from: this.from, interactions: [{ timestamp: TIMESTAMP, ...interaction }] };
    const id = interaction.id ?? interaction.payload.id;
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      const used = token;
      let begin;
      const answer = await this.post(json, file, (request) => {
        begin = performance.now();
        if (kind) tell({ wrote: request, from: this.from, kind, id });
      });
      if (kind) tell({ answered: id, from: this.from, status: answer.status, ms: performance.now() - begin });
      if (answer.status === 202) {
        if (answer.data.id !== id) throw new Error(`asked with ${id}, answered with ${JSON.stringify(answer.data)}`);
        return;
      }
      if (answer.status !== 401) throw new Error(`${answer.status} ${JSON.stringify(answer.data)}`);
      tell({ refused: NAME });
      await refresh(used);
    }
    throw new Error(`refused ${ATTEMPTS_MAX} times`);
  }

  indicate(entryType) {
    const payload = { id: randomUUID(), entryType, timestamp: TIMESTAMP };
    this.answers.push(this.send({ interactionType: "EntryInteraction", payload }));
  }

  key() {
    if (performance.now() - this.armed < THROTTLE) return;
    this.armed = performance.now();
    this.indicate("TypingStartedIndicator");
  }

  async type(ms) {
    for (const begin = performance.now(); performance.now() - begin < ms; await pause(THROTTLE / 25)) this.key();
  }

  line() {
    const id = uuid(this.random);
    const size = this.random();
    this.armed = -Infinity;
    if (size > 0.8) {
      const file = Buffer.alloc(size > 0.9 ? 200_000 : 1_000, "x");
      const attachment = { interactionType: "AttachmentInteraction", id, attachmentIndex: 0, contentLength: file.length };
      this.answers.push(this.send(attachment, file, "Attachment"));
      return;
    }
    const staticContent = { formatType: "Text", text: "one of several lines" };
    const abstractMessage = { messageType: "StaticContentMessage", id, staticContent };
    const payload = { id, entryType: "Message", abstractMessage };
    this.answers.push(this.send({ interactionType: "EntryInteraction", payload }, undefined, "Message"));
  }

  async burst() {
    const lines = 1 + Math.floor(this.random() * 4);
    const polite = this.random() < 0.5;
    const keys = this.random() < 0.5;
    if (polite) this.indicate("TypingStoppedIndicator");
    for (let line = 0; line < lines; line++) {
      this.line();
      await pause((GAP_MS / 2) * (1 + this.random()));
      // Types on before the answer is there.
      if (keys) this.key();
    }
  }

  async play() {
    await pause(this.random() * THROTTLE);
    for (let round = 0; round < Number(ROUNDS); round++) {
      await this.type((0.2 + 1.2 * this.random()) * THROTTLE);
      if (SENDS && this.random() < 0.75) {
        await this.burst();
        await this.type(0.3 * this.random() * THROTTLE);
      }
      await pause(1.5 * this.random() * THROTTLE);
    }
    await Promise.all(this.answers);
  }
}

await Promise.all(Array.from({ length: Number(USERS) }, (_, number) => new User(number).play()));
