package browser

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tracer/internal/export/api"
	"tracer/internal/incident"
	"tracer/internal/ui"
)

// replays opens the incident that the fault of a lab has begun, by keyboard alone: the picture shows what was, frame by frame.
func replays(b *tab, address string) {
	b.Helper()
	page, _, _ := strings.Cut(address, "#")
	b.do(chromedp.Navigate(page + "#/incidents"))
	b.await(`document.querySelector('#main tbody a[href^="#/incident/"]')`)
	b.accessible("incidents")
	b.do(chromedp.Focus(chromedp.CSS(`#main tbody a[href^="#/incident/"]`)), chromedp.KeyEvent(kb.Enter))
	b.await(`document.querySelector('.player input[type=range]')`)
	b.await(`document.querySelector('.verdict.fault') && document.querySelector('.picture .station.critical .now')`)
	if told := value[string](b, `document.querySelector('.station.critical').dataset.station`); !strings.Contains(told, "vxlan") && !strings.Contains(told, "tunl0") {
		b.Errorf("at fault is drawn %q, not the overlay", told)
	}
	b.says("root qdisc")
	b.await(`document.querySelector('.plot canvas')`)
	b.accessible("an incident")
	b.scheme("light")
	b.do(chromedp.EmulateViewport(1280, 1100))
	b.shot("incident-fault")
	b.do(chromedp.EmulateViewport(1280, 900))

	// To its beginning: then all was well.
	b.do(chromedp.Focus(chromedp.CSS(`.player input`)), chromedp.KeyEvent(kb.Home))
	b.await(`document.querySelector('.player input').value === '0' && document.activeElement === document.querySelector('.player input')`)
	b.await(`/\/0$/.test(location.hash) && document.querySelector('.verdict:not(.fault)') && !document.querySelector('.station.critical')`)
	b.do(chromedp.KeyEvent(kb.ArrowRight))
	b.await(`document.querySelector('.player input').value === '1' && /^2 of /.test(document.querySelector('.player output .faint').textContent)`)
	b.click(`.player button[aria-label="Back one frame"]`)
	b.await(`document.querySelector('.player input').value === '0'`)
	b.click(`.player button:not([aria-label])`) // plays
	b.await(`document.querySelector('.player input').value !== '0' && document.querySelector('.verdict.fault')`)

	// Another pair of it, and back.
	b.await(`document.querySelector('tbody a[href*="web%7Cdefault%7Capi"]')`)
	b.click(`tbody a[href*="web%7Cdefault%7Capi"]`)
	b.await(`/#\/incident\/[^/]+\/\d+\/default%7Cweb/.test(location.hash) && document.querySelector('.picture svg')`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.await(`location.hash === '#/incidents'`)
	b.quiet()
}

// bad are the files of a directory of incidents that cannot be read as a whole, by their IDs.
func bad(t *testing.T, dir string) {
	t.Helper()
	const frame = `{"frame":{"taken":"2026-05-01T03:02:11Z","counts":{},"devices":[],"report":{"verdict":"fault","summary":"FAULT: <b>a</b> queue","findings":[]}}}` + "\n"
	for id, text := range map[string]string{
		"20260501T030211-nic":         `{"header":{"version":1,"id":"20260501T030211-nic","began":"2026-05-01T03:02:11Z","node":"<i>node"}}` + "\n" + frame + frame[:len(frame)/2],
		"20260501T030212-mtu":         `{"header":{"version":9,"id":"20260501T030212-mtu"}}` + "\n" + frame,
		"20260501T030213-no-route":    `{"header":{"ver`,
		"20260501T030214-qdisc-delay": `{"header":{"version":1,"id":"20260501T030214-qdisc-delay","began":"2026-05-01T03:02:14Z","node":"a"}}` + "\n" + frame[:len(frame)/2],
	} {
		if err := os.WriteFile(filepath.Join(dir, id+".jsonl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// withIncidents is an agent that keeps incidents in a directory.
func withIncidents(agent http.Handler, dir string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/incidents", api.Handler(nil, nil, &incident.Store{Dir: dir}))
	mux.Handle("/v1/incidents/", api.Handler(nil, nil, &incident.Store{Dir: dir}))
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"node":"a"}`) })
	mux.Handle("/", agent)
	return mux
}

// TestBadIncidents: files that were cut short, are of another version or are none are shown as such, and what is whole of them is shown.
func TestBadIncidents(t *testing.T) {
	dir := t.TempDir()
	bad(t, dir)
	server, err := ui.New(ui.Options{Agent: withIncidents(agentOf(3, new(atomic.Bool)), dir)})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(t.Context()) }()
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL()))
	b.await(`document.querySelector('nav')`)
	b.click(`nav a[href="#/incidents"]`)
	b.says("format version 9, this program reads 1")
	b.says("this is no incident, or its beginning is damaged")
	b.says("1 line cannot be read")
	b.accessible("bad incidents")
	b.quiet()
	b.click(`tbody a[href="#/incident/20260501T030211-nic"]`)
	b.says("One line of its file cannot be read: it was cut short or damaged. The one frame that can be read is shown.")
	b.says("FAULT: <b>a</b> queue")
	b.says("<i>node")
	b.accessible("an incident that was cut short")
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.await(`document.querySelector('.notice')`)
	b.fits()
	b.quiet()
	address, _, _ := strings.Cut(server.URL(), "#")
	for id, want := range map[string]string{
		"20260501T030212-mtu":         "format version 9, this program reads 1",
		"20260501T030213-no-route":    "this is no incident, or its beginning is damaged",
		"20260501T030214-qdisc-delay": "no frame of this incident could be read",
		"..%2f..%2fetc%2fpasswd":      "no such incident",
		"20260501":                    "give more of the incident's ID",
	} {
		b.do(chromedp.Navigate(address + "#/incident/" + id))
		b.says("This incident cannot be shown")
		b.says(want)
	}
	b.forget() // these requests were refused
}

// TestEmptyCluster: where no packet passes and nothing was kept the page says so, and draws nothing that is not there.
func TestEmptyCluster(t *testing.T) {
	server, err := ui.New(ui.Options{Agent: withIncidents(agentOf(0, new(atomic.Bool)), filepath.Join(t.TempDir(), "none"))})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(t.Context()) }()
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL()))
	b.says("No packets have passed yet.")
	b.says("0 pairs")
	b.accessible("an empty cluster")
	b.click(`nav a[href="#/incidents"]`)
	b.says("No incident is kept")
	b.accessible("no incidents")
	b.click(`nav a[href="#/node"]`)
	b.await(`document.querySelector('#devices')`)
	address, _, _ := strings.Cut(server.URL(), "#")
	b.do(chromedp.Navigate(address + "#/pair/default%7Cnobody%7Cdefault%7Cnothing%7Cout"))
	b.says("No packet of this pair has passed lately.")
	b.quiet()
}
