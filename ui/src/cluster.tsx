import { useEffect, useState } from "preact/hooks";
import { name, pairKey, sentence, type ClusterOverview, type Half, type NodeRow } from "./api";
import { Command, Name, Table } from "./parts";
import { count, percent, seconds } from "./format";
import { isCommand } from "./findings";
import { siteOf } from "./site";
import { Refusal, ask } from "./stream";

/** every is between two questions, in milliseconds: each asks all agents. */
const every = 10_000;

/** useCluster asks for the whole cluster while the page can be seen. It keeps the last answer where something fails. */
function useCluster(filter: string, token: string): { cluster: ClusterOverview | null; error: string; filterError: string } {
  const [state, set] = useState<{ cluster: ClusterOverview | null; error: string; filterError: string }>({ cluster: null, error: "", filterError: "" });
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const read = async () => {
      clearTimeout(timer);
      if (document.hidden) return;
      try {
        const answer = await ask(`v1/cluster?${new URLSearchParams({ filter })}`, token, abort.signal);
        const cluster = (await answer.json()) as ClusterOverview;
        set({ cluster, error: "", filterError: "" });
      } catch (e) {
        if (abort.signal.aborted) return;
        const text = (e as Error).message;
        const status = e instanceof Refusal ? e.status : 0;
        if (status === 400) set((s) => ({ ...s, error: "", filterError: text.replace(/^.*?filter: /s, "") }));
        else set((s) => ({ ...s, error: status ? `${sentence(text)}` : "kubectl tracer ui does not answer: it has ended, or the way to it is cut." }));
        if (status === 400 || status === 401 || status === 403) return; // trying again does not help
      }
      if (!abort.signal.aborted) timer = window.setTimeout(() => void read(), every);
    };
    const changed = () => void read();
    document.addEventListener("visibilitychange", changed);
    void read();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", changed);
    };
  }, [filter, token]);
  return state;
}

/** Nodes lists the nodes, those first that somebody is to look at. */
function Nodes({ nodes }: { nodes: NodeRow[] }) {
  const [all, showAll] = useState(false);
  const first = 50;
  return (
    <section aria-labelledby="nodes">
      <h2 id="nodes">Nodes</h2>
      <Table label="Table of nodes">
        <thead>
          <tr>
            <th scope="col">Node</th><th scope="col">Verdict</th>
            <th scope="col" class="number wide">Packets/s</th><th scope="col" class="number wide">Seen</th><th scope="col" class="number wide">Hooks</th>
            <th scope="col" class="wide">Agent</th><th scope="col" class="wide">Kernel</th>
          </tr>
        </thead>
        <tbody>
          {(all ? nodes : nodes.slice(0, first)).map((n) => (
            <tr key={n.name}>
              <td>{n.error ? <Name>{n.name}</Name> : <a href={siteOf(n.name).home}><Name>{n.name}</Name></a>}</td>
              <td class={n.verdict === "healthy" ? "" : "bad"}>{n.error ? <>No answer: <Name>{n.error}</Name></> : n.verdict === "healthy" ? "healthy" : <Name>{n.summary || n.verdict}</Name>}</td>
              <td class="number wide">{n.error ? "" : count(n.packets_per_second)}</td>
              <td class="number wide">{n.coverage === null ? "" : percent(n.coverage)}</td>
              <td class={`number wide ${n.hooks_missing ? "bad" : ""}`}>{n.error ? "" : n.hooks_missing ? `${n.hooks_up}, ${n.hooks_missing} missing` : n.hooks_up}</td>
              <td class="wide">{n.version}</td>
              <td class="wide">{n.kernel}</td>
            </tr>
          ))}
        </tbody>
      </Table>
      {!all && nodes.length > first && <p><button type="button" onClick={() => showAll(true)}>Show all {nodes.length}</button></p>}
    </section>
  );
}

/** wrong is what is wrong with a half, if anything is. */
function wrong(h: Half): string {
  if (h.no_answer) return `no answer for ${Math.round(h.no_answer.seconds)} s`;
  const slow = h.stages.find((s) => s.slow);
  return slow ? `${slow.stage} ${slow.device}` : "";
}

