// The few forms of Markdown that the pages of causes have. They become blocks, which are drawn as text: nothing is ever HTML.

export interface Span {
  kind: "text" | "code" | "strong";
  text: string;
}

export type Block =
  | { kind: "heading"; level: number; spans: Span[] }
  | { kind: "paragraph"; spans: Span[] }
  | { kind: "code"; text: string }
  | { kind: "list"; ordered: boolean; items: Span[][] }
  | { kind: "table"; rows: Span[][][] };

/** spans reads code, bold and links, of which the text is kept. */
export function spans(text: string): Span[] {
  const out: Span[] = [];
  const plain = text.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
  for (const part of plain.split(/(`[^`]+`|\*\*[^*]+\*\*)/)) {
    if (!part) continue;
    if (part.startsWith("`") && part.length > 1) out.push({ kind: "code", text: part.slice(1, -1) });
    else if (part.startsWith("**")) out.push({ kind: "strong", text: part.slice(2, -2) });
    else out.push({ kind: "text", text: part });
  }
  return out;
}

const cells = (line: string): Span[][] =>
  line
    .replace(/^\||\|\s*$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => spans(cell.trim().replaceAll("\\|", "|")));

/** blocks reads a page. */
export function blocks(page: string): Block[] {
  const out: Block[] = [];
  const lines = page.split("\n");
  for (let i = 0; i < lines.length; ) {
    const line = lines[i] as string;
    const heading = /^(#+)\s+(.*)/.exec(line);
    if (line.trim() === "") {
      i++;
    } else if (line.startsWith("```")) {
      const code: string[] = [];
      for (i++; i < lines.length && !lines[i]?.startsWith("```"); i++) code.push(lines[i] as string);
      i++;
      out.push({ kind: "code", text: code.join("\n") });
    } else if (heading) {
      out.push({ kind: "heading", level: (heading[1] as string).length, spans: spans(heading[2] as string) });
      i++;
    } else if (line.startsWith("|")) {
      const rows: Span[][][] = [];
      for (; i < lines.length && lines[i]?.startsWith("|"); i++) {
        if (!/^[|\s:-]+$/.test(lines[i] as string)) rows.push(cells(lines[i] as string));
      }
      out.push({ kind: "table", rows });
    } else if (/^(-|\d+\.)\s/.test(line)) {
      const items: string[] = [];
      for (; i < lines.length && lines[i]?.trim() !== ""; i++) {
        const item = /^(?:-|\d+\.)\s+(.*)/.exec(lines[i] as string);
        if (item) items.push(item[1] as string);
        else items[items.length - 1] += ` ${(lines[i] as string).trim()}`;
      }
      out.push({ kind: "list", ordered: !line.startsWith("-"), items: items.map(spans) });
    } else {
      const text = [line.trim()];
      for (i++; i < lines.length && lines[i]?.trim() !== "" && !/^(```|#|\||- )/.test(lines[i] as string); i++) text.push((lines[i] as string).trim());
      out.push({ kind: "paragraph", spans: spans(text.join(" ")) });
    }
  }
  return out;
}
