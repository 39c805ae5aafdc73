package browser

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"

	"tracer/internal/ui"
)

// TestForeignSite: a page of another origin, opened in the same browser, gets nothing and has the agent asked nothing, whatever it tries,
// even if it knows the port and the token.
func TestForeignSite(t *testing.T) {
	var asked atomic.Int64
	server, err := ui.New(ui.Options{Agent: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, "{}")
	})})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(t.Context()) }()
	address, _, _ := strings.Cut(server.URL(), "#")
	// Another port of this machine is of the same site, as browsers count, and so the nearest that another page can be.
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<title>another site</title>")
	}))
	defer other.Close()
	b := newTab(t)
	for _, from := range []string{"about:blank", other.URL} {
		b.do(chromedp.Navigate(from))
		for what, init := range map[string]string{
			"a plain request": `{}`, "one that does not look": `{mode: 'no-cors'}`, "one with cookies": `{credentials: 'include'}`,
			"one with the token": `{headers: {'X-Tracer-Token': '` + server.Token() + `'}}`,
		} {
			for _, path := range []string{"v1/overview", "v1/incidents", "app.js"} {
				got := value[string](b, fmt.Sprintf(`fetch(%q, %s).then(r => r.type + ' ' + r.status, () => 'refused')`, address+path, init), chromedp.EvalAwaitPromise)
				if got != "refused" {
					t.Errorf("%s for %s from %s: %s", what, path, from, got)
				}
			}
		}
		got := value[string](b, `new Promise(done => {
			const frame = document.createElement('iframe');
			frame.onload = () => { try { done(frame.contentDocument ? 'empty' : 'hidden'); } catch { done('hidden'); } };
			frame.src = '`+address+`';
			document.documentElement.append(frame);
		})`, chromedp.EvalAwaitPromise)
		if got == "" {
			t.Errorf("no frame")
		}
		if text := value[int](b, `[...document.querySelectorAll('iframe')].filter(f => f.contentDocument?.querySelector('#page')).length`); text != 0 {
			t.Errorf("the page stands in a frame of %s", from)
		}
		b.forget() // these requests were refused
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the agent was asked %d times", n)
	}
}
