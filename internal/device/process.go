package device

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Processes finds the processes in other network namespaces, which are given by the ids that the watched one has for them
// (netdev.Device.PeerNetns). It goes through all of /proc: no more often than a finding calls for it. Of a namespace without processes that
// are seen here there is nothing.
func (w *Watcher) Processes(ids []int) (map[int][]string, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("look for the processes of pods: %w", err)
	}
	pids := map[uint64][]string{} // by the inode of their network namespace
	for _, path := range paths {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			pids[st.Ino] = append(pids[st.Ino], filepath.Base(filepath.Dir(filepath.Dir(path))))
		}
	}
	found := map[int][]string{}
	for _, in := range pids {
		id, err := w.namespaceID("/proc/" + in[0] + "/ns/net")
		if err != nil {
			continue // the process has ended meanwhile
		}
		if slices.Contains(ids, id) {
			found[id] = in
		}
	}
	return found, nil
}

// namespaceID is the id that the watched namespace has for another one; -1 if it has none.
func (w *Watcher) namespaceID(path string) (int, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := nl.NewNetlinkRequest(unix.RTM_GETNSID, 0)
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: w.source.socket}
	r.AddData(&rtGenMsg{})
	r.AddData(nl.NewRtAttr(unix.NETNSA_FD, nl.Uint32Attr(uint32(file.Fd()))))
	messages, err := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
	if err != nil {
		return 0, fmt.Errorf("ask for the id of a network namespace: %w", err)
	}
	for _, m := range messages {
		if len(m) < rtGenMsgBytes {
			continue
		}
		for kind, value := range attributes(m[rtGenMsgBytes:]) {
			if kind == unix.NETNSA_NSID {
				return int(int32(u32(value, 0))), nil
			}
		}
	}
	return -1, nil
}

// rtGenMsg is struct rtgenmsg of no family, as long as netlink aligns it.
type rtGenMsg struct{}

const rtGenMsgBytes = 4

func (*rtGenMsg) Len() int          { return rtGenMsgBytes }
func (*rtGenMsg) Serialize() []byte { return make([]byte, rtGenMsgBytes) }
