package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// timeout is how long anything may take to appear.
const timeout = 2 * time.Minute

// tab is a browser with one page. What its console complains of is kept.
type tab struct {
	testing.TB
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

func newTab(t testing.TB) *tab {
	t.Helper()
	dir := t.TempDir() // of all that the browser keeps: it has more than its profile in its user's home
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true),
		chromedp.UserDataDir(filepath.Join(dir, "profile")), chromedp.Env("HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir),
		chromedp.WSURLReadTimeout(timeout))
	allocated, stopBrowser := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, stop := chromedp.NewContext(allocated)
	b := &tab{TB: t, ctx: ctx}
	t.Cleanup(func() { stop(); stopBrowser() })
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil { // the first: the browser lives as long as its context
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.complain("exception: " + e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
				b.complain(fmt.Sprintf("console.%s: %s", e.Type, e.Args[0].Value))
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError {
				b.complain(fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
			}
		case *page.EventJavascriptDialogOpening:
			b.complain("dialog: " + e.Message)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *tab) complain(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, text)
}

// quiet says that nothing was complained of, and begins anew.
func (b *tab) quiet() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.Errorf("the console says: %s", c)
	}
	b.complaints = nil
}

// forget drops what was complained of: requests that fail, where they were to fail.
func (b *tab) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = nil
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, stop := context.WithTimeout(b.ctx, timeout)
	defer stop()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// click clicks the first element of a CSS selector.
func (b *tab) click(selector string) {
	b.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// filter types into the field of the filter, over what is there.
func (b *tab) filter(text string) {
	b.Helper()
	for typed := false; !typed; { // a view that has just come takes the focus for itself
		b.await(`(document.querySelector('#filter').focus(), document.querySelector('#filter').select(), true)`)
		b.do(chromedp.KeyEvent(kb.Backspace))
		if text != "" {
			b.do(chromedp.KeyEvent(text))
		}
		typed = value[string](b, `document.querySelector('#filter').value`) == text
	}
}

// value is what an expression comes to.
func value[T any](b *tab, expression string, options ...chromedp.EvaluateOption) T {
	b.Helper()
	ctx, stop := context.WithTimeout(b.ctx, timeout)
	defer stop()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	if err != nil {
		b.Fatalf("%v: %s", err, expression)
	}
	return v
}

// await waits until an expression holds.
func (b *tab) await(expression string) {
	b.Helper()
	until := time.Now().Add(timeout)
	for {
		if is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")")); err == nil && is {
			return
		}
		if time.Now().After(until) {
			b.Fatalf("never came: %s\nthe page says: %s", expression, value[string](b, "document.body.innerText"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// says waits until the page has a text.
func (b *tab) says(text string) {
	b.Helper()
	b.await(fmt.Sprintf("document.body.innerText.includes(%s)", quoted(text)))
}

func quoted(text string) string {
	q, _ := json.Marshal(text)
	return string(q)
}

// scheme sets dark or light.
func (b *tab) scheme(name string) {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	}); err != nil {
		b.Fatal(err)
	}
	b.await(fmt.Sprintf("matchMedia('(prefers-color-scheme: %s)').matches", name))
}

// accessible has axe look at the page, dark and light.
func (b *tab) accessible(what string) {
	b.Helper()
	axe, err := os.ReadFile("../../ui/node_modules/axe-core/axe.min.js")
	if err != nil {
		b.Fatalf("%v; run npm ci in ui/", err)
	}
	for _, scheme := range []string{"dark", "light"} {
		b.scheme(scheme)
		value[int](b, string(axe)+"\n;0")
		found := value[[]struct {
			ID, Impact, Help string
			Nodes            []struct{ HTML, FailureSummary string }
		}](b, `axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => r.violations)`, chromedp.EvalAwaitPromise)
		for _, f := range found {
			b.Errorf("%s, %s: %s (%s): %s\n%s\n%s", what, scheme, f.ID, f.Impact, f.Help, f.Nodes[0].HTML, f.Nodes[0].FailureSummary)
		}
	}
}

// shot writes a screenshot of the window.
func (b *tab) shot(name string) {
	b.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(*shots, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), png, 0o644); err != nil {
		b.Fatal(err)
	}
}

// fits says that the page is not wider than the window.
func (b *tab) fits() {
	b.Helper()
	if wide := value[int](b, "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
		b.Errorf("the page is %d pixels wider than the window: %s", wide, strings.Join(value[[]string](b,
			"[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll')).slice(0, 5).map(e => e.outerHTML.slice(0, 200))"), "\n"))
	}
}
