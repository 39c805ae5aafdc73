// Whose answers are shown, and where in the page they stand: one node's, now or in an incident.

import { createContext } from "preact";
import { useContext } from "preact/hooks";

export interface Site {
  api: string; // where requests go, without a slash at the end
  home: string; // the page of all pairs
  to: (view: string) => string; // the address of a view
  pair: (key: string) => string; // the address of a pair
}

/** siteOf is a node's: "" is the one that the program asks by itself. */
export function siteOf(node: string): Site {
  const prefix = node ? `#/at/${encodeURIComponent(node)}/` : "#/";
  return {
    api: node ? `v1/nodes/${encodeURIComponent(node)}` : "v1",
    home: prefix,
    to: (view) => prefix + view,
    pair: (key) => `${prefix}pair/${encodeURIComponent(key)}`,
  };
}

/** Address is what the part of the address after # says. */
export interface Address {
  node: string;
  view: string;
  argument: string;
}

export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** parsed reads an address. */
export function parsed(hash: string): Address {
  const [, node = "", view = "", argument = ""] = /^#\/(?:at\/([^/]+)\/)?([a-z]*)\/?(.*)$/.exec(hash) ?? [];
  return { node: decoded(node), view, argument };
}

export const SiteContext = createContext<Site>(siteOf(""));

/** useSite is the site of what is drawn. */
export const useSite = (): Site => useContext(SiteContext);
