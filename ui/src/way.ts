// The way of a pair as a list of stations, in the order in which packets meet them. Pure: what is drawn of it is in picture.tsx.

import { name, type Detail, type Device, type Finding, type Overview, type Place, type Stage } from "./api";
import { seconds } from "./format";

export interface Station {
  kind: "pod" | "device" | "stage" | "wire";
  title: string; // the workload, or the device
  stage: string; // "" where nothing is timed
  what: string; // what happens there
  more: string; // a line of what else is known
  role?: string; // of the device
  now: number | null; // p50, in seconds
  p99: number | null;
  usual: number | null; // p50
  threshold: number | null; // of the p50
  held: number;
  oldest: number;
  lost: number;
  lostPerSecond: number;
  reason: string;
  share: number;
  slow: boolean;
  note: string; // what is wrong and no finding
  findings: number[]; // indexes of the overview's
}

const blank = {
  stage: "", more: "",
  now: null, p99: null, usual: null, threshold: null, held: 0, oldest: 0, lost: 0, lostPerSecond: 0, reason: "", share: 0, slow: false,
  note: "",
};

/** roleOf is that of a stage's device: pods' devices are called pod, or pod:eth0 inside. */
export function roleOf(device: string, devices: Device[]): string {
  if (device === "pod" || device.startsWith("pod:")) return "pod";
  return devices.find((d) => d.name === device)?.role ?? "other";
}

/** rank is where a stage lies on the way through a node. */
function rank(p: Place, role: string): number {
  switch (p.stage) {
    case "pod-queue":
      return -1;
    case "decap":
      return 0;
    case "forward":
      return 1;
    case "queue":
      return role === "overlay" ? 2 : role === "uplink" ? 4 : 5;
    case "encap":
      return 3;
  }
  return 6;
}

const doing: Record<string, string> = {
  "pod-queue": "queue in the pod",
  decap: "decapsulation",
  forward: "routing, rules",
  queue: "queue",
  encap: "encapsulation",
  deliver: "to the socket",
  unknown: "place unknown",
};

/** doingIn says what happens in a stage. */
export const doingIn = (stage: string): string => doing[stage] ?? stage;

/** findingsOf are the indexes of the findings that name the pair. */
export function findingsOf(o: Overview, detail: Detail): number[] {
  const src = name(detail.row.src);
  const dst = name(detail.row.dst);
  const at = new Set(detail.row.stages.map((s) => s.device));
  return o.findings
    .map((_, i) => i)
    .filter((i) => {
      const f = o.findings[i] as Finding;
      const pairs = f.pairs ?? [];
      if (pairs.some((p) => p.src === src && p.dst === dst)) return f.direction === null || f.direction === detail.row.direction;
      // More pairs are hurt than are listed, or none in particular: the device tells.
      return f.device !== null && f.device !== "pod" && at.has(f.device) && (pairs.length === 0 || f.pairs_total > pairs.length) &&
        (f.direction === null || f.direction === detail.row.direction);
    });
}

/** worst is the worst severity of some findings; "" without any. */
export const worst = (o: Overview, findings: number[]): string =>
  ["critical", "warning", "info"].find((s) => findings.some((i) => o.findings[i]?.severity === s)) ?? "";

