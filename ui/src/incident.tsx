import { useEffect, useMemo, useState } from "preact/hooks";
import { pairKey, parsePair, party, type Moment, type Overview, type Story } from "./api";
import { Findings } from "./findings";
import { clock, when } from "./format";
import { lasted } from "./incidents";
import { Pair } from "./pair";
import { Pairs, firstRows, queryOf, type Choice } from "./pairs";
import { Name, Verdict } from "./parts";
import { SiteContext, decoded, useSite } from "./site";
import { ask } from "./stream";
import { findingsOf } from "./way";

/** playEvery is how long a frame stays while they are played, in milliseconds, and settle when one is asked for that the slider came to. */
const playEvery = 1000;
const settle = 80;

/** pairOf is the first that the finding of an incident hurts: the one whose way is shown at first. */
export function pairOf(s: Story): string {
  for (const f of [...(s.report.findings ?? [])].sort((x, y) => Number(y.cause === s.cause) - Number(x.cause === s.cause))) {
    const p = f.pairs?.[0];
    if (p && f.direction) return pairKey({ src: party(p.src), dst: party(p.dst), direction: f.direction });
  }
  return "";
}

/** toldIn is a moment in words. */
const toldIn = (m: Moment): string => `${clock(m.taken)}, ${m.verdict}`;

/** Player moves through the frames: by a slider, which arrow keys move, by steps, or by itself. */
function Player({ story, frame, go }: { story: Story; frame: number; go: (frame: number) => void }) {
  const [playing, play] = useState(false);
  const last = story.timeline.length - 1;
  useEffect(() => {
    if (!playing) return;
    if (frame >= last) {
      play(false);
      return;
    }
    const timer = setTimeout(() => go(frame + 1), playEvery);
    return () => clearTimeout(timer);
  }, [playing, frame]);
  const now = story.timeline[frame] as Moment;
  const start = Date.parse(story.timeline[0]?.taken ?? story.began);
  const long = Math.max(1, Date.parse(story.timeline[last]?.taken ?? story.began) - start);
  const at = (time: string) => Math.max(0, Math.min(1000, ((Date.parse(time) - start) / long) * 1000));
  return (
    <section class="player" aria-label="Replay">
      <svg class="timeline" aria-hidden="true" viewBox="-6 0 1012 14" preserveAspectRatio="none">
        {story.timeline.map((m, i) => {
          const x = i ? at((story.timeline[i - 1] as Moment).taken) : -6;
          return <rect key={i} class={m.verdict} x={x} y="0" width={Math.max(2, at(m.taken) - x)} height="14" />;
        })}
        <rect class="cursor" x={at(now.taken) - 3} y="0" width="6" height="14" />
      </svg>
      <div class="buttons">
        <button type="button" disabled={frame <= 0} onClick={() => go(frame - 1)} aria-label="Back one frame">◀</button>
        <button type="button" onClick={() => { if (!playing && frame >= last) go(0); play(!playing); }}>{playing ? "Stop" : "Play"}</button>
        <button type="button" disabled={frame >= last} onClick={() => go(frame + 1)} aria-label="On one frame">▶</button>
        <input
          type="range" min="0" max={last} value={frame} aria-label="Time in the incident" aria-valuetext={toldIn(now)}
          onInput={(e) => { play(false); go(Number(e.currentTarget.value)); }}
        />
        <output><strong>{clock(now.taken)}</strong> <span class="faint">{frame + 1} of {last + 1}</span></output>
      </div>
    </section>
  );
}

/** Changes lists what changed on the node, and of its findings, in order of time. */
function Changes({ story }: { story: Story }) {
  const word = { begins: "begins", critical: "is critical now", ends: "ends" } as Record<string, string>;
  const all = [
    ...(story.events ?? []).map((e) => ({ time: e.time, text: `${e.device} ${e.text}`.trim() })),
    ...(story.changes ?? []).map((c) => ({ time: c.time, text: `${c.finding.finding.cause} ${word[c.kind] ?? c.kind}: ${c.finding.finding.text || c.finding.finding.device || ""}` })),
  ].sort((x, y) => Date.parse(x.time) - Date.parse(y.time));
  return (
    <section aria-labelledby="changes">
      <h2 id="changes">What changed</h2>
      <ul>{all.map((c, i) => <li key={i}><span class="time">{clock(c.time)}</span> <Name>{c.text}</Name></li>)}</ul>
    </section>
  );
}

