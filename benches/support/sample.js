// What a connector after Salesforce's sample does with a typing event: a route takes it, and posts a form with one part of
// JSON to the Interaction Service. The sample stacks Express, axios and form-data on these; here is the least that Node does.
// `node sample.js HOST:PORT` prints where it listens.
const http = require("node:http");
const { randomUUID } = require("node:crypto");

const [host, port] = process.argv[2].split(":");
const boundary = "--------------------------b0557a784ba91d2494a6503d";

function send({ to, from }) {
  const now = Date.now();
  const payload = { id: randomUUID(), entryType: "TypingStartedIndicator", timestamp: now };
  const json = JSON.stringify({ to, from, interactions: [{ timestamp: now, interactionType: "EntryInteraction", payload }] });
  const form = `--${boundary}\r\nContent-Disposition: form-data; name="json"\r\nContent-Type: application/json\r\n\r\n${json}\r\n--${boundary}--\r\n`;
  const headers = {
    Authorization: "Bearer a-token",
    OrgId: "00DXX0000000001",
    AuthorizationContext: "Bench",
    RequestId: randomUUID(),
    Accept: "application/json",
    "Content-Type": `multipart/form-data; boundary=${boundary}`,
    "Content-Length": Buffer.byteLength(form),
  };
  const request = http.request({ host, port, path: "/api/v1/interactions", method: "POST", headers }, (answer) => {
    let text = "";
    answer.setEncoding("utf8");
    answer.on("data", (piece) => (text += piece));
    answer.on("end", () => JSON.parse(text));
  });
  request.on("error", (error) => console.error(error));
  request.end(form);
}

const server = http.createServer((request, response) => {
  let text = "";
  request.setEncoding("utf8");
  request.on("data", (piece) => (text += piece));
  request.on("end", () => {
    send(JSON.parse(text));
    response.writeHead(202, { "Content-Type": "application/json" });
    response.end('{"accepted":1,"rejected":[]}');
  });
});
server.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
