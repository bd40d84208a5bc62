// What a connector after Salesforce's sample (salesforce-misc/byo-demo-connector) does with a typing event, on the packages that
// it stands on: Express with its JSON parser, CORS and multer take the page's form; axios and form-data post another one to the
// Interaction Service; node-cache holds the settings; each step writes a line. Written anew after what the sample does; the
// packages are installed beside it by the benchmark, under their own licences.
// `node sample.js HOST:PORT DIRECTORY` prints where it listens. Unlike the sample it takes the end user from the form, so that
// each request can be told from the others, and answers 202, as all that is measured does.
const axios = require("axios");
const cors = require("cors");
const express = require("express");
const FormData = require("form-data");
const multer = require("multer");
const NodeCache = require("node-cache");
const { v4: uuid } = require("uuid");

const [upstream, directory] = process.argv.slice(2);
const settings = new NodeCache();
settings.mset([
  { key: "orgId", val: "00DXX0000000001" },
  { key: "authorizationContext", val: "Bench" },
  { key: "channelAddressIdentifier", val: "support" },
  { key: "scrtUrl", val: `http://${upstream}` },
]);
// It writes to the terminal that it was started from; here that is a file that keeps nothing.
const log = (text, more = "") => console.error(text, more);

async function accessToken() {
  return "a-token";
}

async function sendTyping(user, entryType) {
  log(`typing event: ${entryType}`);
  const token = await accessToken();
  const payload = { id: uuid(), entryType, timestamp: 1688190840000 };
  const interaction = { timestamp: 1688190840000, interactionType: "EntryInteraction", payload };
  const form = new FormData();
  const json = { to: settings.get("channelAddressIdentifier"), from: user, interactions: [interaction] };
  form.append("json", JSON.stringify(json), { contentType: "application/json" });
  const headers = {
    Authorization: `Bearer ${token}`,
    "Content-Type": "multipart/form-data",
    Accept: "application/json",
    OrgId: settings.get("orgId"),
    AuthorizationContext: settings.get("authorizationContext"),
    RequestId: uuid(),
  };
  try {
    const answer = await axios.post(`${settings.get("scrtUrl")}/api/v1/interactions`, form, { headers });
    log("typing event sent:", answer.data);
  } catch (error) {
    log("typing event failed:", error.message);
  }
}

const app = express();
app.use(express.json());
app.use(cors());
app.use("/uploads", express.static(directory));
const upload = multer({ dest: directory });
app.post("/sendmessage", upload.single("attachment"), (request, response) => {
  const { interactionType, entryType, user } = request.body;
  const known = ["orgId", "authorizationContext", "channelAddressIdentifier", "scrtUrl"].every((key) => settings.get(key));
  if (known && interactionType === "EntryInteraction" && entryType === "TypingStartedIndicator") {
    sendTyping(user, entryType);
  }
  response.status(202).json({});
});
const server = app.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
