package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
)

// serveScript is the job of joined machines: it runs the commands that come over the machine's line.
//
//go:embed serve
var serveScript string

// joined is what a machine has that shares a network with others. Its time is this machine's, for there is no virtual time that holds
// in several: what it measures depends on how busy this machine is.
type joined struct {
	name  string
	wires []string // one network card on each
	// ahead is how far its wall clock is ahead of this machine's.
	ahead time.Duration
	line  string // unix socket that is the other end of its second serial line
	clock string // of the kernel's parameters: see clockRate
}

// joinedMachines are two with a router between them.
var joinedMachines = []joined{
	{name: "node1", wires: []string{"left"}},
	{name: "router", wires: []string{"left", "right"}},
	{name: "node2", wires: []string{"right"}, ahead: 3 * time.Second},
}

// queues of each network card, one for each of its machine's CPUs.
const queues = 2

func (j joined) tap(wire string) string { return j.name + "-" + wire }

// args are those of qemu. Taps alone have what real cards have: segmentation by the card (a socket between two machines carries no
// header that says where to cut) and several queues. Those cut what their machine's card need not be able to put together again,
// so that the other side gets single packets, and GRO has its work.
func (j joined) args() []string {
	args := []string{"-rtc", "base=" + time.Now().Add(j.ahead).UTC().Format("2006-01-02T15:04:05")}
	for n, wire := range j.wires {
		tap := j.tap(wire)
		args = append(args,
			"-netdev", fmt.Sprintf("tap,id=%s,ifname=%s,queues=%d,script=no,downscript=no,vhost=off", tap, tap, queues),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s,mq=on,vectors=%d,%s", tap, mac(j.name, n), 2*queues+2,
				"guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off"))
	}
	return append(args, "-chardev", "socket,id=job,path="+j.line+",server=on,wait=off", "-serial", "chardev:job")
}

// clockRate is what a joined machine's kernel is told of its time-stamp counter, which is this machine's. While others want this machine's
// CPUs as well, what the kernel would measure at boot may be a tenth of that, and its clock would run away. BogoMIPS on x86 are twice the
// counter's rate in MHz; what /proc/cpuinfo has as "cpu MHz" may be how fast the CPU is at the moment.
func clockRate(cpuinfo string) (string, error) {
	m := bogoMIPS.FindStringSubmatch(cpuinfo)
	if m == nil {
		return "", errors.New("/proc/cpuinfo does not say how fast this machine's time-stamp counter is")
	}
	hundredths, err := strconv.Atoi(m[1] + m[2])
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("tsc_early_khz=%d", hundredths*5), nil
}

var bogoMIPS = regexp.MustCompile(`(?m)^bogomips\s*: (\d+)\.(\d{2})$`)

// mac is the address of a machine's n-th card: all cards of this program have others.
func mac(name string, n int) string {
	sum := 0
	for _, c := range name {
		sum = sum*31 + int(c)
	}
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", byte(sum>>8), byte(sum), n)
}

// makeWires makes a bridge for each wire, with a tap on it for each card, in the network namespace of the calling thread.
func makeWires(ctx context.Context, machines []joined) error {
	var batch strings.Builder
	made := map[string]bool{}
	for _, m := range machines {
		for _, wire := range m.wires {
			if !made[wire] {
				made[wire] = true
				fmt.Fprintf(&batch, "link add %s type bridge mcast_snooping 0\nlink set %s addrgenmode none up\n", wire, wire)
			}
			tap := m.tap(wire)
			fmt.Fprintf(&batch, "tuntap add %s mode tap multi_queue vnet_hdr\n", tap)
			// A machine that gets no CPU for a while must not lose what a real wire would have delivered.
			fmt.Fprintf(&batch, "link set %s master %s addrgenmode none txqueuelen 10000 up\n", tap, wire)
		}
	}
	cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make wires: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// runJoined runs the joined machines until ctx ends or one of them stops. What comes over a machine's line is run there; the lines are
// sockets in the directory o.lines, named after the machines. The kernels' messages are there too.
func runJoined(ctx context.Context, o options, j job, work string) error {
	k := o.kernels[0]
	i, err := fetch(ctx, k, o.cache)
	if err != nil {
		return fmt.Errorf("fetch it: %w", err)
	}
	programs, err := sysrootFor(ctx, k.arch, o.cache)
	if err != nil {
		return fmt.Errorf("fetch tools for it: %w", err)
	}
	j.script = serveScript
	initramfs := filepath.Join(work, "joined.initramfs")
	if err := (guest{image: i, sysroot: programs, job: j}).write(initramfs); err != nil {
		return err
	}
	if err := os.MkdirAll(o.lines, 0o755); err != nil {
		return err
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	clock, err := clockRate(string(cpuinfo))
	if err != nil {
		return err
	}
	wires, err := newNamespace(func() error { return makeWires(ctx, joinedMachines) })
	if err != nil {
		return err
	}
	defer wires.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	for _, one := range joinedMachines {
		one.clock, one.line = clock, filepath.Join(o.lines, one.name+".sock")
		m := machine{board: boards[k.arch], kernel: i.vmlinuz(), initramfs: initramfs, memory: o.memory, joined: &one, console: filepath.Join(o.lines, one.name+".console")}
		group.Go(func() error {
			defer cancel() // nobody has a use for the others alone
			if err := m.runIn(ctx, wires); err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// newNamespace makes a network namespace, calls f in it, and returns it.
func newNamespace(f func() error) (ns netns.NsHandle, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if ns, err = netns.New(); err != nil {
			err = fmt.Errorf("make a network namespace (are you root?): %w", err)
			return
		}
		if err = f(); err != nil {
			ns.Close()
		}
	}()
	<-done
	return ns, err
}

// runIn runs the machine with its network in a namespace, until ctx ends, which is no error, or it stops. A complaint of its kernel is.
func (m machine) runIn(ctx context.Context, ns netns.NsHandle) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // qemu dies with the thread that started it
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter the network namespace: %w", err)
			return
		}
		_, err := m.run(ctx, func(out io.Reader) error { _, err := io.Copy(io.Discard, out); return err })
		done <- err
	}()
	err := <-done
	if errors.Is(err, context.Canceled) {
		err = nil
	} else if err == nil {
		err = errors.New("it switched itself off")
	}
	console, readErr := os.ReadFile(m.console)
	return errors.Join(err, readErr, complaints(string(console)))
}
