import { render } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { parsePair } from "./api";
import { Cause } from "./cause";
import { Cluster } from "./cluster";
import { Findings } from "./findings";
import { count } from "./format";
import { Incident } from "./incident";
import { Incidents } from "./incidents";
import { NodeView } from "./node";
import { Pair } from "./pair";
import { Pairs, firstRows, queryOf, type Choice } from "./pairs";
import { SiteContext, decoded, parsed, siteOf } from "./site";
import { useOverviews, type Trouble } from "./stream";
import { takeToken } from "./token";
import { Name, Verdict } from "./parts";

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

/** tabs are the views that the head leads to, with those that belong to them. */
const tabs: [view: string, title: string, also: string][] = [
  ["", "Pairs", "pair"],
  ["incidents", "Incidents", "incident"],
  ["node", "Node", "node"],
];

/** ofCluster: this program asks many nodes. */
const ofCluster = document.documentElement.dataset["shows"] === "cluster";

function App({ token }: { token: string }) {
  const { node, view, argument } = parsed(useHash());
  const site = useMemo(() => siteOf(node), [node]);
  const all = ofCluster && !node; // of no node in particular
  const pair = view === "pair" ? parsePair(decoded(argument)) : null;
  const [choice, choose] = useState<Choice>({ filter: "", sort: "pain", limit: firstRows });
  const query = queryOf(pair ? decoded(argument) : "", choice, view === "");
  const { overview: o, of, trouble } = useOverviews(all ? "" : site.api, query, token);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const past = view === "incident" || view === "incidents";
  // The frame of an incident is none of it: who moves through them stays where they are.
  const page = view === "incident" ? argument.replace(/^([^/]*)\/\d*/, "$1") : argument;
  useEffect(() => {
    // What is shown is another page to who hears it.
    if (!first.current) main.current?.focus();
    first.current = false;
    scrollTo(0, 0);
  }, [node, view, page]);
  useEffect(() => {
    const leave = (e: KeyboardEvent) => {
      const at = parsed(location.hash); // a key may come before what it left is drawn
      const site = siteOf(at.node);
      const up = at.view === "incident" ? site.to("incidents") : at.view === "" && ofCluster ? "#/" : site.home;
      if (e.key === "Escape" && location.hash !== up && !(e.target instanceof HTMLInputElement && e.target.type !== "range")) location.hash = up;
    };
    addEventListener("keydown", leave);
    return () => removeEventListener("keydown", leave);
  }, []);
  useEffect(() => {
    if (all) return;
    document.title = view === "incident" ? "An incident · tracer" : o ? `${o.verdict}: ${o.node} · tracer` : "tracer";
  }, [o?.verdict, o?.node, view, all]);
  const filterError = trouble?.fatal && /filter/.test(trouble.text) ? trouble.text.replace(/^.*?filter: /s, "") : "";
  return (
    <SiteContext.Provider value={site}>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <header>
        <h1>tracer</h1>
        <nav aria-label="Views">
          {ofCluster && <a href="#/" aria-current={all ? "page" : undefined}>Cluster</a>}
          {!all && tabs.map(([to, title, also]) => <a key={to} href={site.to(to)} aria-current={view === to || view === also ? "page" : undefined}>{title}</a>)}
        </nav>
        {o && !all && <p class="where"><Name>{o.node}</Name>{!past && ` · ${count(o.packets_per_second)} packets/s · ${count(o.bits_per_second)} bit/s`}</p>}
      </header>
      {!all && trouble && !filterError && <Banner trouble={trouble} taken={past ? undefined : o?.taken} />}
      <main id="main" ref={main} tabIndex={-1}>
        {all && view !== "cause" && <Cluster token={token} />}
        {!all && !o && !trouble && !past && <p role="status">Asking the agent …</p>}
        {view === "cause" && <Cause cause={decoded(argument)} token={token} />}
        {!all && view === "incident" && <Incident argument={argument} token={token} />}
        {!all && view === "incidents" && <Incidents token={token} changed={`${o?.verdict} ${o?.findings.length}`} />}
        {!all && o && !past && view !== "cause" && (
          <>
            <Verdict overview={o} />
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
            {view === "pair" && (pair ? <Pair key={argument} overview={o} pair={pair} /> : <p>There is no such pair. <a href={site.home}>All pairs</a></p>)}
          </>
        )}
      </main>
    </SiteContext.Provider>
  );
}

render(<App token={takeToken()} />, document.getElementById("page") as HTMLElement);
