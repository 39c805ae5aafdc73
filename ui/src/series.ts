// A pair's times as series over time, stacked. Pure: what is drawn of them is in history.tsx.

import type { Trend } from "./api";

/** remoteCalls are the stages that an application waits for as a whole; all others are this node's share of a packet's way. */
const remoteCalls = new Set(["connect", "request"]);

export interface Series {
  label: string;
  stage: string;
  values: (number | null)[]; // seconds, by point
}

/** Chart is what is stacked together: times that add up. */
export interface Chart {
  title: string;
  times: number[]; // Unix seconds
  series: Series[];
}

/** charts groups trends by what adds up, and gives each point its time: the last is that of taken. */
export function charts(history: Trend[], taken: number): Chart[] {
  const groups = new Map<string, Trend[]>();
  for (const t of history) {
    const title = remoteCalls.has(t.stage) ? "Remote calls" : "On this node";
    groups.set(title, [...(groups.get(title) ?? []), t]);
  }
  return [...groups].map(([title, trends]) => {
    const points = Math.max(...trends.map((t) => t.p50_seconds.length));
    const every = trends[0]?.every_seconds || 5;
    return {
      title,
      times: Array.from({ length: points }, (_, i) => taken - (points - 1 - i) * every),
      series: trends.map((t) => ({
        label: `${t.stage} ${t.device}`.trim(),
        stage: t.stage,
        values: [...Array<null>(points - t.p50_seconds.length).fill(null), ...t.p50_seconds],
      })),
    };
  });
}

/** stacked adds each series to those below it. A point at which nothing passed at all is a gap; else what did not pass adds nothing. */
export function stacked(series: Series[]): (number | null)[][] {
  const points = series[0]?.values.length ?? 0;
  const sums: (number | null)[] = Array.from({ length: points }, (_, i) => (series.some((s) => s.values[i] != null) ? 0 : null));
  return series.map((s) => {
    for (let i = 0; i < points; i++) {
      const sum = sums[i];
      if (sum != null) sums[i] = sum + (s.values[i] ?? 0);
    }
    return [...sums];
  });
}
