package browser

import (
	"fmt"

	"github.com/chromedp/chromedp"

	"tracer/test/steady"
)

// firstPaint is how long it may take from an agent on this machine, in milliseconds.
const firstPaint = 1000

// paintsSoon loads the page again, and says that the first paint comes within its bound.
func (b *tab) paintsSoon() {
	b.Helper()
	steady.Measure(b, func() string {
		b.do(chromedp.Reload())
		b.await(`document.querySelector('.verdict')`)
		paint := value[float64](b, `performance.getEntriesByName('first-contentful-paint')[0].startTime`)
		if paint > firstPaint {
			return fmt.Sprintf("the first paint is after %.0f ms, want %d at most", paint, firstPaint)
		}
		b.Logf("the first paint is after %.0f ms", paint)
		return ""
	})
}
