package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tracer/internal/governor"
	"tracer/internal/loader"
	"tracer/test/steady"
)

// TestFreedBySender sends packets by a card whose driver (vmxnet3) frees what it has sent by kfree_skb: none of them is a drop. It takes
// a card of the machine itself, and guests have one for that.
func TestFreedBySender(t *testing.T) {
	if !steady.InGuest() {
		t.Log("only a guest's card may be given other addresses")
		return
	}
	const driver = "vmxnet3"
	_ = exec.Command("/usr/sbin/modprobe", driver).Run()
	device := deviceOf(driver)
	if device == "" {
		t.Fatalf("no card of %s here", driver)
	}
	// What it sent before our hooks were there and frees behind them is a drop for all that anybody knows: IPv6 speaks as soon as it is up.
	ipv6 := filepath.Join("/proc/sys/net/ipv6/conf", device, "disable_ipv6")
	if err := os.WriteFile(ipv6, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(ipv6, []byte("0"), 0o644) })
	for _, args := range []string{
		"addr add 192.0.2.1/24 dev DEV", "link set DEV up", "neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev DEV nud permanent",
		"route add default via 192.0.2.2",
	} {
		if out, err := exec.Command("ip", strings.Fields(strings.ReplaceAll(args, "DEV", device))...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "addr", "flush", "dev", device).Run() })
	a, stop := runAgent(t)
	defer stop()
	before, err := a.loader.Counters()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", "198.51.100.7:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const n = 1000
	for i := range n {
		if _, err := fmt.Fprintf(conn, "datagram %d", i); err != nil {
			t.Fatal(err)
		}
	}
	c := cluster{T: t, agents: []*Agent{a}}
	var after loader.Counters
	c.eventually(10*time.Second, "packets that were sent", func() (bool, string) {
		if after, err = a.loader.Counters(); err != nil {
			t.Fatal(err)
		}
		return after.Finished-before.Finished >= n, fmt.Sprintf("%+v", after)
	})
	time.Sleep(time.Second) // the driver frees the last of them later
	if after, err = a.loader.Counters(); err != nil {
		t.Fatal(err)
	}
	if d := after.Dropped - before.Dropped; d > 0 {
		t.Errorf("%d drops for %d packets sent", d, after.Finished-before.Finished)
	}
}

// deviceOf is the first device that a driver drives, or "".
func deviceOf(driver string) string {
	if all := devicesOf(driver); len(all) > 0 {
		return all[0]
	}
	return ""
}

// devicesOf are all of them, by name.
func devicesOf(driver string) (all []string) {
	found, _ := filepath.Glob("/sys/class/net/*/device/driver")
	for _, path := range found {
		if target, err := os.Readlink(path); err == nil && filepath.Base(target) == driver {
			all = append(all, strings.Split(path, "/")[4])
		}
	}
	return all
}

// runAgent traces the calling thread's network namespace, whatever that costs, until stop is called.
func runAgent(t *testing.T) (a *Agent, stop func()) {
	t.Helper()
	a, err := Start(Options{
		Loader: loader.Options{Dir: filepath.Join(t.TempDir(), "agent"), Kernel: &kernel}, Namer: names{}, Limits: governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return a, func() {
		cancel()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Error(err)
		}
	}
}
