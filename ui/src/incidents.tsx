import { useEffect, useState } from "preact/hooks";
import type { IncidentList, Summary } from "./api";
import { duration, when } from "./format";
import { Name, Table } from "./parts";
import { useSite } from "./site";
import { ask } from "./stream";

/** lasted is for how long an incident was. */
export const lasted = (s: Summary): string => (s.ended ? duration((Date.parse(s.ended) - Date.parse(s.began)) / 1000) : "no end seen");

/** What an incident was, or why it cannot be read. */
function What({ incident: s }: { incident: Summary }) {
  const site = useSite();
  if (s.error) return <span class="bad">Cannot be read: <Name>{s.error}</Name></span>;
  return (
    <>
      <a href={site.to(`incident/${encodeURIComponent(s.id)}`)}><Name>{s.text || s.cause || s.id}</Name></a>
      {s.damaged_lines > 0 && <span class="faint"> (its file is damaged: {s.damaged_lines} {s.damaged_lines === 1 ? "line" : "lines"} cannot be read)</span>}
    </>
  );
}

/** renew is when the list is asked for again, in milliseconds: the agent reads again what has changed, and nothing else. */
const renew = 10_000;

/** Incidents lists what was wrong before. changed: what makes the list be asked for at once. */
export function Incidents({ token, changed }: { token: string; changed: string }) {
  const site = useSite();
  const [list, setList] = useState<IncidentList | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    const read = () => {
      if (document.hidden) return;
      ask(`${site.api}/incidents`, token, abort.signal)
        .then((answer) => answer.json())
        .then((l: IncidentList) => { setList(l); setError(""); })
        .catch((e: Error) => abort.signal.aborted || setError(e.message));
    };
    read();
    const timer = setInterval(read, renew);
    return () => { abort.abort(); clearInterval(timer); };
  }, [site.api, token, changed]);
  return (
    <section aria-labelledby="incidents">
      <h2 id="incidents">Incidents</h2>
      {error && <p class="bad" role="alert">{error}</p>}
      {!list && !error && <p role="status">Asking the agent …</p>}
      {list?.incidents.length === 0 && <p>No incident is kept: nothing was wrong, or the agent has no directory for them.</p>}
      {list && list.incidents.length > 0 && (
        <>
          <Table label="Table of incidents">
            <thead><tr><th scope="col">What</th><th scope="col">Began</th><th scope="col">Lasted</th><th scope="col" class="wide">Severity</th></tr></thead>
            <tbody>
              {list.incidents.map((s) => (
                <tr key={s.id}>
                  <td><What incident={s} /></td>
                  <td class="time">{when(s.began)}</td>
                  <td>{s.error ? "" : lasted(s)}</td>
                  <td class="wide">{s.severity && <span class={`badge ${s.severity}`}>{s.severity}</span>}</td>
                </tr>
              ))}
            </tbody>
          </Table>
          {list.incidents_total > list.incidents.length && <p>The latest {list.incidents.length} of {list.incidents_total}.</p>}
        </>
      )}
    </section>
  );
}
