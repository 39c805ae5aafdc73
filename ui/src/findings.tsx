import { party, pairKey, sentenceOf, type Finding, type Overview } from "./api";
import { percent } from "./format";
import { Command, Name } from "./parts";

/** place says where a finding is. */
const place = (f: Finding): string => [f.stage, f.device && `at ${f.device}`, f.direction].filter(Boolean).join(" ");

/** isCommand tells commands from sentences among what is to be done next. */
const isCommand = (text: string): boolean => !/^(then|or|if|on|in|see|and|look|ask|compare|there)\b/i.test(text);

/** Pairs lists those that a finding hurts. */
function Pairs({ finding: f }: { finding: Finding }) {
  const pairs = f.pairs ?? [];
  if (!pairs.length) return null;
  return (
    <p>
      Pairs:{" "}
      {pairs.slice(0, 5).map((p, i) => {
        const text = `${p.src} → ${p.dst}`;
        const key = f.direction && pairKey({ src: party(p.src), dst: party(p.dst), direction: f.direction });
        return (
          <span key={text}>
            {i > 0 && ", "}
            {key ? <a href={`#/pair/${encodeURIComponent(key)}`}><Name>{text}</Name></a> : <Name>{text}</Name>}
          </span>
        );
      })}
      {f.pairs_total > Math.min(5, pairs.length) && ` and ${f.pairs_total - Math.min(5, pairs.length)} more`}
    </p>
  );
}

/** Findings shows some of an overview's findings, with their sentence, evidence, commands, and the page of the cause. */
export function Findings({ overview: o, which }: { overview: Overview; which: number[] }) {
  return (
    <>
      {which.map((i) => {
        const f = o.findings[i] as Finding;
        const next = f.next ?? [];
        return (
          <article key={`${f.cause} ${place(f)} ${i}`} class={`finding ${f.severity}`}>
            <h3>
              <span class={`badge ${f.severity}`}>{f.severity}</span> <Name>{sentenceOf(o, i)}</Name>
            </h3>
            <p class="faint">
              <a href={`#/cause/${encodeURIComponent(f.cause)}`}>{f.cause}</a>
              {place(f) && `: ${place(f)}`} · confidence {percent(f.confidence)}
            </p>
            {next.map((text) => (isCommand(text) ? <Command key={text} text={text} /> : <p key={text}>{text}</p>))}
            <Pairs finding={f} />
            <details>
              <summary>Evidence</summary>
              <ul>
                {(f.evidence ?? []).map((text) => (
                  <li key={text}><Name>{text}</Name></li>
                ))}
              </ul>
            </details>
          </article>
        );
      })}
    </>
  );
}
