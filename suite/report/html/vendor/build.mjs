// Bundles Observable Plot, and what it needs of D3, into plot.js with every licence as its head.
import { readFileSync, writeFileSync, existsSync } from "node:fs";
import { build } from "esbuild";

const { metafile, outputFiles } = await build({
  entryPoints: ["entry.mjs"],
  bundle: true,
  minify: true,
  charset: "ascii",
  format: "iife",
  globalName: "Plot",
  legalComments: "none",
  target: "es2020",
  metafile: true,
  write: false,
});

const inputs = Object.keys(Object.values(metafile.outputs)[0].inputs);
const packages = [...new Set(inputs.flatMap((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1] ?? []))].sort();
const byText = new Map();
for (const name of packages) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const file = ["LICENSE", "LICENSE.md", "license"].map((file) => `node_modules/${name}/${file}`).find(existsSync);
  if (!file) throw new Error(`${name} has no file LICENSE: find its licence before it is bundled`);
  const text = readFileSync(file, "utf8").replace(/\r/g, "").trim();
  byText.set(text, [...(byText.get(text) ?? []), `${name} ${version}`]);
}
const licences = [...byText].map(([text, names]) => `${names.join(", ")}\n\n${text}`).join(`\n\n${"-".repeat(80)}\n\n`);
writeFileSync("LICENCES.txt", `${licences}\n`);
writeFileSync("plot.js", `/*!\n${licences}\n*/\n${outputFiles[0].text}`);
