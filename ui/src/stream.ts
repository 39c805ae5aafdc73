// The one stream that the page lives by: overviews, a line of JSON each. What fails is tried again for as long as the page is open.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Overview } from "./api";

/** Trouble is why nothing new comes. fatal: trying again does not help. */
export interface Trouble {
  text: string;
  fatal: boolean;
  since: number; // milliseconds since 1970
}

/** Refusal is an answer that is an error. */
export class Refusal extends Error {
  constructor(
    public readonly status: number,
    text: string,
  ) {
    super(text);
  }
}

/** ask makes a request with the token. */
export async function ask(path: string, token: string, signal?: AbortSignal): Promise<Response> {
  const answer = await fetch(path, { headers: { "X-Tracer-Token": token }, signal: signal ?? null });
  if (answer.ok) return answer;
  let text = `${answer.status} ${answer.statusText}`;
  try {
    text = ((await answer.json()) as { error: string }).error || text;
  } catch {
    // the status has to do
  }
  throw new Refusal(answer.status, text);
}

/** lines yields the objects of a stream, one a line. */
async function* lines(answer: Response): AsyncGenerator<Overview> {
  const reader = (answer.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest: string[] = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = value.split("\n");
    for (const part of parts.slice(0, -1)) {
      const line = rest.join("") + part;
      rest = [];
      const object = JSON.parse(line) as Overview & { error?: string };
      if (object.error && Object.keys(object).length === 1) throw new Refusal(500, object.error);
      yield object;
    }
    rest.push(parts[parts.length - 1] as string);
  }
}

/** sentence makes one of an error's text. */
const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

const retry = 1000;

/** patience is how long a stream may say nothing before it is cut: an overview comes each second, and one that hangs never ends. */
const patience = 15_000;

/** useOverviews reads overviews for a query while the page can be seen. It keeps the last one where another query begins or something fails. */
export function useOverviews(query: string, token: string): { overview: Overview | null; of: string; trouble: Trouble | null } {
  const [state, set] = useState<{ overview: Overview | null; of: string }>({ overview: null, of: "" });
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const since = useRef(0);
  const [visible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const changed = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", changed);
    return () => document.removeEventListener("visibilitychange", changed);
  }, []);
  useEffect(() => {
    if (!visible) return;
    const abort = new AbortController();
    let timer = 0;
    const read = async () => {
      const request = new AbortController();
      abort.signal.addEventListener("abort", () => request.abort(), { signal: request.signal });
      let silence = 0;
      const listen = () => {
        clearTimeout(silence);
        silence = window.setTimeout(() => request.abort(), patience);
      };
      let text: string;
      let fatal = false;
      let came = false;
      try {
        listen();
        const answer = await ask(`v1/overview?${query}`, token, request.signal);
        for await (const overview of lines(answer)) {
          if (abort.signal.aborted) return;
          listen();
          came = true;
          since.current = 0;
          setTrouble(null);
          set({ overview, of: query });
        }
        text = "The agent has stopped.";
      } catch (e) {
        if (abort.signal.aborted) return;
        const status = e instanceof Refusal ? e.status : 0;
        fatal = status === 400 || status === 401 || status === 403 || status === 404;
        text = status ? sentence((e as Error).message) : "tracer ui does not answer: it has ended, or the way to it is cut.";
        if (status === 502) text = `The agent is not there: ${(e as Error).message}.`;
        else if (request.signal.aborted) text = `Nothing has come for ${patience / 1000} s: the agent stands still, or the way to it is cut.`;
        else if (!status && came) text = "The agent's stream was cut.";
      } finally {
        clearTimeout(silence);
      }
      if (abort.signal.aborted) return;
      since.current ||= Date.now();
      setTrouble({ text, fatal, since: since.current });
      if (!fatal) timer = window.setTimeout(() => void read(), retry);
    };
    void read();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [query, token, visible]);
  return { ...state, trouble };
}
