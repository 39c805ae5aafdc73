package device

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
)

// TestReadPodEnd reads a qdisc in another network namespace, and says so where that has no file here.
func TestReadPodEnd(t *testing.T) {
	t.Parallel()
	pod := enterNamespace(t)
	addVeth(t, "cali1", pod)
	here, err := netns.Get()
	try(t, err)
	defer here.Close()
	try(t, netns.Set(pod))
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		links, _ := netlink.LinkList()
		link = links[len(links)-1]
	}
	index := link.Attrs().Index
	addTBF(t, index, netlink.MakeHandle(1, 0), netlink.HANDLE_ROOT)
	try(t, netns.Set(here))

	var st unix.Stat_t
	try(t, unix.Fstat(int(pod), &st))
	end := netdev.PodEnd{Name: "eth0", Ifindex: index, Netns: st.Ino, Root: netdev.Qdisc{Kind: "tbf"}}
	read := func(files *NetnsFiles) netdev.PodEnd {
		got := end
		files.ReadPodEnds([]*netdev.PodEnd{&got})
		return got
	}
	files := NetnsFiles{Patterns: []string{filepath.Join(t.TempDir(), "*"), fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(pod))}}
	for range 2 { // by looking, and by the file that was found
		if got := read(&files); got.Unread != "" || got.Root.Kind != "tbf" || got.Root.Handle != "1:" || got.Root.RateBits != 50_000 {
			t.Errorf("%+v", got)
		}
	}
	// The file may come to stand for another namespace: that is not entered.
	files.found[st.Ino] = "/proc/self/ns/net"
	if got := read(&files); got.Unread != "" || got.Root.Kind != "tbf" {
		t.Errorf("%+v", got)
	}
	files.found, files.Patterns = nil, files.Patterns[:1]
	if got := read(&files); !strings.Contains(got.Unread, "hostPID: true, or mount /run/netns") || got.Root.Kind != "tbf" {
		t.Errorf("%+v", got)
	}
	if now, err := netns.Get(); err != nil || !now.Equal(here) {
		t.Errorf("the test's thread is in another namespace: %v", err)
	}
}
