// A connector as Salesforce's sample is one: a Started at the first input and no more often than every so often after, a
// Stopped without waiting just before each message, then the message. One request id and one time for everything.
// Its users type, send and leave; a line of JSON for each says when.

import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import axios from "axios";
import FormData from "form-data";

const { BASE_URL, RUNS, AT_A_TIME, THROTTLE_MS } = process.env;
const TIMESTAMP = 1688190840000;
const headers = {
  Authorization: "Bearer a-token-of-node",
  "Content-Type": "multipart/form-data",
  Accept: "application/json",
  OrgId: "00DXX0000000001",
  AuthorizationContext: "Partner1_ChannelDefinition1",
  RequestId: "f8f26b52-47e7-4b1a-8d1b-2a3d0a2d2c33",
};

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function send(from, interaction, file) {
  const form = new FormData();
  if (file) form.append("attachments", Readable.from([file]), { filename: "notes.txt", knownLength: file.length });
  const json = { to: "node", from, interactions: [{ timestamp: TIMESTAMP, ...interaction }] };
  form.append("json", JSON.stringify(json), { contentType: "application/json" });
  const answer = await axios.post(`${BASE_URL}/api/v1/interactions`, form, { headers });
  if (answer.status !== 202 || !answer.data.success) throw new Error(`${answer.status} ${JSON.stringify(answer.data)}`);
  return answer.data;
}

async function indicate(from, entryType) {
  const id = randomUUID();
  const payload = { id, entryType, timestamp: TIMESTAMP };
  const answer = await send(from, { interactionType: "EntryInteraction", payload });
  if (answer.id !== id) throw new Error(`asked with ${id}, answered with ${answer.id}`);
}

function message(from, run) {
  const id = randomUUID();
  if (run % 5 === 4) {
    const file = Buffer.alloc(run % 10 === 4 ? 1000 : 300000, "x");
    const interaction = { interactionType: "AttachmentInteraction", id, attachmentIndex: 0, contentLength: file.length };
    return send(from, interaction, file);
  }
  const staticContent = { formatType: "Text", text: "hello from node" };
  const abstractMessage = { messageType: "StaticContentMessage", id, staticContent };
  return send(from, { interactionType: "EntryInteraction", payload: { id, entryType: "Message", abstractMessage } });
}

async function user(run) {
  const from = `user-${run}`;
  const typing = 300 + Math.random() * 700;
  const waiting = [];
  let armed = -Infinity;
  for (const begin = performance.now(); performance.now() - begin < typing; await pause(20 + Math.random() * 60)) {
    if (performance.now() - armed < Number(THROTTLE_MS)) continue;
    armed = performance.now();
    waiting.push(indicate(from, "TypingStartedIndicator"));
  }
  const sent = Date.now();
  waiting.push(indicate(from, "TypingStoppedIndicator"));
  await message(from, run);
  await Promise.all(waiting);
  console.log(JSON.stringify({ from, sent, answered: Date.now() }));
}

let next = 0;
async function worker() {
  while (next < Number(RUNS)) await user(next++);
}
await Promise.all(Array.from({ length: Number(AT_A_TIME) }, worker));
