package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/netdev"
)

// logged is a log that a test reads while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count is how many lines have all the words.
func (l *logged) count(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
lines:
	for line := range strings.Lines(l.text.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

// TestFindings has a rule drop what one pod sends, then takes it away and lets the tunnel go down: each is found with its
// cause and place, holds, and is logged once as it begins and once as it ends.
func TestFindings(t *testing.T) {
	t.Parallel()
	var log logged
	c := newCluster(t, load.Config{Rate: 50, Size: 90}, func(o *Options) {
		o.Log, o.LogFindings = slog.New(slog.NewTextHandler(&log, nil)), true
	})
	node := c.lab.Nodes()[0]
	web := c.lab.Pods()[0]
	if web.Name != lab.Web {
		t.Fatalf("the first pod is %s", web.Name)
	}
	held := func(cause diagnose.Cause, stage journey.Stage, device string) func() (bool, string) {
		return func() (bool, string) {
			all, judged := c.agents[0].ActiveFindings()
			for _, h := range all {
				if f := h.Finding; f.Cause == cause && f.Stage == stage && f.Device == device && f.Severity == diagnose.Critical && !h.CriticalSince.IsZero() {
					return true, ""
				}
			}
			return false, fmt.Sprintf("at %v these hold: %+v", judged, all)
		}
	}
	nothing := func() (bool, string) {
		all, judged := c.agents[0].ActiveFindings()
		return len(all) == 0 && !judged.IsZero(), fmt.Sprintf("%+v", all)
	}
	c.eventually(60*time.Second, "a first judgement without findings", nothing)

	nft := func(rules string) {
		t.Helper()
		err := node.Do(func() error {
			cmd := exec.Command("nft", "-f", "-")
			cmd.Stdin = strings.NewReader(rules)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("nft: %w: %s", err, out)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	nft(fmt.Sprintf("table ip refuse { chain forward { type filter hook forward priority 0; ip saddr %s drop; }; }", web.Address))
	c.eventually(60*time.Second, "a rule's drops", held(diagnose.PolicyDrop, journey.Forward, netdev.PodLabel))
	nft("delete table ip refuse")
	c.eventually(90*time.Second, "the end of the rule's drops", nothing)
	if begun, ended := log.count("a finding begins", "cause=policy-drop"), log.count("a finding has ended", "cause=policy-drop"); begun != 1 || ended != 1 {
		t.Errorf("logged %d times that it begins, %d times that it ends: %s", begun, ended, log.text.String())
	}

	if err := node.Do(func() error {
		link, err := netlink.LinkByName(c.lab.OverlayDevice())
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link)
	}); err != nil {
		t.Fatal(err)
	}
	c.eventually(60*time.Second, "the tunnel that is down", held(diagnose.LinkDown, journey.Queue, c.lab.OverlayDevice()))
}
