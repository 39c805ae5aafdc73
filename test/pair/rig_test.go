package pair

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tracer/internal/lab"
	"tracer/test/steady"
)

var (
	kernel = flag.String("kernel", "6.12", "the machines' kernel, of those that test/vm knows")
	lines  = flag.String("lines", "", "directory of machines that run already: go run ./test/vm -kernel 6.12 -joined DIR")
)

// rig is two nodes with a router between them. Each node's half of a lab is made on its machine.
type rig struct {
	*testing.T
	node1, router, node2 *machine
	overlay              string // device on both nodes
}

// api is the address of the pod that answers, on node2.
const api = "10.244.2.2"

// The nodes' clocks, and what their kernels would not be told by a machine that they share.
const (
	ahead = 3 * time.Second // of node2's wall clock, see test/vm
	drift = 100             // parts in a million by which it runs faster
)

// newRig joins machines, which it boots unless they run already.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t}
	ctx, dir := t.Context(), *lines
	if dir == "" {
		ctx, dir = boot(t)
	}
	for name, m := range map[string]**machine{"node1": &r.node1, "router": &r.router, "node2": &r.node2} {
		*m = &machine{name: name, line: filepath.Join(dir, name+".sock")}
	}
	for _, m := range []*machine{r.node1, r.router, r.node2} {
		limit, stop := context.WithTimeout(ctx, 10*time.Minute) // where others use the CPUs as well it takes two
		if err := m.boots(limit); err != nil {
			t.Fatalf("boot %s: %v", m.name, err)
		}
		stop()
	}
	// Nodes are in one network, as clouds make it: the router answers for those that are behind it.
	r.on(r.router, `sysctl -qw net.ipv4.ip_forward=1
for d in eth0 eth1; do
	ip link set $d up
	ip addr replace 172.30.0.1/32 dev $d
	sysctl -qw net.ipv4.conf.$d.proxy_arp=1 net.ipv4.neigh.$d.proxy_delay=0
done
ip route replace 172.30.0.11 dev eth0
ip route replace 172.30.0.12 dev eth1`)
	r.on(r.node2, fmt.Sprintf("adjtimex -q -f %d", drift<<16))
	r.clocksDiffer()
	return r
}

// boot boots the machines, whose lines are in that directory. The context ends when they do.
func boot(t *testing.T) (context.Context, string) {
	t.Helper()
	dir := t.TempDir()
	vm := filepath.Join(dir, "vm")
	if out, err := exec.Command("go", "build", "-o", vm, "tracer/test/vm").CombinedOutput(); err != nil {
		t.Fatalf("build test/vm: %v: %s", err, out)
	}
	lines := filepath.Join(dir, "lines")
	cmd := exec.Command(vm, "-kernel", *kernel, "-joined", lines, "-timeout", "2h")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started, ended := make(chan error), make(chan error, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		runtime.LockOSThread() // it dies with the thread that started it
		err := cmd.Start()
		if started <- err; err != nil {
			return
		}
		err = cmd.Wait()
		cancel(fmt.Errorf("the machines ended: %w", err))
		ended <- err
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the machines: %v", err) // a kernel's complaint is one
		}
	})
	return ctx, lines
}

// clocksDiffer makes sure that the nodes' clocks are apart: what holds here must not need them to be one.
func (r *rig) clocksDiffer() {
	r.Helper()
	// A machine may take long to answer: node1 is asked before and after.
	first, there, last := r.number(r.node1, "date +%s"), r.number(r.node2, "date +%s"), r.number(r.node1, "date +%s")
	if there < first+ahead.Seconds()-1 || there > last+ahead.Seconds()+1 {
		r.Fatalf("node2's clock says %.0f, node1's %.0f before and %.0f after: want it %v ahead", there, first, last, ahead)
	}
}

// on runs a script that must succeed.
func (r *rig) on(m *machine, script string) string {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Minute)
	defer cancel()
	said, err := m.run(ctx, script)
	if err != nil {
		r.Fatal(err)
	}
	return said
}

