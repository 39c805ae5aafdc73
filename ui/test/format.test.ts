import assert from "node:assert/strict";
import { test } from "node:test";
import { count, counted, percent, seconds, shortened, wrapped } from "../src/format";

test("times are as in tracer's texts", () => {
  for (const [s, text] of [
    [0, "0 s"], [741e-9, "741 ns"], [9.15e-6, "9.15 µs"], [4.3e-6, "4.3 µs"], [0.521, "521 ms"], [0.0999, "99.9 ms"], [0.99996, "1 s"], [1.5, "1.5 s"],
    [119, "119 s"], [300, "5 min"],
  ] as [number, string][]) {
    assert.equal(seconds(s), text);
  }
  assert.equal(seconds(null), "–");
  assert.equal(seconds(NaN), "–");
});

test("numbers", () => {
  for (const [v, text] of [[0, "0"], [0.01, "<0.1"], [0.4, "0.4"], [2.96, "3"], [12.4, "12"], [999.4, "999"], [1234, "1.23k"], [2.5e6, "2.5M"]] as [number, string][]) {
    assert.equal(count(v), text);
  }
  assert.equal(counted(1, "packet"), "1 packet");
  assert.equal(counted(13, "packet"), "13 packets");
  assert.deepEqual([0, 0.001, 0.5, 0.999, 1].map(percent), ["0 %", "<1 %", "50 %", ">99 %", "100 %"]);
});

test("names keep both ends, and no character is cut in two", () => {
  assert.equal(shortened("default/web", 11), "default/web");
  assert.equal(shortened("default/frontend-v2", 11), "defau…nd-v2");
  assert.equal(shortened("😀😀😀😀😀", 3), "😀…😀");
});

test("lines", () => {
  assert.deepEqual(wrapped("tunl0 egress queue holds packets", 12), ["tunl0 egress", "queue holds", "packets"]);
  assert.deepEqual(wrapped("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
  assert.deepEqual(wrapped("", 4), []);
});
