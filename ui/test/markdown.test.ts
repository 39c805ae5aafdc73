import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { blocks, spans } from "../src/markdown";

test("the forms that pages have", () => {
  assert.deepEqual(
    blocks("# queue\n\nA `tc` **show**\nof [it](x.md).\n\n```\n$ tc <b>\n```\n\n- one\n  more\n- two\n\n1. first\n\n| a | b |\n|---|---|\n| 1 | 2 |\n#no heading\n").map((b) => b.kind),
    ["heading", "paragraph", "code", "list", "list", "table", "paragraph"],
  );
  assert.deepEqual(spans("A `tc` **show** of [it](x.md)."), [
    { kind: "text", text: "A " }, { kind: "code", text: "tc" }, { kind: "text", text: " " }, { kind: "strong", text: "show" }, { kind: "text", text: " of it." },
  ]);
});

test("every cause's page is read to its end", () => {
  const names = readdirSync("../docs/causes").filter((n) => n.endsWith(".md"));
  assert.ok(names.length > 20);
  for (const name of names) {
    const text = readFileSync(`../docs/causes/${name}`, "utf8");
    const read = blocks(text);
    assert.equal(read.filter((b) => b.kind === "heading").length, text.replace(/```[\s\S]*?```/g, "").match(/^#+ /gm)?.length, name);
    assert.ok(!JSON.stringify(read.filter((b) => b.kind !== "code")).includes("]("), name);
  }
});