/** wayOf makes the stations of a pair. */
export function wayOf(o: Overview, detail: Detail): Station[] {
  const { row } = detail;
  const own = findingsOf(o, detail);
  // Packets whose end nobody saw are somewhere, and not there.
  const places: Place[] = row.stages.filter((s) => s.stage !== "unknown" || s.packets > 0).map(({ stage, device }) => ({ stage, device }));
  const add = (p: Place) => {
    if (!places.some((q) => q.stage === p.stage && q.device === p.device)) places.push(p);
  };
  for (const d of detail.drops ?? []) add({ stage: d.stage, device: d.device });
  for (const i of own) {
    const f = o.findings[i] as Finding;
    if (f.device && f.stage) add({ stage: f.stage, device: f.device });
  }
  // Devices without a queue have no time of their own: the packets tell that they pass them.
  const journey = (detail.slow ?? []).find((j) => j.kind === "finished");
  const untimed = (journey?.stages ?? []).filter((s) => s.no_queue && !places.some((p) => p.device === s.device));
  for (const s of untimed) add({ stage: s.stage, device: s.device });
  const order = places.map((p, i) => ({ p, i, rank: rank(p, roleOf(p.device, o.devices)) }));
  order.sort((x, y) => x.rank - y.rank || x.i - y.i);

  const told = new Set<number>();
  const stages = order.map(({ p }): Station => {
    const stage: Partial<Stage> = row.stages.find((s) => s.stage === p.stage && s.device === p.device) ?? {};
    const drops = (detail.drops ?? []).filter((d) => d.stage === p.stage && d.device === p.device);
    const findings = own.filter((i) => o.findings[i]?.device === p.device && (o.findings[i]?.stage ?? p.stage) === p.stage);
    findings.forEach((i) => told.add(i));
    return {
      ...blank,
      kind: "stage",
      title: p.device || (p.stage === "unknown" ? "this node" : p.stage),
      stage: p.stage,
      what: untimed.some((s) => s.stage === p.stage && s.device === p.device) ? "has no queue" : doingIn(p.stage),
      role: roleOf(p.device, o.devices),
      now: stage.delay?.p50_seconds ?? null,
      p99: stage.delay?.p99_seconds ?? null,
      usual: stage.baseline_p50_seconds ?? null,
      threshold: stage.warn_above_seconds ?? null,
      held: stage.held ?? 0,
      oldest: stage.oldest_seconds ?? 0,
      lost: drops.reduce((sum, d) => sum + d.packets, 0),
      lostPerSecond: drops.reduce((sum, d) => sum + d.per_second, 0),
      reason: drops[0]?.reason ?? "",
      share: stage.share ?? 0,
      slow: stage.slow ?? false,
      findings,
    };
  });
  // Findings at a device that lies on the way, at a stage of its own that does not.
  for (const i of own) {
    const at = told.has(i) ? undefined : stages.find((s) => s.title === o.findings[i]?.device);
    if (at) {
      at.findings.push(i);
      told.add(i);
    }
  }
  const beyond = own.filter((i) => !told.has(i));
  const service = row.service ?? row.endpoint_of;
  const source: Station = { ...blank, kind: "pod", title: name(row.src), what: "sends", findings: [] };
  const target: Station = { ...blank, kind: "pod", title: name(row.dst), what: "receives", more: service ? `via ${service}` : "", findings: [] };
  const first = journey?.hooks?.[0];
  if (first && !stages.some((s) => s.title === first.device)) {
    stages.unshift({ ...blank, kind: "device", title: first.device, what: first.role === "pod" ? "the pod's device" : `comes in here (${first.role})`, findings: [] });
  }
  if (row.no_answer) {
    target.note = `no answer for ${Math.round(row.no_answer.seconds)} s`;
  }
  if (row.direction === "local") {
    target.findings = beyond;
    return [source, ...stages, target];
  }
  const wire: Station = { ...blank, kind: "wire", title: "wire", what: "to other nodes", findings: beyond };
  if (row.tcp?.rtt_mean_seconds != null) wire.more = `RTT ${seconds(row.tcp.rtt_mean_seconds)}`;
  return row.direction === "in" ? [source, wire, ...stages, target] : [source, ...stages, wire, target];
}

/** Placed is a station with its box, in pixels. */
export interface Placed {
  station: Station;
  x: number;
  y: number;
  width: number;
  height: number;
}

export const box = { width: 136, gapX: 22, gapY: 36 };

/** laidOut puts stations into rows as wide as there is room for, each row from left to right, as high as its highest, with below() of room under it. */
export function laidOut(
  stations: Station[],
  width: number,
  high: (s: Station) => number,
  below: (row: Station[]) => number,
): { placed: Placed[]; height: number; columns: number } {
  const columns = Math.max(1, Math.min(stations.length, Math.floor((width - 2 + box.gapX) / (box.width + box.gapX))));
  const wide = columns === 1 ? width - 2 : box.width;
  const placed: Placed[] = [];
  let y = 1;
  for (let i = 0; i < stations.length; i += columns) {
    const row = stations.slice(i, i + columns);
    const height = Math.max(...row.map(high));
    row.forEach((station, j) => placed.push({ station, x: 1 + j * (wide + box.gapX), y, width: wide, height }));
    y += height + below(row) + box.gapY;
  }
  return { placed, height: y - box.gapY + 1, columns };
}
