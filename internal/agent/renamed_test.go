package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab/load"
)

// TestRenamed renames devices of each role under an agent and a load, as udev's rules and CNI plugins do: they are hooked by their new
// names, all that passes is seen there, and nobody is alarmed.
func TestRenamed(t *testing.T) {
	t.Parallel()
	var log logged
	c := newCluster(t, load.Config{Rate: 200, Size: 90, TCP: 10 * time.Millisecond}, func(o *Options) {
		o.Log, o.LogFindings = slog.New(slog.NewTextHandler(&log, nil)), true
	})
	web, a := c.lab.Pods()[0], c.agents[0]
	for _, r := range []struct{ from, to, label string }{
		{uplink, "ens5", "ens5"},
		{c.lab.OverlayDevice(), "overlay9", "overlay9"},
		{web.Device, "tap0web", "pod"},
	} {
		before := c.now(0)
		err := c.lab.Nodes()[0].Do(func() error {
			d, err := netlink.LinkByName(r.from)
			if err != nil {
				return err
			}
			return netlink.LinkSetName(d, r.to)
		})
		if errors.Is(err, unix.EBUSY) {
			return // before 6.2 no device that is up can be renamed
		} else if err != nil {
			t.Fatal(err)
		}
		c.eventually(20*time.Second, "hooks at "+r.to, func() (bool, string) {
			hooks, _ := a.Hooks()
			up := 0
			for _, h := range hooks {
				if h.Device == r.from {
					return false, fmt.Sprintf("%s %s is still there", h.Device, h.Name)
				}
				if h.Device == r.to && h.Up {
					up++
				}
			}
			return up == 2, fmt.Sprintf("%d hooks", up)
		})
		report := c.diagnosed(0, 3*time.Second)
		c.wantAllSeen(&report)
		for _, direction := range []journey.Direction{journey.In, journey.Out} {
			c.wantCoverage(&report, r.label, direction, 0.95, 1, "")
		}
		report = diagnose.Diagnose("node", before, c.now(0))
		c.wantAllSeen(&report)
		if found := exceptBusy(report.Findings); len(found) > 0 {
			t.Errorf("%s renamed: %+v", r.from, found)
		}
	}
	log.wantNoFinding(t)
}
