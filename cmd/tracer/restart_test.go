package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/test/steady"
)

// TestRestartBesidePrograms starts, stops and kills agents beside programs that route pods' packets: none of the load's packets is
// lost, and the programs, qdiscs and filters are the same afterwards.
func TestRestartBesidePrograms(t *testing.T) {
	t.Parallel()
	for name, o := range lab.HostRouted() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steady.Watch(t)
			dir := t.TempDir()
			o.Name, o.RunDir = labName(t), filepath.Join(dir, "lab")
			o.Load = load.Config{Rate: 100, Size: 90, TCP: 50 * time.Millisecond}
			l, err := lab.Up(t.Context(), o)
			if errors.Is(err, unix.EOPNOTSUPP) {
				return // no netkit: TestHostRouting knows which kernels must have it
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Down(); err != nil {
					t.Error(err)
				}
			})
			begin := load.Monotonic()
			before := attached(t, l.Node(1))
			for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				runAgent(t, l, dir, signal, before)
			}
			var removed []byte
			err = l.Node(1).Do(func() (err error) {
				removed, err = tracer("cleanup", "--run-dir", dir).CombinedOutput()
				t.Logf("%s", removed)
				return err
			})
			if err != nil {
				t.Errorf("cleanup: %v", err)
			}
			if after := attached(t, l.Node(1)); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			seen, err := l.Oracle(begin, load.Monotonic())
			if err != nil {
				t.Fatal(err)
			}
			// The kernel loses what is sent while a qdisc is put in place or taken away, less than 3 ms each time: see
			// docs/reports/reliability.md.
			most := uint64(0)
			if bytes.Contains(removed, []byte("removed qdisc")) {
				most = 5
			}
			if seen.Request.Received < 50 || uint64(seen.Request.Lost+seen.Response.Lost) > most {
				t.Errorf("%+v, %+v", seen.Request, seen.Response)
			}
		})
	}
}

// runAgent has an agent run on the first node until its programs are attached and packets pass, and then ends it.
func runAgent(t *testing.T, l *lab.Lab, dir string, end os.Signal, before string) {
	t.Helper()
	agent := tracer("agent", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--run-dir", dir, "--state-dir", dir)
	var log strings.Builder
	agent.Stderr = &log
	if err := l.Node(1).Do(agent.Start); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Wait() }()
	t.Cleanup(func() { _ = agent.Process.Kill() }) // if the test failed
	for limit := time.Now().Add(time.Minute); attached(t, l.Node(1)) == before; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("the agent ended: %v: %s", err, log.String())
		default:
		}
		if time.Now().After(limit) {
			t.Fatal("the agent attaches nothing")
		}
	}
	for from, limit := load.Monotonic(), time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if seen, err := l.Oracle(from, load.Monotonic()); err != nil {
			t.Fatal(err)
		} else if seen.Response.Received >= 100 {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("no calls are answered beside the agent")
		}
	}
	if err := agent.Process.Signal(end); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := <-ended; err != nil && (end != syscall.SIGKILL || !errors.As(err, &exit)) {
		t.Errorf("%v: %v: %s", end, err, log.String())
	}
}

// attached is what is attached to a node's devices: qdiscs, filters and programs.
func attached(t *testing.T, node lab.Node) string {
	t.Helper()
	var all strings.Builder
	err := node.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			d := l.Attrs()
			fmt.Fprintln(&all, d.Name)
			for _, show := range []string{"qdisc show dev " + d.Name, "filter show dev " + d.Name + " ingress", "filter show dev " + d.Name + " egress"} {
				out, err := exec.Command("tc", strings.Fields(show)...).Output()
				if err != nil {
					return fmt.Errorf("tc %s: %w", show, err)
				}
				all.Write(out)
			}
			for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress, ebpf.AttachNetkitPeer} {
				programs, err := link.QueryPrograms(link.QueryOptions{Target: d.Index, Attach: at})
				if err != nil {
					continue // a kernel or a device without
				}
				for _, p := range programs.Programs {
					fmt.Fprintln(&all, at, p.ID)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
