// A pair's remote calls in words.

import type { Row } from "./api";
import { count, seconds } from "./format";

/** callsSaid tells how many remote calls there are, how long they take and where that goes; "" if there are none. */
export function callsSaid(r: Row["requests"]): string {
  if (!r) return "";
  const parts = [`${count(r.per_second)} remote calls/s`];
  if (r.unanswered) parts.push(`${count(r.unanswered)} unanswered`);
  const server = r.server?.p50_seconds;
  if (r.client) {
    const client = r.client.p50_seconds;
    const rest = seconds(Math.max(0, client - (server ?? 0) - r.here_seconds));
    parts.push(
      `${seconds(client)} (p50): ` +
        (server === undefined ? "" : `server ${seconds(server)}, `) +
        `this node ${seconds(r.here_seconds)}, ` +
        (server === undefined ? `network and server ${rest}` : `network ${rest}`),
    );
  } else if (server !== undefined) {
    parts.push(`server ${seconds(server)} (p50)`);
  }
  return parts.join(" · ");
}
