import { useEffect, useState } from "preact/hooks";
import { blocks, type Block, type Span } from "./markdown";
import { ask } from "./stream";

const Text = ({ spans }: { spans: Span[] }) => (
  <>
    {spans.map((s, i) => (s.kind === "code" ? <code key={i}>{s.text}</code> : s.kind === "strong" ? <strong key={i}>{s.text}</strong> : s.text))}
  </>
);

function Part({ block: b }: { block: Block }) {
  switch (b.kind) {
    case "heading":
      return b.level === 1 ? <h2><Text spans={b.spans} /></h2> : <h3><Text spans={b.spans} /></h3>;
    case "paragraph":
      return <p><Text spans={b.spans} /></p>;
    case "code":
      return <pre tabIndex={0}>{b.text}</pre>;
    case "list": {
      const items = b.items.map((spans, i) => <li key={i}><Text spans={spans} /></li>);
      return b.ordered ? <ol>{items}</ol> : <ul>{items}</ul>;
    }
    case "table": {
      const [head, ...rows] = b.rows;
      return (
        <div class="scroll" role="region" aria-label="Table" tabIndex={0}>
          <table>
            <thead><tr>{(head ?? []).map((spans, i) => <th key={i} scope="col"><Text spans={spans} /></th>)}</tr></thead>
            <tbody>{rows.map((row, i) => <tr key={i}>{row.map((spans, j) => <td key={j}><Text spans={spans} /></td>)}</tr>)}</tbody>
          </table>
        </div>
      );
    }
  }
}

/** Cause shows the page of a cause, which the program has in it. */
export function Cause({ cause, token }: { cause: string; token: string }) {
  const [page, setPage] = useState<Block[] | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    setPage(null);
    setError("");
    ask(`causes/${encodeURIComponent(cause)}`, token, abort.signal)
      .then((answer) => answer.text())
      .then((text) => setPage(blocks(text)))
      .catch((e: Error) => abort.signal.aborted || setError(e.message));
    return () => abort.abort();
  }, [cause, token]);
  return (
    <section class="prose">
      <p><a href="#/" onClick={(e) => { if (history.length > 1) { e.preventDefault(); history.back(); } }}>Back</a></p>
      {error && <p class="bad" role="alert">{error}</p>}
      {page?.map((block, i) => <Part key={i} block={block} />)}
    </section>
  );
}
