import { type Dispatch, type StateUpdater, useEffect, useRef, useState } from "preact/hooks";
import { name, pairKey, type Overview, type Row } from "./api";
import { count, seconds } from "./format";
import { Bar, Name, Table, partClass } from "./parts";
import { useSite } from "./site";

/** Choice is which rows are wanted. The agent filters and sorts: by the words of tracer top, and of all pairs there are. */
export interface Choice {
  filter: string;
  sort: string;
  limit: number;
}

export const firstRows = 100;
const mostRows = 400;

/** interval is between two overviews: as often as the agent writes a point of its histories, and judges. */
const interval = "5s";

/** queryOf is what the agent is asked for a view: rows, and one pair in detail. */
export function queryOf(pair: string, choice: Choice, rows: boolean): string {
  const q = new URLSearchParams({ by: "pair", interval, limit: rows ? String(choice.limit) : "1" });
  if (rows && choice.sort !== "pain") q.set("sort", choice.sort);
  if (rows && choice.filter) q.set("filter", choice.filter);
  if (pair) q.set("pair", pair);
  return q.toString();
}

interface Column {
  key: string; // to sort by; "" if it cannot be
  title: string;
  narrow: boolean; // shown on a narrow page too
  number: boolean;
  cell: (r: Row) => preact.ComponentChildren;
}

/** wrong is what is wrong with a row, if anything is. */
function wrong(r: Row): string {
  if (r.no_answer) return `no answer for ${Math.round(r.no_answer.seconds)} s`;
  const worst = r.stages.find((s) => s.stage === r.worst?.stage && s.device === r.worst?.device);
  return worst?.slow ? `${worst.stage} ${worst.device}` : "";
}

function Between({ row: r }: { row: Row }) {
  const site = useSite();
  return (
    <>
      <a href={site.pair(pairKey(r))}><Name>{`${name(r.src)} → ${name(r.dst)}`}</Name></a>
      {(r.service || r.endpoint_of) && <span class="faint"> through <Name>{r.service || r.endpoint_of || ""}</Name></span>}
    </>
  );
}

const columns: Column[] = [
  { key: "src", title: "Pair", narrow: true, number: false, cell: (r) => <Between row={r} /> },
  { key: "dir", title: "Direction", narrow: false, number: false, cell: (r) => r.direction },
  { key: "pps", title: "Packets/s", narrow: false, number: true, cell: (r) => count(r.packets_per_second) },
  { key: "bps", title: "Bits/s", narrow: false, number: true, cell: (r) => count(r.bits_per_second) },
  { key: "p50", title: "p50", narrow: false, number: true, cell: (r) => seconds(r.path?.p50_seconds) },
  { key: "p99", title: "p99", narrow: true, number: true, cell: (r) => seconds(r.path?.p99_seconds) },
  { key: "", title: "Time by stage", narrow: false, number: false, cell: (r) => <Bar row={r} /> },
  { key: "worst", title: "What is wrong", narrow: true, number: false, cell: (r) => wrong(r) && <strong class="bad">{wrong(r)}</strong> },
  { key: "held", title: "In flight", narrow: false, number: true, cell: (r) => (r.held ? count(r.held) : "") },
  { key: "rtt", title: "Round trip", narrow: false, number: true, cell: (r) => (r.tcp?.rtt_mean_seconds != null ? seconds(r.tcp.rtt_mean_seconds) : "") },
  { key: "resent", title: "Resent/s", narrow: false, number: true, cell: (r) => (r.tcp?.retransmits_per_second ? count(r.tcp.retransmits_per_second) : "") },
  {
    key: "drops", title: "Lost/s", narrow: true, number: true,
    cell: (r) => (r.drops.packets ? <span class="bad">{count(r.drops.per_second)} <span class="reason faint">{r.drops.reason}</span></span> : ""),
  },
];

const stages = ["pod-queue", "decap", "forward", "queue", "encap", "deliver"];

/** Pairs is the table of pairs. error: what is wrong with the filter. */
export function Pairs(props: { overview: Overview; choice: Choice; choose: Dispatch<StateUpdater<Choice>>; error: string; stale: boolean }) {
  const { overview: o, choice, choose, error, stale } = props;
  const [text, setText] = useState(choice.filter);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (filter: string) => {
    setText(filter);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => choose((c) => ({ ...c, filter: filter.trim(), limit: firstRows })), 300);
  };
  const rows = o.rows ?? [];
  const sort = (key: string) => choose({ ...choice, sort: choice.sort === key ? `-${key}` : key });
  return (
    <section aria-labelledby="pairs">
      <h2 id="pairs">Pairs</h2>
      <form class="filter" role="search" onSubmit={(e) => e.preventDefault()}>
        <label for="filter">Filter</label>
        <input
          id="filter" type="search" value={text} autocomplete="off" spellcheck={false} placeholder="web device=tunl0 p99>10ms"
          aria-describedby="filter-help" aria-invalid={error !== ""} onInput={(e) => type(e.currentTarget.value)}
        />
        <button type="button" onClick={() => choose({ ...choice, sort: "pain" })} aria-pressed={choice.sort === "pain"}>What hurts most first</button>
        <p id="filter-help" class={error ? "bad" : "faint"} role="status">
          {error || (stale && "Asking the agent …") || `${rows.length < o.rows_total ? `${rows.length} of ` : ""}${o.rows_total} ${o.rows_total === 1 ? "pair" : "pairs"}`}
        </p>
      </form>
      <p class="legend">
        {stages.map((s) => (
          <span key={s}><svg width="12" height="12" aria-hidden="true"><rect class={partClass(s)} width="12" height="12" /></svg> {s}</span>
        ))}
      </p>
      <div aria-busy={stale}>
        <Table label="Pairs of workloads">
          <thead>
            <tr>
              {columns.map((c) => {
                const by = choice.sort === c.key ? "descending" : choice.sort === `-${c.key}` ? "ascending" : undefined;
                return (
                  <th key={c.title} scope="col" class={`${c.narrow ? "" : "wide"} ${c.number ? "number" : ""}`} aria-sort={c.key ? (by ?? "none") : undefined}>
                    {c.key ? <button type="button" onClick={() => sort(c.key)}>{c.title}<span aria-hidden="true">{by === "descending" ? " ▾" : by ? " ▴" : ""}</span></button> : c.title}
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {rows.map((r) => (
              <tr key={pairKey(r)}>
                {columns.map((c) => (
                  <td key={c.title} class={`${c.narrow ? "" : "wide"} ${c.number ? "number" : ""}`}>{c.cell(r)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </Table>
      </div>
      {rows.length === 0 && !error && !stale && <p>{choice.filter ? "No pair matches the filter." : "No packets have passed yet."}</p>}
      {!stale && rows.length < o.rows_total && rows.length < mostRows && (
        <p><button type="button" class="more" onClick={() => choose({ ...choice, limit: Math.min(mostRows, choice.limit * 4) })}>Show more</button></p>
      )}
      {!stale && rows.length < o.rows_total && rows.length >= mostRows && <p>A filter shows the others.</p>}
    </section>
  );
}
