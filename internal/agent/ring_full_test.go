package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/test/steady"
)

// TestRingFull has a card receive TCP's bursts into a ring that is too small for them: what the card counts as lost is found, at the
// uplink and by its counter. It takes cards of the machine itself, and guests have two that are joined by a wire.
func TestRingFull(t *testing.T) {
	if !steady.InGuest() {
		t.Log("only a guest's cards may be given other addresses")
		return
	}
	const driver, far = "vmxnet3", "ringfull"
	_ = exec.Command("/usr/sbin/modprobe", driver).Run()
	cards := devicesOf(driver)
	if len(cards) < 3 {
		t.Fatalf("no two cards of %s here that are joined: %v", driver, cards)
	}
	near, other := cards[1], cards[2]
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	ip("netns add " + far)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", far).Run() })
	ip("link set " + other + " netns " + far)
	// Of itself the card comes back some time after its namespace has gone.
	t.Cleanup(func() { _ = exec.Command("ip", "-n", far, "link", "set", other, "netns", "1").Run() })
	ip("addr add 198.18.0.1/24 dev " + near)
	t.Cleanup(func() {
		_ = exec.Command("ip", "addr", "flush", "dev", near).Run()
		_ = exec.Command("ip", "link", "set", near, "down").Run()
	})
	// QEMU cuts large packets into fragments. Those of packets of which one was lost must not take the room of the next run's.
	const fragmentTime = "/proc/sys/net/ipv4/ipfrag_time"
	if err := os.WriteFile(fragmentTime, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(fragmentTime, []byte("30"), 0o644) })
	if err := setRings(near, 32); err != nil {
		t.Fatal(err)
	}
	ip("link set " + near + " up")
	ip("-n " + far + " addr add 198.18.0.2/24 dev " + other)
	ip("-n " + far + " link set " + other + " up")

	a, stop := runAgent(t)
	defer stop()
	listener, err := net.Listen("tcp", "198.18.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	from, err := a.TakeSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := sendFrom(far, "198.18.0.1:9", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	to, err := a.TakeSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	r := diagnose.Diagnose("node1", from, to)
	for _, f := range r.Findings {
		t.Logf("%s %s at %s: %s: %q", f.Severity, f.Cause, f.Device, f.Sentence(), f.Evidence)
	}
	for _, f := range r.Findings {
		if f.Cause == diagnose.NIC && f.Device == near && strings.Contains(strings.Join(f.Evidence, "\n"), "pkts rx OOB") {
			return
		}
	}
	t.Errorf("the full ring of %s is not found: %+v", near, to.NICs)
}

// sendFrom sends by TCP from a named network namespace, as much as goes.
func sendFrom(namespace, to string, d time.Duration) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		ns, err := netns.GetFromName(namespace)
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		var conn net.Conn
		for range 10 { // the link comes up
			if conn, err = net.DialTimeout("tcp", to, 2*time.Second); err == nil {
				break
			}
		}
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(d))
		for buffer := make([]byte, 1<<18); err == nil; {
			_, err = conn.Write(buffer)
		}
		if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "timeout") {
			err = nil
		}
		done <- err
	}()
	return <-done
}

// setRings makes a card's receive rings as small (ETHTOOL_SRINGPARAM).
func setRings(device string, size uint32) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	ring := struct { // struct ethtool_ringparam
		command                         uint32
		maxRx, maxMini, maxJumbo, maxTx uint32
		rx, mini, jumbo, tx             uint32
	}{command: unix.ETHTOOL_GRINGPARAM}
	ask := func() error {
		var request struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(request.name[:], device)
		request.data = unsafe.Pointer(&ring)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("rings of %s: %w", device, errno)
		}
		return nil
	}
	if err := ask(); err != nil {
		return err
	}
	ring.command, ring.rx, ring.jumbo = unix.ETHTOOL_SRINGPARAM, size, size
	return ask()
}
