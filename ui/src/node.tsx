import { useEffect, useState } from "preact/hooks";
import type { Overview, Status } from "./api";
import { count, percent, seconds } from "./format";
import { Name, Table } from "./parts";
import { ask } from "./stream";

/** NodeView shows this node's devices, and how much the agent sees of it. */
export function NodeView({ overview: o, token }: { overview: Overview; token: string }) {
  const [status, setStatus] = useState<Status | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    ask("v1/status", token, abort.signal)
      .then((a) => a.json())
      .then(setStatus, () => {}); // the stream tells what is wrong
    return () => abort.abort();
  }, [token, o.started]);
  const hooks = status?.hooks ?? [];
  return (
    <>
      <section aria-labelledby="devices">
        <h2 id="devices">Devices</h2>
        <Table label="Table of devices">
          <thead>
            <tr>
              {["Device", "Role", "Root qdisc"].map((t) => <th key={t} scope="col">{t}</th>)}
              {["Sent/s", "Received/s", "In queue (p50)", "As usual", "Backlog", "Lost/s"].map((t) => <th key={t} scope="col" class="number">{t}</th>)}
              <th scope="col">What is unusual</th>
            </tr>
          </thead>
          <tbody>
            {(o.devices ?? []).map((d) => (
              <tr key={d.name}>
                <td><Name>{d.name}</Name>{d.workload && <span class="faint"> <Name>{d.workload}</Name></span>}</td>
                <td>{d.role}</td>
                <td>{d.root_qdisc.kind}</td>
                <td class="number">{count(d.tx_packets_per_second)}</td>
                <td class="number">{count(d.rx_packets_per_second)}</td>
                <td class="number">{seconds(d.queue?.p50_seconds)}</td>
                <td class="number">{d.baseline_p50_seconds != null ? seconds(d.baseline_p50_seconds) : d.warn_above_seconds != null ? `≤ ${seconds(d.warn_above_seconds)}` : ""}</td>
                <td class="number">{count(d.backlog_packets)}</td>
                <td class={`number ${d.drops_per_second > 0 ? "bad" : ""}`}>{count(d.drops_per_second)}</td>
                <td class={(d.findings ?? []).length ? "bad" : ""}><Name>{[...(d.findings ?? []), ...(d.unusual ?? [])].join("; ")}</Name></td>
              </tr>
            ))}
          </tbody>
        </Table>
      </section>
      <section aria-labelledby="coverage">
        <h2 id="coverage">How much is seen</h2>
        <dl>
          <div><dt>Node</dt><dd><Name>{o.node}</Name></dd></div>
          <div><dt>Agent</dt><dd>{o.version}, since {new Date(o.started).toLocaleString()}</dd></div>
          <div><dt>Kernel</dt><dd>{o.kernel}</dd></div>
          <div><dt>Hooks</dt><dd>{o.hooks_up} up{(o.hooks_missing ?? []).length > 0 && <strong class="bad">, missing: {o.hooks_missing.join("; ")}</strong>}</dd></div>
          <div><dt>Sampled</dt><dd>{percent(o.sample_ratio)} of packets</dd></div>
          <div><dt>Records lost</dt><dd>{count(o.records_lost)}</dd></div>
        </dl>
        <Table label="Coverage by device">
          <thead><tr><th scope="col">Device</th><th scope="col">Direction</th><th scope="col" class="number">Seen</th><th scope="col">Why not all</th></tr></thead>
          <tbody>
            {(o.coverage ?? []).map((c, i) => (
              <tr key={i}>
                <td><Name>{c.device ?? "tracepoint"}</Name></td>
                <td>{c.direction}</td>
                <td class="number">{c.ratio === null ? "too few packets" : percent(c.ratio)}</td>
                <td>{c.reason}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      </section>
      {hooks.length > 0 && (
        <section aria-labelledby="hooks">
          <h2 id="hooks">Hooks</h2>
          <Table label="Table of hooks">
            <thead><tr>{["Hook", "Device", "Role", "State"].map((t) => <th key={t} scope="col">{t}</th>)}</tr></thead>
            <tbody>
              {hooks.map((h) => (
                <tr key={`${h.program} ${h.hook} ${h.device}`}>
                  <td>{h.hook}</td>
                  <td><Name>{h.device ?? ""}</Name></td>
                  <td>{h.role}</td>
                  <td class={h.up && !h.silent ? "" : "bad"}>{h.silent ? "no packet reaches it" : h.up ? "up" : h.error || (h.attached ? "others run before it" : "missing")}</td>
                </tr>
              ))}
              {(status?.omitted ?? []).map((h) => (
                <tr key={`omitted ${h.hook} ${h.device}`}><td>{h.hook}</td><td><Name>{h.device ?? ""}</Name></td><td /><td>left out: {h.reason}</td></tr>
              ))}
            </tbody>
          </Table>
        </section>
      )}
    </>
  );
}