/** Frame shows the node as it was in a frame: its verdict, the way of a pair, the other pairs. */
function Frame({ id, frame, pair, token }: { id: string; frame: number; pair: string; token: string }) {
  const site = useSite();
  const [choice, choose] = useState<Choice>({ filter: "", sort: "pain", limit: firstRows });
  const [shown, setShown] = useState<{ overview: Overview | null; of: string }>({ overview: null, of: "" });
  const [error, setError] = useState("");
  const key = parsePair(pair);
  const query = `frame=${frame}&${queryOf(key ? pair : "", choice, true)}`;
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => {
      ask(`${site.api}/incidents/${encodeURIComponent(id)}/overview?${query}`, token, abort.signal)
        .then((answer) => answer.json())
        .then((overview: Overview) => { setShown({ overview, of: query }); setError(""); })
        .catch((e: Error) => abort.signal.aborted || setError(e.message));
    }, settle);
    return () => { abort.abort(); clearTimeout(timer); };
  }, [site.api, id, query, token]);
  const o = shown.overview;
  const filterError = /filter: /.test(error) ? error.replace(/^.*?filter: /s, "") : "";
  const own = o?.detail && key ? findingsOf(o, o.detail) : [];
  const others = (o?.findings ?? []).map((_, i) => i).filter((i) => !own.includes(i));
  return (
    <>
      {error && !filterError && <p class="bad" role="alert">{error}</p>}
      {!o && !error && <p role="status">Asking the agent …</p>}
      {o && (
        <>
          <Verdict overview={o} />
          {key && <Pair overview={o} pair={key} past />}
          {others.length > 0 && (
            <section aria-labelledby="findings">
              <h2 id="findings">{own.length ? "Other findings" : "Findings"}</h2>
              <Findings overview={o} which={others} />
            </section>
          )}
          <Pairs overview={o} choice={choice} choose={choose} error={filterError} stale={false} />
        </>
      )}
    </>
  );
}

/** Incident shows one, frame by frame. argument: its ID, the frame, and the pair whose way is shown; what is not given is that of the fault. */
export function Incident({ argument, token }: { argument: string; token: string }) {
  const site = useSite();
  const [first = "", second = "", third = ""] = argument.split("/");
  const id = decoded(first);
  const [story, setStory] = useState<Story | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    setStory(null);
    setError("");
    ask(`${site.api}/incidents/${encodeURIComponent(id)}`, token, abort.signal)
      .then((answer) => answer.json())
      .then(setStory)
      .catch((e: Error) => abort.signal.aborted || setError(e.message));
    return () => abort.abort();
  }, [site.api, id, token]);
  const frame = story ? Math.max(0, Math.min(story.timeline.length - 1, /^\d+$/.test(second) ? Number(second) : story.told_frame)) : 0;
  const pair = decoded(third) || (story ? pairOf(story) : "");
  const address = (n: number, key: string) => site.to(`incident/${encodeURIComponent(id)}/${n}${key ? `/${encodeURIComponent(key)}` : ""}`);
  const here = useMemo(() => ({ ...site, home: address(frame, ""), pair: (key: string) => address(frame, key) }), [site, id, frame]);
  return (
    <section aria-labelledby="incident">
      <p><a href={site.to("incidents")}>All incidents</a></p>
      {error && (
        <>
          <h2 id="incident">This incident cannot be shown</h2>
          <p class="bad" role="alert"><Name>{error}</Name></p>
        </>
      )}
      {!story && !error && <><h2 id="incident">An incident</h2><p role="status">Asking the agent …</p></>}
      {story && (
        <>
          <h2 id="incident"><Name>{story.text || story.cause || story.id}</Name></h2>
          <p>
            {story.severity && <span class={`badge ${story.severity}`}>{story.severity}</span>}{" "}
            {story.cause && <a href={site.to(`cause/${encodeURIComponent(story.cause)}`)}>{story.cause}</a>} on <Name>{story.node}</Name>, {when(story.began)}, {story.ended ? `lasted ${lasted(story)}` : lasted(story)}
          </p>
          {story.damaged_lines > 0 && (
            <p class="notice" role="note">
              {story.damaged_lines === 1 ? "One line" : `${story.damaged_lines} lines`} of its file cannot be read: it was cut short or damaged. The {story.timeline.length === 1 ? "one frame" : `${story.timeline.length} frames`} that can be read {story.timeline.length === 1 ? "is" : "are"} shown.
            </p>
          )}
          <Player story={story} frame={frame} go={(n) => location.replace(address(n, decoded(third)))} />
          <SiteContext.Provider value={here}>
            <Frame id={id} frame={frame} pair={pair} token={token} />
          </SiteContext.Provider>
          <Changes story={story} />
        </>
      )}
    </section>
  );
}
