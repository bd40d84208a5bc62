// The sample alone and through typingd, as a table: TYPINGD_TEST_BINARY=target/release/typingd node table.mjs. With the
// sample's own times it takes some four minutes; THROTTLE_MS=500 plays the same ten times as fast.

import { trial } from "./trial.mjs";

const throttle = Number(process.env.THROTTLE_MS ?? 5000);
const rows = [["upstream", "", "requests", "messages", "wrong pairs", "under an icon", "icons left on", "median", "p95"]];
const verbose = process.env.VERBOSE;
for (const latency of [0, 60, 300]) {
  const straight = await trial({ latency, through: false, throttle });
  const through = await trial({ latency, through: true, throttle });
  for (const [name, result] of [["alone", straight], ["typingd", through]]) {
    const [median, p95] = ["median", "p95"].map((field) => {
      const added = result === through ? ` (${(result[field] - straight[field]).toFixed(1)} added)` : "";
      return `${result[field].toFixed(1)} ms${added}`;
    });
    const { requests, messages, wrongPairs, under, leftOn } = result;
    rows.push([`${latency} ms`, name, requests, messages, wrongPairs.length, under.length, leftOn.length, median, p95]);
    if (verbose) for (const problem of [...result.problems, ...result.wrongPairs]) console.error(`${latency} ms, ${name}: ${problem}`);
  }
}
const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
const line = (row) => `| ${row.map((cell, column) => String(cell).padEnd(widths[column])).join(" | ")} |`;
console.log([line(rows[0]), line(widths.map((width) => "-".repeat(width))), ...rows.slice(1).map(line)].join("\n"));
