package ui

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
)

// TokenHeader has the token. Another site's page cannot send it: a header of one's own needs leave by CORS, which is never given.
const TokenHeader = "X-Tracer-Token"

// policy lets the page load and ask nothing but what this server has, run no code but its own file, and be framed by nobody.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// guard refuses what does not come from the page itself. A name that somebody has let point to 127.0.0.1 (DNS rebinding) shows in
// Host, another site's page in Origin or Sec-Fetch-Site.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		switch {
		case !isLocal(r.Host):
			refuse(w, http.StatusForbidden, "this page is served to 127.0.0.1 and localhost alone")
		case !isOwn(r):
			refuse(w, http.StatusForbidden, "another site's page asks")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isLocal tells of a host, with or without a port, whether it is this machine by an address, or by the name that browsers never ask
// others about. The port may be another than ours: ssh and kubectl forward one.
func isLocal(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(name)
	if err != nil && len(name) > 2 && name[0] == '[' {
		address, err = netip.ParseAddr(name[1 : len(name)-1])
	}
	return err == nil && address.IsLoopback()
}

// isOwn tells whether a request comes from no page or from ours. To open the address by a link elsewhere, or by hand, is no page's request.
func isOwn(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err == nil && u.Scheme == "http" && u.Host == r.Host
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return true
	}
	return r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// withToken lets through who knows the token.
func withToken(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(TokenHeader)), []byte(token)) != 1 {
			refuse(w, http.StatusUnauthorized, "the token is missing or wrong; open the address that tracer ui has printed")
			return
		}
		next.ServeHTTP(w, r)
	})
}
