// Small parts that several views are made of.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Overview, Row } from "./api";
import { percent } from "./format";

/** Name shows what comes from the cluster: text of its own direction, whatever is in it. */
export const Name = ({ children }: { children: string }) => <bdi class="name">{children}</bdi>;

/** partClass is the class that gives a stage, or what else a whole is divided into, its colour. */
export function partClass(part: string): string {
  const known = ["forward", "queue", "encap", "decap", "deliver", "pod-queue", "server", "other", "rest", "answered", "unanswered"];
  return `part-${known.includes(part) ? part : "unknown"}`;
}

/** Bar divides a row's time among its stages. */
export function Bar({ row }: { row: Row }) {
  let at = 0;
  const parts = row.stages.filter((s) => s.share >= 0.01);
  const text = [...parts]
    .sort((a, b) => b.share - a.share)
    .map((s) => `${s.stage} ${s.device} ${percent(s.share)}`)
    .join(", ");
  if (!parts.length) return null;
  return (
    <svg class="bar" role="img" aria-label={text} width="112" height="12" viewBox="0 0 112 12" preserveAspectRatio="none">
      <title>{text}</title>
      {parts.map((s) => {
        const x = at;
        at += s.share * 112;
        return <rect key={`${s.stage} ${s.device}`} class={partClass(s.stage)} x={x} y="0" width={Math.max(0, s.share * 112 - 1)} height="12" />;
      })}
    </svg>
  );
}

/** Command shows a command and copies it. */
export function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <div class="command">
      <code tabIndex={0}>{text}</code>
      {navigator.clipboard && (
        <button type="button" onClick={() => void copy()} aria-label={`Copy ${text}`}>
          {copied ? "Copied" : "Copy"}
        </button>
      )}
    </div>
  );
}

/** Verdict is that of an overview. */
export const Verdict = ({ overview: o }: { overview: Overview }) => (
  <section class={`verdict ${o.verdict}`} aria-live="polite" aria-label="Verdict">
    <strong>{o.verdict.toUpperCase()}</strong> <Name>{o.summary}</Name>
  </section>
);

/** Table is a table that scrolls by itself where it is wider than the page. */
export const Table = ({ label, children }: { label: string; children: ComponentChildren }) => (
  <div class="scroll" role="region" aria-label={label} tabIndex={0}>
    <table>{children}</table>
  </div>
);
