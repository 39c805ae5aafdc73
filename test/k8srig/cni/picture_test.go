package cni

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/test/k8srig"
)

// shown are the commands that print what a node's network is made of.
var shown = []string{
	"ip -d link", "ip addr", "ip rule", "ip route show table all", "ip neigh show nud permanent", "bridge fdb show",
	"tc qdisc", "nft -s list ruleset",
}

// passing is what passes by itself: a bridge's timers, and what is left of addresses' lifetimes.
var passing = regexp.MustCompile(`\w+_timer +[0-9.]+|\w+_lft \w+`)

// picture is all that is configured of a node's network, by command.
func picture(t *testing.T, n *k8srig.Node) map[string]string {
	t.Helper()
	p := map[string]string{}
	until(t, time.Minute, "have its addresses on "+n.Name, func() error {
		out, err := n.Output("ip", "addr", "show", "tentative")
		if err == nil && out != "" {
			err = errors.New(out)
		}
		return err
	})
	for _, line := range shown {
		out, err := n.Output(strings.Fields(line)...)
		if err != nil {
			t.Fatal(err)
		}
		p[line] = passing.ReplaceAllString(out, "")
	}
	programs, filters := "", ""
	for _, device := range devices(t, n) {
		for _, parent := range []string{"ingress", "egress"} {
			out, err := n.Output("tc", "filter", "show", "dev", device.Name, parent)
			if err == nil { // without clsact there are none
				filters += out
			}
		}
		for attach, name := range map[uint32]string{tcxIngress: "ingress", tcxEgress: "egress"} {
			ids, err := attached(n, uint32(device.Index), attach)
			if err != nil {
				t.Fatal(err)
			}
			if len(ids) > 0 {
				programs += fmt.Sprintf("%s %s %v\n", device.Name, name, names(t, ids))
			}
		}
	}
	p["tc filter"], p["programs at TCX"] = filters, programs
	p["programs at the cgroup"] = cgroupPrograms(t, n)
	return p
}

// cgroupPrograms are those at the node's cgroup, by name.
func cgroupPrograms(t *testing.T, n *k8srig.Node) (text string) {
	t.Helper()
	path, err := n.CgroupV2()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, attach := range cgroupKinds {
		ids, err := attached(n, uint32(dir.Fd()), attach)
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) > 0 {
			text += fmt.Sprintf("kind %d %v\n", attach, names(t, ids))
		}
	}
	return text
}

// changed says what has changed of a node's network since before; nothing, if it is the same.
func changed(t *testing.T, n *k8srig.Node, before map[string]string) (text string) {
	t.Helper()
	after := picture(t, n)
	for what, was := range before {
		// kube-proxy may write its rules anew, in another order.
		if lines := difference(was, after[what]); lines != "" {
			text += fmt.Sprintf("%s on %s has changed:\n%s", what, n.Name, lines)
		}
	}
	return text
}

// difference is the lines that one text has and the other has not.
func difference(was, is string) (text string) {
	old, now := strings.Split(was, "\n"), strings.Split(is, "\n")
	for _, l := range old {
		if !slices.Contains(now, l) {
			text += "- " + l + "\n"
		}
	}
	for _, l := range now {
		if !slices.Contains(old, l) {
			text += "+ " + l + "\n"
		}
	}
	return text
}

// inNetwork calls f in a node's network.
func inNetwork(n *k8srig.Node, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", n.PID()))
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

func devices(t *testing.T, n *k8srig.Node) (list []net.Interface) {
	t.Helper()
	err := inNetwork(n, func() (err error) {
		list, err = net.Interfaces()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Kinds of attachment, and the command that lists what is attached (linux/bpf.h).
const (
	tcxIngress, tcxEgress = 46, 47

	bpfProgGetFDByID   = 13
	bpfObjGetInfoByFD  = 15
	bpfProgQuery       = 16
	sizeOfBPFProgInfo  = 80 // up to the name
	nameInBPFProgInfo  = 64
	longestProgramName = 16
)

// cgroupKinds are those of programs at a cgroup that have to do with its sockets and packets: ingress, egress, sock_create,
// sock_ops, bind, connect, post_bind, sendmsg, recvmsg, getpeername, getsockname.
var cgroupKinds = [...]uint32{0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 29, 30, 31, 32, 34}

// attached are the programs at a device's TCX, or at a cgroup by its descriptor, by number.
func attached(n *k8srig.Node, target, attach uint32) ([]uint32, error) {
	var ids [64]uint32
	query := struct {
		target, attach, query, flags uint32
		ids                          uint64
		count, _                     uint32
		_, _, _                      uint64
		revision                     uint64
	}{target: target, attach: attach, count: uint32(len(ids))}
	err := inNetwork(n, func() error {
		query.ids = uint64(uintptr(unsafe.Pointer(&ids)))
		_, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgQuery, uintptr(unsafe.Pointer(&query)), unsafe.Sizeof(query))
		if errno != 0 {
			return fmt.Errorf("list the programs of kind %d at %d: %w", attach, target, errno)
		}
		return nil
	})
	runtime.KeepAlive(&ids)
	return ids[:query.count], err
}

// names are programs' names, in their order. A plugin's agent loads its own anew whenever it likes, and they get other numbers.
func names(t *testing.T, ids []uint32) (list []string) {
	t.Helper()
	for _, id := range ids {
		name, err := programName(id)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	return list
}

func programName(id uint32) (string, error) {
	byID := struct{ id, next, flags uint32 }{id: id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgGetFDByID, uintptr(unsafe.Pointer(&byID)), unsafe.Sizeof(byID))
	if errno == unix.ENOENT {
		return "gone", nil // since it was listed
	}
	if errno != 0 {
		return "", fmt.Errorf("open program %d: %w", id, errno)
	}
	defer unix.Close(int(fd))
	var info [sizeOfBPFProgInfo]byte
	query := struct {
		fd, size uint32
		info     uint64
	}{uint32(fd), uint32(len(info)), uint64(uintptr(unsafe.Pointer(&info)))}
	_, _, errno = unix.Syscall(unix.SYS_BPF, bpfObjGetInfoByFD, uintptr(unsafe.Pointer(&query)), unsafe.Sizeof(query))
	runtime.KeepAlive(&info)
	if errno != 0 {
		return "", fmt.Errorf("ask for program %d: %w", id, errno)
	}
	return unix.ByteSliceToString(info[nameInBPFProgInfo:][:longestProgramName]), nil
}
