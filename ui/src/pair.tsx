import { name, pairKey, type Overview, type Row } from "./api";
import { Findings } from "./findings";
import { callsSaid } from "./calls";
import { count, percent, seconds } from "./format";
import { History } from "./history";
import { Name, Table } from "./parts";
import { Picture, described, lost, usual } from "./picture";
import { callCharts, nodeChart, spanOf, type Chart } from "./series";
import { useSite } from "./site";
import { findingsOf, wayOf } from "./way";

const back: Record<string, string> = { out: "in", in: "out", local: "local" };

/** Pair shows one pair: its way as a picture, its times over the last minutes, its findings, its slowest packets. past: as it was once. */
export function Pair({ overview: o, pair, past }: { overview: Overview; pair: Pick<Row, "src" | "dst" | "direction">; past?: boolean }) {
  const site = useSite();
  const title = `${name(pair.src)} → ${name(pair.dst)}`;
  const detail = o.detail;
  const matches = detail && pairKey(detail.row) === pairKey(pair);
  const reverse = pairKey({ src: pair.dst, dst: pair.src, direction: back[pair.direction] ?? pair.direction });
  const stations = matches ? wayOf(o, detail) : [];
  const own = matches ? findingsOf(o, detail) : [];
  const taken = Date.parse(o.taken) / 1000;
  const charts = matches ? [...callCharts(detail.request_history, taken), nodeChart(detail.history ?? [], taken)].filter((c): c is Chart => c !== null) : [];
  const passed = matches && detail.row.packets_per_second > 0;
  return (
    <section aria-labelledby="pair">
      <p>{!past && <><a href={site.home}>All pairs</a> · </>}<a href={site.pair(reverse)}>The way back</a></p>
      <h2 id="pair"><Name>{title}</Name> <span class="faint">{pair.direction}</span></h2>
      {!matches && <p role="status">Waiting for the agent …</p>}
      {matches && (
        <>
          <p>
            {passed
              ? `${count(detail.row.packets_per_second)} packets/s · ${count(detail.row.bits_per_second)} bit/s · ${seconds(detail.row.path?.p50_seconds)} (p50), ${seconds(detail.row.path?.p99_seconds)} (p99) on this node`
              : past ? "No packet of this pair passed then, or it is none of the pairs that were kept." : "No packet of this pair has passed lately."}
          </p>
          {detail.row.requests && <p>{callsSaid(detail.row.requests)}</p>}
          <Picture overview={o} stations={stations} label={`The way of ${title}: ${stations.map((s) => described(o, s)).join(". ")}`} />
          <Findings overview={o} which={own} />
          {charts.map((c) => <History key={c.title} chart={c} span={spanOf(charts)} />)}
          <h3>Stages</h3>
          <Table label="Stages of this pair">
            <thead>
              <tr>
                {["Stage", "Device"].map((t) => <th key={t} scope="col">{t}</th>)}
                {["p50", "p99", "As usual", "Share", "In flight", "Lost"].map((t) => <th key={t} scope="col" class="number">{t}</th>)}
              </tr>
            </thead>
            <tbody>
              {stations.filter((s) => s.kind === "stage" && s.what !== "has no queue").map((s) => (
                <tr key={s.title + s.what}>
                  <td>{s.stage} <span class="faint">{s.what}</span></td>
                  <td><Name>{s.title}</Name></td>
                  <td class={`number ${s.slow ? "bad" : ""}`}>{seconds(s.now)}</td>
                  <td class="number">{seconds(s.p99)}</td>
                  <td class="number">{usual(s).replace("usual ", "")}</td>
                  <td class="number">{percent(s.share)}</td>
                  <td class="number">{s.held ? `${count(s.held)}, ${seconds(s.oldest)}` : ""}</td>
                  <td class={`number ${s.lost ? "bad" : ""}`}>{lost(s)}</td>
                </tr>
              ))}
            </tbody>
          </Table>
          {(detail.slow ?? []).length > 0 && (
            <>
              <h3>Slowest packets</h3>
              <ul>
                {detail.slow.map((j) => (
                  <li key={j.time}>
                    {new Date(j.time).toTimeString().slice(0, 8)} {seconds(j.total_seconds)}:{" "}
                    {(j.stages ?? []).map((s) => `${s.stage} ${s.device} ${seconds(s.seconds)}`).join(", ")}
                  </li>
                ))}
              </ul>
            </>
          )}
        </>
      )}
    </section>
  );
}
