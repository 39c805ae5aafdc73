// Builds the page into internal/ui/page, or into the folder given; with --test its tests into build/ui-test. sources.sum is the sum
// of all that it is made of, by which a test in Go sees without npm that what is committed is of these sources.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
process.chdir(here);

const common = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
};

if (process.argv[2] === "--test") {
  const tests = readdirSync("test").filter((name) => name.endsWith(".test.ts"));
  await build({
    ...common,
    entryPoints: tests.map((name) => join("test", name)),
    platform: "node",
    outdir: "../build/ui-test",
    outExtension: { ".js": ".mjs" },
  });
} else {
  const out = process.argv[2] ?? "../internal/ui/page";
  mkdirSync(out, { recursive: true });
  await build({
    ...common,
    entryPoints: { app: "src/main.tsx" },
    outdir: out,
    minify: true,
    legalComments: "eof",
  });
  for (const name of ["index.html", "icon.svg"]) copyFileSync(join("src", name), join(out, name));
  // Their licences ask that they come with each copy.
  const { dependencies } = JSON.parse(readFileSync("package.json", "utf8"));
  const licences = Object.entries(dependencies).map(([name, version]) => `${name} ${version}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8")}`);
  writeFileSync(join(out, "licences.txt"), licences.join("\n"));
  const sum = createHash("sha256");
  const sources = readdirSync("src").map((name) => join("src", name));
  for (const name of ["build.mjs", "package-lock.json", "package.json", "tsconfig.json", ...sources.sort()]) {
    sum.update(`${name}\n`).update(readFileSync(name));
  }
  writeFileSync(join(out, "sources.sum"), sum.digest("hex") + "\n");
}
