package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/overview"
	"tracer/internal/ui"
)

// hostile are names that nobody gives for good reasons.
var hostile = []string{
	`<img src=x onerror=alert(1)>`, `"><script>alert(2)</script>`, `javascript:alert(3)`, "\u202egpj.exe", "a'b&amp;c", "name\nwith lines", `{{7*7}}${7*7}`,
}

// agentOf answers as an agent does whose window has so many pairs, some of them with hostile names. While it is silent nothing comes,
// though no connection ends.
func agentOf(pairs int, silent *atomic.Bool) http.Handler {
	window := &aggregate.Snapshot{Window: 5 * time.Second}
	for i := range pairs {
		src := fmt.Sprintf("client-%d", i)
		if i < len(hostile) {
			src = hostile[i]
		}
		var delay hist.Histogram
		delay.Observe(float64(pairs-i)*1e-6, 10)
		window.Pairs = append(window.Pairs, aggregate.Pair{
			PairKey: aggregate.PairKey{SrcNamespace: "default", SrcWorkload: src, DstNamespace: "default", DstWorkload: "api", Direction: journey.Out},
			Service: hostile[i%len(hostile)],
			Packets: 10, Bytes: 1000, Path: delay,
			Stages: []aggregate.StageDelay{{StageKey: aggregate.StageKey{Stage: journey.Forward, Device: "cali1", Direction: journey.Out}, Delay: delay}},
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/overview", func(w http.ResponseWriter, r *http.Request) {
		q, err := overview.ParseQuery(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		report := diagnose.Report{
			Verdict: diagnose.Fault, Summary: "FAULT: " + hostile[0], WindowSeconds: 15,
			Findings: []diagnose.Finding{{
				Cause: "qdisc-delay", Severity: diagnose.Critical, Stage: journey.Queue, Device: hostile[1], Text: hostile[0], Evidence: hostile, Next: hostile[:1],
				Pairs: []diagnose.Pair{{Src: "default/" + hostile[0], Dst: "default/api"}}, PairsTotal: 1, Confidence: 1,
			}},
		}
		for r.Context().Err() == nil {
			now := time.Now()
			if !silent.Load() {
				_ = json.NewEncoder(w).Encode(overview.Build(overview.Input{About: overview.About{Node: hostile[0]}, Taken: now, Window: window, Report: report}, q))
				_ = http.NewResponseController(w).Flush()
			}
			select {
			case <-r.Context().Done():
			case <-time.After(q.Interval):
			}
		}
	})
	return mux
}

// TestHostile: names are text, whatever is in them, and 10,000 pairs are counted and shown in parts.
func TestHostile(t *testing.T) {
	server, err := ui.New(ui.Options{Agent: agentOf(10_000, new(atomic.Bool))})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(t.Context()) }()
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL()))
	b.says("100 of 10000 pairs")
	for _, name := range hostile[:4] {
		b.says(name)
	}
	b.accessible("hostile names")
	b.click(`#main table a`)
	b.await(`document.querySelector('.picture svg .title')`)
	b.await(`document.querySelectorAll('img, script:not([src="app.js"]), iframe').length === 0`)
	address, _, _ := strings.Cut(server.URL(), "#")
	b.do(chromedp.Navigate(address + "#/"))

	// The last of 10,000, by the filter.
	b.await(`document.querySelector('#filter')`)
	b.filter("client-9999")
	b.says("1 pair")
	b.filter("")
	b.says("100 of 10000 pairs")
	b.click(`.more`)
	b.says("400 of 10000 pairs")
	// A frame takes long only where the page does much in one: of scrolling through all rows, the slowest.
	slowest := value[float64](b, `(async () => {
		let last = performance.now(), worst = 0;
		for (let i = 0; i < 60; i++) {
			scrollBy(0, 600);
			await new Promise(requestAnimationFrame);
			const now = performance.now();
			worst = Math.max(worst, now - last);
			last = now;
		}
		return worst;
	})()`, chromedp.EvalAwaitPromise)
	t.Logf("the slowest frame takes %.0f ms", slowest)
	b.quiet()
}

// TestSilence: where nothing comes any more the page says so, and does not show for ever what was true once.
func TestSilence(t *testing.T) {
	var silent atomic.Bool
	server, err := ui.New(ui.Options{Agent: agentOf(1, &silent)})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(t.Context()) }()
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL()))
	b.says("1 pair")
	silent.Store(true)
	b.says("Nothing has come for 15 s")
	silent.Store(false)
	b.await(`!document.querySelector(".banner")`)
	b.says("1 pair")
}
