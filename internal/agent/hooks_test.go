package agent

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/lab/load"
	"tracer/internal/loader"
)

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestReattached has somebody put a program before ours that ends the chain: it is mended, counted and logged, while a reading of
// netfilter's rules takes long.
func TestReattached(t *testing.T) {
	log := &lines{}
	c := newCluster(t, load.Config{}, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) })
	c.agents[0].netfilter.reading.Lock()
	defer c.agents[0].netfilter.reading.Unlock()
	overlay := c.lab.OverlayDevice()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "theirs", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	err = c.lab.Nodes()[0].Do(func() error {
		d, err := net.InterfaceByName(overlay)
		if err != nil {
			return err
		}
		if c.agents[0].Loader().Features().TCX {
			l, err := link.AttachTCX(link.TCXOptions{
				Interface: d.Index, Program: program, Attach: ebpf.AttachTCXEgress, Anchor: link.Head(),
			})
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
			LinkIndex: d.Index, Parent: netlink.HANDLE_MIN_EGRESS, Priority: 1, Protocol: unix.ETH_P_ALL, Handle: 7,
		}, Fd: program.FD(), Name: "theirs", DirectAction: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	place := HookPlace{"egress", overlay}
	c.eventually(10*time.Second, "the hook is mended", func() (bool, string) {
		n := c.agents[0].Reattached()[place]
		return n == 1, fmt.Sprint(n)
	})
	hooks, _ := c.agents[0].Loader().Hooks()
	for _, h := range hooks {
		if !h.Up {
			t.Errorf("not up: %+v", h)
		}
	}
	if n := strings.Count(log.String(), "a hook was attached again"); n != 1 || !strings.Contains(log.String(), "theirs") {
		t.Errorf("logged %d times:\n%s", n, log)
	}
}

// TestGoneIsNotDown: hooks that went away with their device are not logged, others once.
func TestGoneIsNotDown(t *testing.T) {
	t.Parallel()
	log, m := &lines{}, mending{}
	hook := loader.HookStatus{Hook: loader.Hook{Name: "ingress", Device: "cali1", Ifindex: 3}, Error: "not there"}
	for _, gone := range []bool{true, false, false} {
		hook.Gone = gone
		m.logDown(slog.New(slog.NewTextHandler(log, nil)), []loader.HookStatus{hook})
	}
	if n := strings.Count(log.String(), "a hook does not see all packets"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log)
	}
}