/** Cluster shows all nodes together: what is wrong, the nodes, and pairs, each once. */
export function Cluster({ token }: { token: string }) {
  const [text, setText] = useState("");
  const [filter, setFilter] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setFilter(text.trim()), 500);
    return () => clearTimeout(timer);
  }, [text]);
  const { cluster: c, error, filterError } = useCluster(filter, token);
  const flowsLeft = (c?.nodes ?? []).reduce((sum, n) => sum + n.rows_left_out, 0);
  useEffect(() => {
    document.title = c ? `${c.verdict}: cluster · tracer` : "tracer";
  }, [c?.verdict]);
  return (
    <>
      {error && <p class="bad" role="alert"><Name>{error}</Name></p>}
      {!c && !error && <p role="status">Asking the agents of all nodes …</p>}
      {c && (
        <>
          <section class={`verdict ${c.verdict}`} aria-live="polite" aria-label="Verdict"><strong>{c.verdict.toUpperCase()}</strong> <Name>{c.summary}</Name></section>
          {c.not_asked && <p class="notice" role="note">{sentence(c.not_asked)}</p>}
          {c.findings.length > 0 && (
            <section aria-labelledby="findings">
              <h2 id="findings">Findings</h2>
              {c.findings.map((f, i) => (
                <article key={i} class={`finding ${f.finding.severity}`}>
                  <h3>
                    <span class={`badge ${f.finding.severity}`}>{f.finding.severity}</span>{" "}
                    {(f.nodes ?? []).slice(0, 5).map((n, k) => <span key={n}>{k > 0 && ", "}<a href={siteOf(n).home}><Name>{n}</Name></a></span>)}
                    {(f.nodes ?? []).length > 5 && ` and ${(f.nodes ?? []).length - 5} more`}: <Name>{f.finding.text || [f.finding.stage, f.finding.device].filter(Boolean).join(" at ") || f.finding.cause}</Name>
                  </h3>
                  <p class="faint"><a href={`#/cause/${encodeURIComponent(f.finding.cause)}`}>{f.finding.cause}</a> · confidence {percent(f.finding.confidence)}</p>
                  {(f.finding.next ?? []).map((next) => (isCommand(next) ? <Command key={next} text={next} /> : <p key={next}>{next}</p>))}
                  {(f.seen_from ?? []).map((s, k) => <p key={k} class="faint">Seen from <Name>{s.node}</Name>: <Name>{s.text}</Name></p>)}
                </article>
              ))}
            </section>
          )}
          <Nodes nodes={c.nodes} />
          <section aria-labelledby="pairs">
            <h2 id="pairs">Pairs</h2>
            <form class="filter" role="search" onSubmit={(e) => e.preventDefault()}>
              <label for="filter">Filter</label>
              <input
                id="filter" type="search" value={text} autocomplete="off" spellcheck={false} placeholder="web device=tunl0 p99>10ms"
                aria-describedby="filter-help" aria-invalid={filterError !== ""} onInput={(e) => setText(e.currentTarget.value)}
              />
              <p id="filter-help" class={filterError ? "bad" : "faint"} role="status">
                {filterError || `${c.pairs.length} ${c.pairs.length === 1 ? "pair" : "pairs"}, each once${c.pairs_left ? `; ${count(c.pairs_left)} more, a filter shows them` : ""}${flowsLeft ? `; ${count(flowsLeft)} flows that hurt less are not counted` : ""}`}
              </p>
            </form>
            <Table label="Pairs of workloads">
              <thead>
                <tr>
                  <th scope="col">Pair</th><th scope="col" class="number wide">Packets/s</th><th scope="col">Node: p99</th><th scope="col">What is wrong</th><th scope="col" class="number wide">Lost/s</th>
                </tr>
              </thead>
              <tbody>
                {c.pairs.map((p) => {
                  const bad = p.halves.find((h) => wrong(h));
                  return (
                    <tr key={`${name(p.src)} ${name(p.dst)}`}>
                      <td>
                        <Name>{`${name(p.src)} → ${name(p.dst)}`}</Name>
                        {(p.service || p.endpoint_of) && <span class="faint"> through <Name>{p.service || p.endpoint_of || ""}</Name></span>}
                      </td>
                      <td class="number wide">{count(p.packets_per_second)}</td>
                      <td>
                        {p.halves.slice(0, 4).map((h, k) => (
                          <span key={k}>{k > 0 && ", "}<a href={siteOf(h.node).pair(pairKey(h))}><Name>{h.node}</Name> {h.direction}</a>: {seconds(h.path?.p99_seconds)}</span>
                        ))}
                        {p.halves.length > 4 && ` and ${p.halves.length - 4} more`}
                      </td>
                      <td>{bad && <strong class="bad"><Name>{`${wrong(bad)} on ${bad.node}`}</Name></strong>}</td>
                      <td class={`number wide ${p.drops_per_second ? "bad" : ""}`}>{p.drops_per_second ? count(p.drops_per_second) : ""}</td>
                    </tr>
                  );
                })}
              </tbody>
            </Table>
            {c.pairs.length === 0 && <p>{filter ? "No pair matches the filter." : "No packets have passed yet."}</p>}
          </section>
        </>
      )}
    </>
  );
}