// number is what a script prints, as a number.
func (r *rig) number(m *machine, script string) float64 {
	r.Helper()
	said := strings.TrimSpace(r.on(m, script))
	n, err := strconv.ParseFloat(said, 64)
	if err != nil {
		r.Fatalf("%s: %s: %v", m.name, script, err)
	}
	return n
}

// up makes both halves of a lab with an overlay of that kind and device, and has agents trace both nodes until the test ends.
func (r *rig) up(overlay, device string) {
	r.Helper()
	r.overlay = device
	for _, m := range []*machine{r.node2, r.node1} { // the caller waits for answers
		if *lines != "" {
			r.on(m, "[[ ! -e /tmp/agent.pid ]] || kill $(</tmp/agent.pid); tracer lab down; true") // of a run that was interrupted
		}
		r.on(m, "tracer lab up --machine "+m.name+" --rate 25 --tcp 50ms --overlay "+overlay)
		r.Cleanup(func() {
			// The test's own context has ended.
			if said, err := m.run(context.Background(), "tracer lab down"); err != nil {
				r.Error(err, said)
			}
		})
	}
	r.both(func(m *machine) error {
		// An emulated CPU takes long for what an agent does: by its usual limit it would trace some packets only.
		_, err := m.run(r.Context(), `tracer agent --max-cpu 1 --max-records 1000000 --state-dir '' >/tmp/agent.log 2>&1 & echo $! >/tmp/agent.pid
for i in $(seq 600); do
	grep -q 'tracing started' /tmp/agent.log && exit
	kill -0 $! || break
	usleep 200000
done
cat /tmp/agent.log
exit 1`)
		return err
	})
	r.Cleanup(func() {
		for _, m := range []*machine{r.node1, r.node2} {
			said, err := m.run(context.Background(), `kill $(</tmp/agent.pid); while kill -0 $(</tmp/agent.pid) 2>/dev/null; do usleep 100000; done
grep -E 'level=(WARN|ERROR)' /tmp/agent.log; cat /sys/kernel/tracing/trace | grep -v '^#' | head`)
			if err != nil && !errors.Is(err, errCommand) {
				r.Error(err)
			}
			r.Logf("%s: the agent warned of: %s", m.name, said)
		}
	})
	r.quiet()
}

// both does something for both nodes at a time.
func (r *rig) both(f func(m *machine) error) {
	r.Helper()
	var group errgroup.Group
	for _, m := range []*machine{r.node1, r.node2} {
		group.Go(func() error { return f(m) })
	}
	if err := group.Wait(); err != nil {
		r.Fatal(err)
	}
}

// quiet waits until nothing is found on either node, as some time after their agents' start, or after a fault.
func (r *rig) quiet() {
	r.Helper()
	r.eventually(func() string {
		last := r.diagnose(window)
		if last[0].Verdict == "healthy" && last[1].Verdict == "healthy" {
			return ""
		}
		return fmt.Sprintf("while nothing is broken node1 says %s, node2 %s", last[0].said(), last[1].said())
	})
}

// status is what the load on node1 says of itself.
func (r *rig) status() lab.Report {
	r.Helper()
	var s struct{ Recent lab.Report }
	if err := r.node1.runJSON(r.Context(), "tracer lab status -o json", &s); err != nil {
		r.Fatal(err)
	}
	return s.Recent
}

// run plays something as a test of its own.
func (r *rig) run(name string, f func(r *rig)) {
	r.Run(name, func(t *testing.T) {
		steady.Watch(t)
		one := *r
		one.T = t
		f(&one)
	})
}

func TestPair(t *testing.T) {
	r := newRig(t)
	for overlay, device := range map[string]string{lab.IPIP: "tunl0", lab.VXLAN: "vxlan.calico"} {
		if testing.Short() && overlay != lab.IPIP {
			continue
		}
		t.Run(overlay, func(t *testing.T) {
			one := *r
			one.T = t
			one.up(overlay, device)
			one.run("counts", counts)
			if !testing.Short() {
				one.run("queue", queue)
				one.run("drops", drops)
				one.run("path", path)
				one.run("path in bulk", pathInBulk)
			}
			for _, s := range scenarios() {
				if s.short || !testing.Short() {
					one.run(s.name, s.play)
				}
			}
		})
	}
}
