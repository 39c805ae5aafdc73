import assert from "node:assert/strict";
import { test } from "node:test";
import { pairKey, parsePair, type Detail, type Finding, type Overview, type Stage } from "../src/api";
import { findingsOf, laidOut, wayOf, worst } from "../src/way";

const stage = (stage: string, device: string, p50: number | null): Stage => ({
  stage, device, packets: 1, delay: p50 === null ? null : { p50_seconds: p50, p99_seconds: p50 }, mean_seconds: p50 ?? 0, share: 0.5,
  warn_above_seconds: null, baseline_p50_seconds: null, slow: false, held: 0, oldest_seconds: 0,
});

const finding = (f: Partial<Finding>): Finding => ({
  kind: "delay", cause: "qdisc-delay", severity: "critical", stage: "queue", device: "tunl0", direction: "out", confidence: 1,
  pairs: [{ src: "default/web", dst: "default/api" }], pairs_total: 1, evidence: [], next: [], ...f,
});

function world(stages: Stage[], findings: Finding[], more: Partial<Detail> = {}, direction = "out"): { o: Overview; detail: Detail } {
  const detail = {
    row: {
      src: { namespace: "default", workload: "web" }, dst: { namespace: "default", workload: "api" }, service: "default/api", direction, stages,
      packets_per_second: 1, bits_per_second: 1, path: null, worst: null, drops: { packets: 0, per_second: 0 }, tcp: null, held: 0, oldest_seconds: 0,
      no_answer: null,
    },
    drops: [], history: [], slow: [], ...more,
  } as Detail;
  const devices = [["tunl0", "overlay"], ["eth0", "uplink"]].map(([name, role]) => ({ name, role }));
  return { o: { findings, sentences: findings.map((f) => f.cause), devices, detail } as unknown as Overview, detail };
}

test("stages stand in the order in which packets meet them, between the pods and the wire", () => {
  const stages = [stage("queue", "eth0", 1), stage("encap", "tunl0", 1), stage("queue", "tunl0", 1), stage("forward", "tunl0", 1)];
  const { o, detail } = world(stages, [finding({})]);
  const way = wayOf(o, detail);
  assert.deepEqual(way.map((s) => `${s.title} ${s.stage}`.trim()), ["default/web", "tunl0 forward", "tunl0 queue", "tunl0 encap", "eth0 queue", "wire", "default/api"]);
  assert.deepEqual(way.map((s) => s.findings), [[], [], [0], [], [], [], []]);
  assert.equal(way.at(-1)?.more, "via default/api");
});

test("what comes in passes the wire first; what stays here passes none", () => {
  assert.deepEqual(wayOf(...args(world([stage("decap", "tunl0", 1)], [], {}, "in"))).map((s) => s.title), ["default/web", "wire", "tunl0", "default/api"]);
  assert.deepEqual(wayOf(...args(world([stage("forward", "pod", 1)], [], {}, "local"))).map((s) => s.title), ["default/web", "pod", "default/api"]);
});

const args = ({ o, detail }: { o: Overview; detail: Detail }): [Overview, Detail] => [o, detail];

test("a place where all is lost is on the way, though no packet has passed it", () => {
  const drops = [{ stage: "queue", device: "tunl0", direction: "out", reason: "QDISC_DROP", location: "x", packets: 7, per_second: 1.4 }];
  const way = wayOf(...args(world([], [finding({ kind: "drop" })], { drops })));
  const at = way.find((s) => s.title === "tunl0");
  assert.equal(at?.lost, 7);
  assert.equal(at?.reason, "QDISC_DROP");
  assert.deepEqual(at?.findings, [0]);
});

test("a finding of no place here stands at the wire; of what stays here, at the receiver", () => {
  const beyond = finding({ cause: "remote-loss", stage: null, device: null });
  assert.deepEqual(wayOf(...args(world([], [beyond]))).find((s) => s.kind === "wire")?.findings, [0]);
  const local = wayOf(...args(world([], [{ ...beyond, direction: null }], {}, "local")));
  assert.deepEqual(local.at(-1)?.findings, [0]);
});

test("findings of other pairs are not this one's, but those of a device on its way are", () => {
  const stages = [stage("queue", "eth0", 1)];
  const others = [{ src: "a/b", dst: "c/d" }];
  const own = (f: Partial<Finding>) => findingsOf(...args(world(stages, [finding(f)])));
  assert.deepEqual(own({ pairs: others }), []);
  assert.deepEqual(own({ device: "eth0", pairs: others, pairs_total: 1 }), []);
  assert.deepEqual(own({ device: "eth0", pairs: others, pairs_total: 20 }), [0]);
  assert.deepEqual(own({ device: "eth0", pairs: null, pairs_total: 0 }), [0]);
  assert.deepEqual(own({ device: "eth0", pairs: null, pairs_total: 0, direction: "in" }), []);
  assert.deepEqual(own({ device: "eth1", pairs: null, pairs_total: 0 }), []);
});

test("a sentence is drawn as the worst of its findings: what is told as info is no warning", () => {
  const { o } = world([], ["info", "warning", "critical"].map((severity) => finding({ severity })));
  assert.equal(worst(o, []), "");
  assert.equal(worst(o, [0]), "info");
  assert.equal(worst(o, [0, 1]), "warning");
  assert.equal(worst(o, [1, 2, 0]), "critical");
});

test("devices without a queue come from the packets themselves", () => {
  const slow = [{
    time: "", kind: "finished", total_seconds: 1, hooks: [{ hook: "ingress", device: "cali1", role: "pod" }],
    stages: [{ stage: "forward", device: "tunl0", seconds: 1 }, { stage: "queue", device: "eth0", seconds: 1, no_queue: true }],
  }];
  const way = wayOf(...args(world([stage("forward", "tunl0", 1)], [], { slow })));
  assert.deepEqual(way.map((s) => s.title), ["default/web", "cali1", "tunl0", "eth0", "wire", "default/api"]);
  assert.equal(way[3]?.now, null);
});

test("a packet whose end nobody saw is not drawn where it was last", () => {
  const lostSight = { ...stage("unknown", "eth0", null), packets: 0, held: 3 };
  assert.deepEqual(wayOf(...args(world([lostSight], []))).map((s) => s.title), ["default/web", "wire", "default/api"]);
});

test("as many boxes in a row as there is room for", () => {
  const way = wayOf(...args(world([stage("forward", "tunl0", 1), stage("encap", "tunl0", 1)], [])));
  for (const [width, columns] of [[200, 1], [480, 3], [3000, way.length]] as [number, number][]) {
    const l = laidOut(way, width, () => 100, () => 30);
    assert.equal(l.columns, columns);
    assert.equal(l.placed.length, way.length);
    assert.ok(l.placed.every((p) => p.x + p.width <= width && p.y + p.height <= l.height));
  }
});

test("a pair's key is read as it is written", () => {
  const pair = { src: { namespace: "", workload: "_external" }, dst: { namespace: "a", workload: "b" }, direction: "in" };
  assert.equal(pairKey(pair), "|_external|a|b|in");
  assert.deepEqual(parsePair(pairKey(pair)), pair);
  assert.equal(parsePair("a|b"), null);
});
