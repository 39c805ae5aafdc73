import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { parsePair } from "./api";
import { Cause } from "./cause";
import { Findings } from "./findings";
import { count } from "./format";
import { NodeView } from "./node";
import { Pair } from "./pair";
import { Pairs, firstRows, type Choice } from "./pairs";
import { useOverviews, type Trouble } from "./stream";
import { takeToken } from "./token";
import { Name } from "./parts";

/** interval is between two overviews: as often as the agent writes a point of its histories, and judges. */
const interval = "5s";

/** useHash is the part of the address that says what is shown. */
function useHash(): string {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const changed = () => set(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash;
}

/** queryOf is what the agent is asked for a view. */
function queryOf(pair: string, choice: Choice, rows: boolean): string {
  const q = new URLSearchParams({ by: "pair", interval, limit: rows ? String(choice.limit) : "1" });
  if (rows && choice.sort !== "pain") q.set("sort", choice.sort);
  if (rows && choice.filter) q.set("filter", choice.filter);
  if (pair) q.set("pair", pair);
  return q.toString();
}

/** Banner says why nothing new comes, and how old what is shown is. */
function Banner({ trouble, taken }: { trouble: Trouble; taken: string | undefined }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const age = taken ? Math.max(0, Math.round((now - Date.parse(taken)) / 1000)) : 0;
  return (
    <div class="banner" role="alert">
      {trouble.text}
      {taken && <span aria-live="off"> What you see is {age} s old.</span>}
      {!trouble.fatal && " Trying again each second."}
    </div>
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function App({ token }: { token: string }) {
  const hash = useHash();
  const [, view = "", argument = ""] = /^#\/([a-z]*)\/?(.*)$/.exec(hash) ?? [];
  const pair = view === "pair" ? parsePair(decoded(argument)) : null;
  const [choice, choose] = useState<Choice>({ filter: "", sort: "pain", limit: firstRows });
  const query = queryOf(pair ? decoded(argument) : "", choice, view === "");
  const { overview: o, of, trouble } = useOverviews(query, token);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    // What is shown is another page to who hears it.
    if (!first.current) main.current?.focus();
    first.current = false;
    scrollTo(0, 0);
  }, [view, argument]);
  useEffect(() => {
    const leave = (e: KeyboardEvent) => {
      if (e.key === "Escape" && location.hash !== "#/" && !(e.target instanceof HTMLInputElement)) location.hash = "#/";
    };
    addEventListener("keydown", leave);
    return () => removeEventListener("keydown", leave);
  }, []);
  useEffect(() => {
    document.title = o ? `${o.verdict}: ${o.node} · tracer` : "tracer";
  }, [o?.verdict, o?.node]);
  const filterError = trouble?.fatal && /filter/.test(trouble.text) ? trouble.text.replace(/^.*?filter: /s, "") : "";
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <header>
        <h1>tracer</h1>
        <nav aria-label="Views">
          <a href="#/" aria-current={view === "" || view === "pair" ? "page" : undefined}>Pairs</a>
          <a href="#/node" aria-current={view === "node" ? "page" : undefined}>Node</a>
        </nav>
        {o && <p class="where"><Name>{o.node}</Name> · {count(o.packets_per_second)} packets/s · {count(o.bits_per_second)} bit/s</p>}
      </header>
      {trouble && !filterError && <Banner trouble={trouble} taken={o?.taken} />}
      <main id="main" ref={main} tabIndex={-1}>
        {!o && !trouble && <p role="status">Asking the agent …</p>}
        {view === "cause" && <Cause cause={decoded(argument)} token={token} />}
        {o && view !== "cause" && (
          <>
            <section class={`verdict ${o.verdict}`} aria-live="polite" aria-label="Verdict">
              <strong>{o.verdict.toUpperCase()}</strong> <Name>{o.summary}</Name>
            </section>
            {view === "" && (
              <>
                {o.findings.length > 0 && (
                  <section aria-labelledby="findings">
                    <h2 id="findings">Findings</h2>
                    <Findings overview={o} which={o.findings.map((_, i) => i)} />
                  </section>
                )}
                <Pairs overview={o} choice={choice} choose={choose} error={filterError} stale={of !== query} />
              </>
            )}
            {view === "node" && <NodeView overview={o} token={token} />}
            {view === "pair" && (pair ? <Pair key={argument} overview={o} pair={pair} /> : <p>There is no such pair. <a href="#/">All pairs</a></p>)}
          </>
        )}
      </main>
    </>
  );
}

render(<App token={takeToken()} />, document.getElementById("page") as HTMLElement);
