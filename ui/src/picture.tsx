import { useEffect, useRef, useState } from "preact/hooks";
import { sentenceOf, type Overview } from "./api";
import { count, counted, seconds, shortened, wrapped } from "./format";
import { box, laidOut, worst, type Placed, type Station } from "./way";

const lineHeight = 18;
// As wide as a letter is, in pixels: of a sentence, a name, what is small.
const letter = { sentence: 8, title: 8.2, small: 7, now: 12 };

/** useWidth follows the width of an element. */
export function useWidth<T extends HTMLElement>(): [preact.RefObject<T | null>, number] {
  const ref = useRef<T>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    setWidth(element.clientWidth);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

/** usual says what a stage's time is compared with. */
export function usual(s: Station): string {
  if (s.usual !== null) return `usual ${seconds(s.usual)}`;
  return s.threshold !== null ? `usual ≤ ${seconds(s.threshold)}` : "";
}

/** lost says what is lost at a station. */
export const lost = (s: Station): string => (s.lost ? `${counted(s.lost, "packet")} lost (${count(s.lostPerSecond)}/s)${s.reason ? `, ${s.reason}` : ""}` : "");

/** described is a station in words. */
export function described(o: Overview, s: Station): string {
  return [
    `${s.title}: ${s.what}`,
    s.more,
    s.now !== null && `${seconds(s.now)} (p50), ${seconds(s.p99)} (p99)`,
    usual(s),
    s.held > 0 && `${counted(s.held, "packet")} in flight, the oldest for ${seconds(s.oldest)}`,
    lost(s),
    s.note,
    ...s.findings.map((i) => `${o.findings[i]?.severity}: ${sentenceOf(o, i)}`),
  ]
    .filter(Boolean)
    .join("; ");
}

/** bad tells whether a station is drawn as at fault, and how badly. */
function bad(o: Overview, s: Station): "" | "critical" | "warning" {
  const severity = worst(o, s.findings);
  if (severity === "critical") return severity;
  return severity === "warning" || s.slow || s.lost > 0 || s.note !== "" ? "warning" : "";
}

/** Line is one of a box, with its class. */
type Line = [text: string, kind: "title" | "what" | "now" | "lost"];

/** linesOf is what stands in a station's box. */
function linesOf(s: Station): Line[] {
  const lines: Line[] = [[s.title, "title"], [s.what, "what"]];
  if (s.more) lines.push([s.more, "what"]);
  if (s.now !== null) lines.push([seconds(s.now), "now"], [`p99 ${seconds(s.p99)}`, "what"]);
  if (usual(s)) lines.push([usual(s), "what"]);
  if (s.held > 0) lines.push([`${count(s.held)} in flight`, "what"]);
  if (s.lost) lines.push([`✕ ${count(s.lost)} lost`, "lost"]);
  if (s.lost && s.reason) lines.push([s.reason, "lost"]);
  if (s.note) lines.push([s.note, "lost"]);
  return lines;
}

const high = (kind: Line[1]): number => (kind === "now" ? 26 : lineHeight);

/** heightOf is a box's, by its lines. */
const heightOf = (s: Station): number => linesOf(s).reduce((sum, [, kind]) => sum + high(kind), 20);

function Box({ overview: o, station: s, x, y, width, height }: Placed & { overview: Overview }) {
  const state = bad(o, s);
  const queue = s.stage.includes("queue") && s.what !== "has no queue";
  let at = y + 6;
  return (
    <g class={`station ${s.kind} ${state}`} data-station={s.title} data-state={state}>
      <title>{described(o, s)}</title>
      <rect x={x} y={y} width={width} height={height} rx={s.kind === "pod" ? 20 : s.kind === "wire" ? 0 : 6} />
      {queue && (
        <g class="queue-sign" aria-hidden="true">
          {[0, 1, 2, 3].map((i) => (
            <rect key={i} class={s.held > i || (s.slow && s.held === 0) ? "full" : "empty"} x={x + width - 40 + i * 8} y={y + 32} width="6" height="12" />
          ))}
        </g>
      )}
      {linesOf(s).map(([text, kind], i) => {
        at += high(kind);
        const room = (width - 18) / (kind === "title" ? letter.title : kind === "now" ? letter.now : letter.small);
        return <text key={i} class={kind} x={x + 10} y={at}>{shortened(text, Math.floor(room))}</text>;
      })}
    </g>
  );
}

/** Picture draws the way of a pair. It is as wide as the page has room, in as many rows as that takes. */
export function Picture({ overview: o, stations, label }: { overview: Overview; stations: Station[]; label: string }) {
  const [ref, width] = useWidth<HTMLDivElement>();
  const perLine = Math.max(20, Math.floor((width - 24) / letter.sentence));
  const sentences = (row: Station[]) => [...new Set(row.flatMap((s) => s.findings))].flatMap((i) => wrapped(sentenceOf(o, i), perLine).map((text) => ({ text, i })));
  const below = (row: Station[]) => {
    const n = sentences(row).length;
    return n ? n * lineHeight + 24 : 0;
  };
  const { placed, height, columns } = laidOut(stations, width, heightOf, below);
  return (
    <div ref={ref} class="picture">
      {width > 0 && (
        <svg role="img" aria-label={label} width={width} height={height} viewBox={`0 0 ${width} ${height}`}>
          <defs>
            <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" /></marker>
          </defs>
          {placed.slice(1).map((to, i) => {
            const from = placed[i];
            if (!from) return null;
            const turn = to.y - box.gapY / 2;
            const path =
              from.y === to.y
                ? `M${from.x + from.width} ${from.y + 32}H${to.x - 2}`
                : columns === 1
                  ? `M${from.x + from.width - 24} ${from.y + from.height}V${to.y - 2}`
                  : `M${from.x + from.width / 2} ${from.y + from.height}V${turn}H${to.x + to.width / 2}V${to.y - 2}`;
            return <path key={i} class={`way ${from.station.kind === "wire" || to.station.kind === "wire" ? "wire" : ""}`} d={path} marker-end="url(#arrow)" />;
          })}
          {placed.map((p, i) => <Box key={i} overview={o} {...p} />)}
          {placed.filter((_, i) => i % columns === 0).map((first, r) => {
            const row = placed.slice(r * columns, (r + 1) * columns);
            const said = sentences(row.map((p) => p.station));
            const at = row.find((p) => p.station.findings.length);
            if (!at || !said.length) return null;
            const top = first.y + Math.max(...row.map((p) => p.height)) + 10;
            const state = worst(o, said.map(({ i }) => i));
            return (
              <g key={r} class={`sentence ${state}`}>
                <path d={`M${at.x + 24} ${at.y + at.height}l-6 ${top - at.y - at.height}h12z`} />
                <rect x="1" y={top} width={width - 2} height={said.length * lineHeight + 10} rx="4" />
                {said.map(({ text }, n) => <text key={n} x="11" y={top + 18 + n * lineHeight}>{text}</text>)}
              </g>
            );
          })}
        </svg>
      )}
    </div>
  );
}
