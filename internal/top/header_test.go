package top

import (
	"strings"
	"testing"
)

// TestHeaderWithoutFigures: what a replayed incident does not have is left out, and is no zero.
func TestHeaderWithoutFigures(t *testing.T) {
	t.Parallel()
	s, o := newStyles(false), *story(t, "pair")
	if whole := s.title(&o, o.Version) + s.volume(&o); !strings.Contains(whole, " hooks") || !strings.Contains(whole, "packets/s") || !strings.Contains(whole, "sampled") {
		t.Errorf("%q", whole)
	}
	for oneIn, tells := range map[uint64]bool{0: false, 1: false, 4: true} {
		o.WatchedOneIn = oneIn
		if strings.Contains(s.volume(&o), "requests of 1 in 4 connections") != tells {
			t.Errorf("of one in %d connections: %q", oneIn, s.volume(&o))
		}
	}
	o.PairsCounted = 2000
	if volume := s.volume(&o); !strings.Contains(volume, "2.0k pairs in all") {
		t.Errorf("%q", volume)
	}
	o.SeenUnknown, o.VolumeUnknown, o.PairsCounted, o.RecordsMissed, o.SampleRatio, o.HooksUp, o.HooksMissing = true, true, 0, 0, 0, 0, nil
	bare := s.title(&o, o.Version) + s.volume(&o)
	for _, word := range []string{"hook", "packets/s", "bit/s", "sampled", "pair", "no records missed"} {
		if strings.Contains(bare, word) {
			t.Errorf("%q tells %q", bare, word)
		}
	}
	d := o.Devices[0]
	d.RatesUnknown = true
	for _, c := range deviceColumns() {
		if strings.HasSuffix(c.title, "/S") || strings.HasSuffix(c.title, "BIT") {
			if cell := c.cell(&s, &d); cell != "-" {
				t.Errorf("%s is %q", c.title, cell)
			}
		}
	}
}
