// Package browser opens the page of tracer ui in a real browser. It has a module of its own, so that what drives the browser never
// reaches the product.
package browser

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var (
	program = flag.String("tracer", "../../build/tracer", "the program whose page is opened")
	shots   = flag.String("shots", "../../build/browser", "directory for screenshots")
)

// pair is the link of the pair that the fault hurts.
const pair = `#main table a[href$="%7Cout"][href*="web%7Cdefault%7Capi"]`

// TestStory: a lab is healthy and then slow, and a person looks: at the verdict, at the pair that is hurt, at its way.
func TestStory(t *testing.T) {
	lab := newLab(t)
	address := lab.serve()
	b := newTab(t)
	b.scheme("light")
	b.do(chromedp.Navigate(address))
	b.await(`document.querySelector('.verdict')`)
	b.paintsSoon()
	if at := value[string](b, "location.href"); strings.Contains(at, "token") {
		t.Errorf("the token stays in the address: %s", at)
	}
	b.await(`document.querySelector('.verdict.healthy') && document.querySelector('` + pair + `')`)
	b.accessible("pairs, healthy")
	b.quiet()

	// By keyboard alone.
	b.do(chromedp.Focus(chromedp.CSS(pair)), chromedp.KeyEvent(kb.Enter))
	b.await(`document.querySelector('[data-station="web-"], [data-station^="default/web"]')`)
	b.await(`document.querySelector('.station.stage .now')`)
	b.await(`document.querySelector('.plot canvas')`)
	b.await(`document.querySelector('.plot[aria-label^="Remote calls: p50"]') && document.querySelector('.plot[aria-label^="Packets on this node"]')`)
	b.accessible("a pair, healthy")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.await(`location.hash === '#/'`)

	// A filter, as in top; and one that is wrong.
	b.filter("dir=out p99>0us")
	b.await(`[...document.querySelectorAll('tbody tr')].length > 0 && [...document.querySelectorAll('tbody tr')].every(r => r.innerText.includes('out'))`)
	b.filter("p99>soon")
	b.await(`document.querySelector('#filter[aria-invalid=true]') && document.querySelector('#filter-help').innerText.includes('soon')`)
	b.forget() // the request was refused
	b.filter("")
	b.await(`document.querySelector('#filter[aria-invalid=false]')`)

	lab.past(40 * time.Second)
	b.scheme("light")
	b.click(pair)
	b.await(`document.querySelector('.station.stage .now') && document.querySelector('.plot canvas')`)
	b.shot("pair-healthy")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.await(`location.hash === '#/'`)
	lab.run("fault", "--delay", "500ms", "--rate", "50kbit", "--loss", "10%")
	b.await(`document.querySelector('.verdict.fault') && document.querySelector('.finding.critical .command')`)
	b.await(`/queue/.test(document.querySelector('tbody .bad')?.innerText)`)
	b.accessible("pairs, faulted")
	b.click(pair)
	b.await(`/\d+ ms$/.test(document.querySelector('.station.critical .now')?.textContent)`)
	state := value[[]string](b, `[...document.querySelectorAll('.station.critical')].map(s => s.dataset.station + ': ' + s.querySelector('.now')?.textContent)`)
	if len(state) != 1 || !strings.Contains(state[0], "vxlan") && !strings.Contains(state[0], "tunl0") {
		t.Errorf("at fault are drawn %q, not the overlay", state)
	}
	b.await(`document.querySelector('.sentence.critical text')?.textContent.includes('egress queue')`)
	b.accessible("a pair, faulted")
	// In the graph a call waits as long as its packets do.
	for _, chart := range []string{"Packets on this node", "Remote calls: p50"} {
		b.await(`/queue [^,]* to (?:[3-9]\d\d ms|[\d.]+ s)/.test(document.querySelector('.plot[aria-label^="` + chart + `"]').getAttribute('aria-label'))`)
	}
	lab.past(80 * time.Second) // the picture shows how it was and how it is
	b.do(chromedp.EmulateViewport(1280, 1300))
	b.shot("pair-fault")
	b.do(chromedp.EmulateViewport(1280, 900))
	b.scheme("dark")
	b.do(chromedp.Navigate(strings.SplitN(address, "#", 2)[0] + "#/"))
	b.await(`document.querySelector('table')`)
	b.shot("pairs-fault")
	b.scheme("light")

	// The cause's page, from the program itself.
	b.click(`.finding a[href^="#/cause/"]`)
	b.says("What it can be confused with")
	b.accessible("a cause")
	b.do(chromedp.Navigate(strings.SplitN(address, "#", 2)[0] + "#/node"))
	b.await(`document.querySelector('#hooks')`)
	b.accessible("the node")
	b.quiet()

	replays(b, address)

	// A phone.
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	for _, view := range []string{"#/node", "#/", "#/cause/qdisc-delay", "#/incidents", "#/incident/last"} {
		b.do(chromedp.Navigate(strings.SplitN(address, "#", 2)[0] + view))
		b.await(`document.querySelector('#main h2')`)
		b.fits()
	}
	b.do(chromedp.Navigate(strings.SplitN(address, "#", 2)[0] + "#/"))
	b.await(`document.querySelector('` + pair + `')`)
	b.click(pair)
	b.await(`document.querySelector('.station.critical')`)
	b.fits()
	b.accessible("a pair, on a phone")
	b.shot("pair-phone")
	b.quiet()

	// The agent goes, and comes again: the page keeps what it had, says so, and goes on.
	b.do(chromedp.EmulateViewport(1280, 900))
	lab.stopAgent()
	b.await(`/seen? is|see is \d+ s old/.test(document.querySelector('.banner')?.innerText)`)
	b.await(`document.querySelector('.picture svg')`)
	b.accessible("without an agent")
	lab.startAgent()
	b.await(`!document.querySelector('.banner') && document.querySelector('.verdict')`)
	b.forget() // requests were refused meanwhile

	// Who does not know the token.
	stranger := newTab(t)
	stranger.do(chromedp.Navigate(strings.SplitN(address, "#", 2)[0] + "#token=0000000000000000000000000000"))
	stranger.says("The token is missing or wrong")
	if text := value[string](stranger, "document.body.innerText"); strings.Contains(text, "default/web") {
		t.Errorf("a stranger is told %s", text)
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}
