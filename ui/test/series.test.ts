import assert from "node:assert/strict";
import { test } from "node:test";
import type { RequestTrend } from "../src/api";
import { callsSaid } from "../src/calls";
import { callCharts, lonely, nodeChart, spanOf, stacked } from "../src/series";

const delay = (s: number) => ({ p50_seconds: s, p99_seconds: s });

test("the stages of packets are stacked, each point at its time", () => {
  const node = nodeChart(
    [
      { stage: "forward", device: "tunl0", every_seconds: 5, p50_seconds: [1, null, null] },
      { stage: "queue", device: "tunl0", every_seconds: 5, p50_seconds: [2, 3, null] },
    ],
    100,
  );
  assert.deepEqual(node?.times, [90, 95, 100]);
  assert.deepEqual(stacked(node?.series ?? []), [[1, 0, null], [3, 3, null]]);
  assert.equal(nodeChart([], 100), null);
});

const calls: RequestTrend = {
  every_seconds: 5, per_second: [10, 0, 2], unanswered_per_second: [0, 3, 0],
  client_p50_seconds: [10, null, 20], server_p50_seconds: [1, null, 2],
  stages: [
    { stage: "queue", device: "tunl0", seconds: [5, null, 8] },
    { stage: "decap", device: "tunl0", seconds: [1, null, null] },
  ],
  other_seconds: [0, null, 0],
  rest_seconds: [3, null, 10],
};

test("a point between two gaps is seen", () => {
  assert.deepEqual(lonely([1, null, 0, null, 3, 4, null, 5]), [0, 2, 7]);
  assert.deepEqual(lonely([null, 1, 2]), []);
});

test("all charts of a pair show the same time, a minute at least, and five at most", () => {
  const of = (...times: number[]) => ({ title: "", unit: "seconds" as const, times, series: [] });
  assert.deepEqual(spanOf([of(1000)]), [940, 1000]);
  assert.deepEqual(spanOf([of(900, 1000)]), [900, 1000]);
  assert.deepEqual(spanOf([of(500, 1000)]), [700, 1000]);
  assert.deepEqual(spanOf([of(990, 1000), of(800, 1000), of()]), [800, 1000]);
});

test("a remote call is stacked by where its time goes, up to all of it", () => {
  const [times, rates, ...more] = callCharts(calls, 100);
  assert.deepEqual(more, []);
  assert.deepEqual(times?.series.map((s) => s.label), ["server", "queue tunl0", "decap tunl0", "the rest (network)"]);
  assert.deepEqual(times?.times, [90, 95, 100]);
  assert.deepEqual(stacked(times?.series ?? []).at(-1), calls.client_p50_seconds);
  assert.deepEqual(rates?.series.map((s) => [s.label, s.values]), [["answered", [10, 0, 2]], ["unanswered", [0, 3, 0]]]);
  assert.equal(rates?.unit, "per second");
  const other = callCharts({ ...calls, other_seconds: [0, null, 3], rest_seconds: [3, null, 7] }, 100)[0];
  assert.deepEqual(other?.series.map((s) => s.part), ["server", "queue", "decap", "other", "rest"]);
  assert.deepEqual(stacked(other?.series ?? []).at(-1), calls.client_p50_seconds);
});

test("of remote calls only what is known is drawn", () => {
  const none = [null, null, null];
  assert.deepEqual(callCharts(undefined, 100), []);
  const elsewhere = callCharts({ ...calls, server_p50_seconds: none }, 100)[0];
  assert.equal(elsewhere?.series.at(-1)?.label, "the rest (network, server)");
  const asked = callCharts({ ...calls, client_p50_seconds: none, rest_seconds: none }, 100)[0];
  assert.deepEqual(asked?.series.map((s) => s.part), ["server", "queue", "decap"]);
  assert.match(asked?.title ?? "", /as far as it is spent here/);
  const unanswered = callCharts({ ...calls, client_p50_seconds: none, server_p50_seconds: none, rest_seconds: none, stages: [] }, 100);
  assert.deepEqual(unanswered.map((c) => c.unit), ["per second"]);
});

test("remote calls in words", () => {
  assert.equal(callsSaid(undefined), "");
  const r = { per_second: 12, unanswered: 0, here_seconds: 0.5 };
  assert.equal(callsSaid({ ...r, client: delay(1), server: delay(0.1) }), "12 remote calls/s · 1 s (p50): server 100 ms, this node 500 ms, network 400 ms");
  assert.equal(callsSaid({ ...r, client: delay(1) }), "12 remote calls/s · 1 s (p50): this node 500 ms, network and server 500 ms");
  assert.equal(callsSaid({ ...r, server: delay(0.1), unanswered: 3 }), "12 remote calls/s · 3 unanswered · server 100 ms (p50)");
  assert.equal(callsSaid({ per_second: 0, unanswered: 3, here_seconds: 0 }), "0 remote calls/s · 3 unanswered");
});
