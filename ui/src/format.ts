// How figures look, as in tracer's texts: 521 ms, 1.2k.

const timeUnits: [number, string][] = [
  [1, "s"],
  [1e-3, "ms"],
  [1e-6, "µs"],
];

/** seconds writes a time with three digits and its unit. */
export function seconds(s: number | null | undefined): string {
  if (s === null || s === undefined || !Number.isFinite(s)) return "–";
  if (s >= 120) return `${Math.round(s / 60)} min`;
  for (const [unit, text] of timeUnits) {
    if (s >= unit * 0.9995) return `${digits(s / unit)} ${text}`;
  }
  return s > 0 ? `${digits(s * 1e9)} ns` : "0 s";
}

/** digits writes a number that is not negative with three digits, and no point after the third. */
function digits(v: number): string {
  if (v >= 99.95) return String(Math.round(v));
  const text = v.toFixed(v >= 9.995 ? 1 : 2);
  return text.replace(/\.?0+$/, "");
}

/** count writes a number: 0, 0.4, 12, 3.4k, 1.2M. */
export function count(v: number | null | undefined): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return "–";
  for (const [unit, text] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ] as [number, string][]) {
    if (v >= unit * 0.9995) return digits(v / unit) + text;
  }
  return v === 0 ? "0" : v < 0.05 ? "<0.1" : v < 9.95 ? v.toFixed(1).replace(/\.0$/, "") : String(Math.round(v));
}

/** percent writes a share: <1 %, 12 %, >99 %. */
export function percent(share: number): string {
  if (share > 0.99 && share < 1) return ">99 %";
  if (share > 0 && share < 0.01) return "<1 %";
  return `${Math.round(share * 100)} %`;
}

/** counted writes a number with its noun, in the plural where that is right. */
export const counted = (v: number, noun: string): string => `${count(v)} ${noun}${Math.round(v) === 1 ? "" : "s"}`;

/** shortened keeps both ends of a text that is longer than so many characters: the ends tell names apart. */
export function shortened(text: string, most: number): string {
  const characters = Array.from(text);
  if (characters.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return characters.slice(0, head).join("") + "…" + characters.slice(characters.length - (most - 1 - head)).join("");
}

/** wrapped cuts a text into lines of at most so many characters, at blanks where there are any. */
export function wrapped(text: string, most: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (let word of text.split(/\s+/)) {
    while (word.length > most) {
      if (line) lines.push(line);
      line = "";
      lines.push(word.slice(0, most));
      word = word.slice(most);
    }
    if (line && line.length + 1 + word.length > most) {
      lines.push(line);
      line = word;
    } else {
      line = line ? `${line} ${word}` : word;
    }
  }
  return line ? [...lines, line] : lines;
}
