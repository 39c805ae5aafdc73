// What the agent answers (docs/api.md). An agent of another version may leave fields out: lists are read with ?? [].

export interface Place {
  stage: string;
  device: string;
}

export interface Delay {
  p50_seconds: number;
  p99_seconds: number;
}

export interface Party {
  namespace?: string;
  workload?: string;
}

export interface Stage extends Place {
  packets: number;
  delay: Delay | null;
  mean_seconds: number;
  share: number;
  warn_above_seconds: number | null;
  baseline_p50_seconds: number | null;
  slow: boolean;
  held: number;
  oldest_seconds: number;
}

export interface Row {
  src: Party;
  dst: Party;
  service?: string;
  endpoint_of?: string;
  direction: string;
  packets_per_second: number;
  bits_per_second: number;
  path: Delay | null;
  stages: Stage[];
  worst: Place | null;
  drops: { packets: number; per_second: number; reason?: string };
  tcp: { rtt_mean_seconds: number | null; retransmits_per_second: number } | null;
  requests?: { per_second: number; unanswered: number; client?: Delay; server?: Delay; here_seconds: number };
  held: number;
  oldest_seconds: number;
  no_answer: { destination: string; protocol: string; packets: number; seconds: number } | null;
}

export interface Drop extends Place {
  direction: string;
  reason: string;
  location: string;
  packets: number;
  per_second: number;
}

export interface Trend extends Place {
  every_seconds: number;
  p50_seconds: (number | null)[];
}

/** RequestTrend is what became of a pair's requests: the server's time, the stages', the other of this node and the rest add up to the client's. */
export interface RequestTrend {
  every_seconds: number;
  per_second: (number | null)[];
  unanswered_per_second: (number | null)[];
  client_p50_seconds: (number | null)[];
  server_p50_seconds: (number | null)[];
  stages: (Place & { seconds: (number | null)[] })[];
  other_seconds: (number | null)[];
  rest_seconds: (number | null)[];
}

export interface Journey {
  time: string;
  kind: string;
  hooks: { hook: string; device: string; role: string }[] | null;
  stages: (Place & { seconds: number; no_queue?: boolean })[] | null;
  total_seconds: number;
}

export interface Detail {
  row: Row;
  drops: Drop[];
  history: Trend[];
  request_history?: RequestTrend;
  slow: Journey[];
}

export interface Finding {
  kind: string;
  cause: string;
  severity: string;
  stage: string | null;
  device: string | null;
  direction: string | null;
  confidence: number;
  pairs: { src: string; dst: string }[] | null;
  pairs_total: number;
  evidence: string[] | null;
  next: string[] | null;
  text?: string;
}

export interface Coverage {
  device: string | null;
  direction: string | null;
  ratio: number | null;
  reason: string | null;
}

export interface Device {
  name: string;
  role: string;
  kind: string;
  workload?: string;
  up: boolean;
  root_qdisc: { kind: string };
  tx_packets_per_second: number;
  rx_packets_per_second: number;
  queue: Delay | null;
  warn_above_seconds: number | null;
  baseline_p50_seconds: number | null;
  held: number;
  backlog_packets: number;
  drops_per_second: number;
  limits: { what: string; share: number }[] | null;
  findings: string[] | null;
  unusual: string[] | null;
}

export interface Overview {
  version: string;
  node: string;
  kernel: string;
  started: string;
  hooks_up: number;
  hooks_missing: string[];
  sample_ratio: number;
  records_lost: number;
  taken: string;
  verdict: string;
  summary: string;
  findings: Finding[];
  sentences: string[];
  verdict_window_seconds: number;
  coverage: Coverage[];
  packets_per_second: number;
  bits_per_second: number;
  rows: Row[] | null;
  rows_total: number;
  devices: Device[];
  detail: Detail | null;
}

export interface Status {
  version: string;
  node: string;
  kernel: string;
  started: string;
  hooks: { program: string; hook: string; device: string; role: string; up: boolean; attached: boolean; error: string; silent: boolean }[] | null;
  omitted: { hook: string; device: string; reason: string }[] | null;
  lost: Record<string, number> | null;
  sample_one_in: number;
  identity: { scope: string } | null;
}

/** Summary is an incident in a list; error: why it cannot be read. */
export interface Summary {
  id: string;
  began: string;
  ended: string | null;
  node: string;
  cause: string;
  severity: string;
  text: string;
  frames: number;
  damaged_lines: number;
  error?: string;
}

export interface IncidentList {
  incidents: Summary[];
  incidents_total: number;
}

/** Moment is a frame of an incident. */
export interface Moment {
  taken: string;
  verdict: string;
  findings: number;
}

/** Story is an incident with the list of its frames. */
export interface Story extends Summary {
  taken: string;
  told_frame: number;
  timeline: Moment[];
  report: { findings: Finding[] | null };
  changes: { time: string; kind: string; finding: { finding: Finding } }[] | null;
  events: { time: string; device: string; text: string }[] | null;
}

/** NodeRow is a node of the cluster; error: why it did not answer. */
export interface NodeRow {
  name: string;
  version: string;
  kernel: string;
  verdict: string;
  summary: string;
  hooks_up: number;
  hooks_missing: number;
  coverage: number | null;
  packets_per_second: number;
  rows_left_out: number;
  error: string;
}

/** Half is what one node sees of a pair, by the names that it knows. */
export interface Half extends Row {
  node: string;
}

/** ClusterOverview is all nodes together. */
export interface ClusterOverview {
  verdict: string;
  summary: string;
  findings: { finding: Finding; nodes: string[] | null; seen_from: { node: string; text: string }[] | null }[];
  not_asked: string;
  nodes: NodeRow[];
  pairs: (Pick<Row, "src" | "dst" | "service" | "endpoint_of" | "packets_per_second"> & { drops_per_second: number; halves: Half[] })[];
  pairs_left: number;
}

/** sentence makes one of an error's text. */
export const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

/** name is a party's, as findings write it. */
export const name = (p: Party): string => (p.namespace ? `${p.namespace}/${p.workload ?? ""}` : (p.workload ?? ""));

/** pairKey names a row's pair as the query of overviews does. */
export const pairKey = (r: Pick<Row, "src" | "dst" | "direction">): string =>
  [r.src.namespace ?? "", r.src.workload ?? "", r.dst.namespace ?? "", r.dst.workload ?? "", r.direction].join("|");

/** parsePair reads a pairKey; null if it is none. */
export function parsePair(key: string): Pick<Row, "src" | "dst" | "direction"> | null {
  const parts = key.split("|");
  if (parts.length !== 5) return null;
  const [srcNamespace, src, dstNamespace, dst, direction] = parts as [string, string, string, string, string];
  return {
    src: { namespace: srcNamespace, workload: src },
    dst: { namespace: dstNamespace, workload: dst },
    direction,
  };
}

/** party reads a name as name writes it. */
export function party(text: string): Party {
  const i = text.indexOf("/");
  return i < 0 ? { workload: text } : { namespace: text.slice(0, i), workload: text.slice(i + 1) };
}

/** sentences of the findings: the agent's, or what an older one has instead. */
export const sentenceOf = (o: Overview, i: number): string => o.sentences?.[i] ?? o.findings[i]?.text ?? o.findings[i]?.cause ?? "";
