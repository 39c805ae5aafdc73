const key = "tracer-token";

/** takeToken moves the token from the address to where only this tab finds it: the address is shown, copied and kept in histories. */
export function takeToken(): string {
  const match = /^#token=([A-Za-z0-9]+)/.exec(location.hash);
  if (match?.[1]) {
    sessionStorage.setItem(key, match[1]);
    history.replaceState(null, "", "#/");
  }
  return sessionStorage.getItem(key) ?? "";
}
