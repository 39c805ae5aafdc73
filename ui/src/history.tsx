import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { count, duration, seconds } from "./format";
import { partClass } from "./parts";
import { useWidth } from "./picture";
import { lonely, stacked, type Chart, type Values } from "./series";

/** color is what a class of style.css fills with, as a canvas needs it. */
function color(property: string, probe: HTMLElement, name: string): string {
  probe.className = name;
  return getComputedStyle(probe).getPropertyValue(property);
}

/** figure is one of a chart's. */
const figure = (c: Chart, v: number): string => (c.unit === "seconds" ? seconds(v) : count(v));

/** said is a chart in words: of each series the range. */
function said(c: Chart): string {
  const parts = c.series.map((s) => {
    const values = s.values.filter((v) => v != null);
    return `${s.label} ${figure(c, Math.min(...values))} to ${figure(c, Math.max(...values))}`;
  });
  return `${c.title}, over ${duration((c.times.at(-1) ?? 0) - (c.times[0] ?? 0))}: ${parts.join(", ")}`;
}

/** History draws a chart over time, stacked. span is the time that is shown. */
export function History({ chart, span }: { chart: Chart; span: [number, number] }) {
  const [ref, width] = useWidth<HTMLDivElement>();
  const probe = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shown = useRef(span);
  shown.current = span;
  const [scheme, setScheme] = useState(0);
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => setScheme((n) => n + 1);
    dark.addEventListener("change", changed);
    return () => dark.removeEventListener("change", changed);
  }, []);
  const labels = chart.series.map((s) => s.label).join("|");
  // The last is drawn first: each covers what is above it.
  const data = (): uPlot.AlignedData => [chart.times, ...stacked(chart.series).reverse()];
  useEffect(() => {
    const at = ref.current;
    const style = probe.current;
    if (!at || !style || !width) return;
    const text = color("color", style, "");
    const grid = { stroke: color("border-top-color", style, "grid"), width: 1 };
    const axis = { stroke: text, grid, ticks: grid, font: "12px system-ui" };
    const made = new uPlot(
      {
        width,
        height: chart.unit === "seconds" ? 200 : 110,
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { range: () => shown.current }, y: { range: (_, __, max) => [0, max * 1.05 || (chart.unit === "seconds" ? 1e-6 : 1)] } },
        axes: [
          { ...axis, size: 32, space: 90, values: (_, ticks) => ticks.map((t) => new Date(t * 1000).toTimeString().slice(0, 8)) },
          { ...axis, size: 64, values: (_, ticks) => ticks.map((v) => figure(chart, v)) },
        ],
        series: [
          {},
          ...[...chart.series].reverse().map((s) => {
            const fill = color("fill", style, partClass(s.part));
            return { label: s.label, fill, stroke: fill, width: 1, points: { show: false, filter: (u: uPlot, i: number) => lonely(u.data[i] as Values) } };
          }),
        ],
      },
      data(),
      at,
    );
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [width, labels, scheme]);
  useEffect(() => plot.current?.setData(data()), [chart, ...span]);
  return (
    <figure>
      <figcaption>{chart.title}</figcaption>
      <div ref={ref} class="plot" role="img" aria-label={said(chart)} />
      <span ref={probe} hidden />
      <p class="legend">
        {chart.series.map((s) => (
          <span key={s.label}><svg width="12" height="12" aria-hidden="true"><rect class={partClass(s.part)} width="12" height="12" /></svg> {s.label}</span>
        ))}
      </p>
    </figure>
  );
}
