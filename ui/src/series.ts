// A pair's times as series over time, stacked. Pure: what is drawn of them is in history.tsx.

import type { Place, RequestTrend, Trend } from "./api";

export type Values = (number | null)[];

export interface Series {
  label: string;
  part: string; // a stage, or what else has a colour
  values: Values; // by point
}

/** Chart is what is stacked together: what adds up. */
export interface Chart {
  title: string;
  unit: "seconds" | "per second";
  times: number[]; // Unix seconds
  series: Series[];
}

/** timesOf gives each point its time: the last is that of taken. */
const timesOf = (points: number, every: number, taken: number): number[] =>
  Array.from({ length: points }, (_, i) => taken - (points - 1 - i) * (every || 5));

/** nodeChart is the time that packets spend on this node; null if none has passed. */
export function nodeChart(history: Trend[], taken: number): Chart | null {
  if (!history.length) return null;
  const points = Math.max(...history.map((t) => t.p50_seconds.length));
  return {
    title: "Packets on this node: p50 by stage",
    unit: "seconds",
    times: timesOf(points, history[0]?.every_seconds ?? 0, taken),
    series: history.map((t) => stageSeries(t, t.p50_seconds, points)),
  };
}

const stageSeries = (p: Place, values: Values, points: number): Series => ({
  label: `${p.stage} ${p.device}`.trim(),
  part: p.stage,
  values: [...Array<null>(points - values.length).fill(null), ...values],
});

const some = (values: Values): boolean => values.some((v) => v != null);

/** spanOf is the time that all charts of a pair are to show: five minutes, which is what the agent keeps, or a minute where there is less. */
export function spanOf(charts: Chart[]): [number, number] {
  const last = Math.max(...charts.map((c) => c.times.at(-1) ?? 0));
  const first = Math.min(...charts.map((c) => c.times[0] ?? last));
  return [Math.max(last - 300, Math.min(first, last - 60)), last];
}

/** lonely are the points between two gaps, which have no line. */
export const lonely = (values: Values): number[] =>
  values.flatMap((v, i) => (v != null && values[i - 1] == null && values[i + 1] == null ? [i] : []));

/** callCharts are where the time of remote calls goes, and how many there are. What is not known at all has no series. */
export function callCharts(calls: RequestTrend | undefined, taken: number): Chart[] {
  if (!calls) return [];
  const points = calls.per_second.length;
  const times = timesOf(points, calls.every_seconds, taken);
  const out: Chart[] = [];
  const server = some(calls.server_p50_seconds);
  const client = some(calls.client_p50_seconds);
  if (server || client) {
    const rest = server ? "the rest (network)" : "the rest (network, server)";
    out.push({
      title: client ? "Remote calls: p50, by where the time goes" : "Remote calls: p50, as far as it is spent here",
      unit: "seconds",
      times,
      series: [
        { label: "server", part: "server", values: calls.server_p50_seconds },
        ...calls.stages.map((s) => stageSeries(s, s.seconds, points)),
        { label: "this node, other", part: "other", values: calls.other_seconds.some((v) => v) ? calls.other_seconds : [] },
        { label: rest, part: "rest", values: calls.rest_seconds },
      ].filter((s) => some(s.values)),
    });
  }
  out.push({
    title: "Remote calls per second",
    unit: "per second",
    times,
    series: [
      { label: "answered", part: "answered", values: calls.per_second },
      { label: "unanswered", part: "unanswered", values: calls.unanswered_per_second },
    ],
  });
  return out;
}

/** stacked adds each series to those below it. A point at which nothing passed at all is a gap; else what did not pass adds nothing. */
export function stacked(series: Series[]): Values[] {
  const points = series[0]?.values.length ?? 0;
  const sums: Values = Array.from({ length: points }, (_, i) => (series.some((s) => s.values[i] != null) ? 0 : null));
  return series.map((s) => {
    for (let i = 0; i < points; i++) {
      const sum = sums[i];
      if (sum != null) sums[i] = sum + (s.values[i] ?? 0);
    }
    return [...sums];
  });
}
