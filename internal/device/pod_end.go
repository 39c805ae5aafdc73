package device

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/namespace"
	"tracer/internal/netdev"
)

// ErrNoNetns: a network namespace has no file here by which it could be entered.
var ErrNoNetns = errors.New("the pod's network namespace is not found in /proc or /run/netns " +
	"(in Kubernetes: hostPID: true, or mount /run/netns with mountPropagation HostToContainer)")

// NetnsFiles finds network namespaces by their inode, and remembers the file that stood for each. It is not safe for
// concurrent use.
type NetnsFiles struct {
	// Patterns are where to look; none: where processes have theirs, and where ip(8) and container runtimes keep named ones.
	Patterns []string
	found    map[uint64]string
	peers    map[int]uint64 // inodes by id, where these were asked for
	searched bool           // in this batch
}

// netnsPatterns are for filepath.Glob: the few named namespaces before those of all processes.
func netnsPatterns() []string {
	return []string{"/run/netns/*", "/var/run/netns/*", "/run/docker/netns/*", "/proc/1/root/run/netns/*", "/proc/[0-9]*/ns/net"}
}

// maxNetnsFiles bounds the files that are remembered.
const maxNetnsFiles = 4096

// Open opens a network namespace, which the caller closes. ErrNoNetns where no file stands for it.
func (f *NetnsFiles) Open(inode uint64) (netns.NsHandle, error) {
	f.searched = false
	return f.open(inode)
}

// OpenPeer opens the network namespace of that id, as netdev.Device has it of a pod's peer; idOf tells the id of a namespace by a file
// descriptor of it. The caller closes it. ErrNoNetns where no file stands for it.
func (f *NetnsFiles) OpenPeer(idOf func(fd int) (int, error), id int) (netns.NsHandle, error) {
	is := func(handle netns.NsHandle) bool {
		got, err := idOf(int(handle))
		return err == nil && got == id
	}
	if handle, err := f.Open(f.peers[id]); err == nil {
		if is(handle) {
			return handle, nil
		}
		handle.Close()
	}
	if !f.searched {
		if err := f.search(); err != nil {
			return netns.None(), err
		}
	}
	for inode, path := range f.found {
		handle, err := openNetns(path, inode)
		if err != nil {
			continue
		}
		if is(handle) {
			f.peers[id] = inode
			return handle, nil
		}
		handle.Close()
	}
	return netns.None(), ErrNoNetns
}

// open is Open for one of a batch, for which files are searched once.
func (f *NetnsFiles) open(inode uint64) (netns.NsHandle, error) {
	handle, err := openNetns(f.found[inode], inode)
	if err == nil || f.searched {
		return handle, err
	}
	if err := f.search(); err != nil {
		return netns.None(), err
	}
	return openNetns(f.found[inode], inode)
}

// search looks for all network namespaces.
func (f *NetnsFiles) search() error {
	f.found, f.peers, f.searched = map[uint64]string{}, map[int]uint64{}, true
	patterns := f.Patterns
	if patterns == nil {
		patterns = netnsPatterns()
	}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("look for network namespaces: %w", err)
		}
		for _, path := range paths {
			var st unix.Stat_t
			if unix.Stat(path, &st) == nil && f.found[st.Ino] == "" && len(f.found) < maxNetnsFiles {
				f.found[st.Ino] = path
			}
		}
	}
	return nil
}

// openNetns opens a file if it stands for that network namespace, and not for another one meanwhile.
func openNetns(path string, inode uint64) (netns.NsHandle, error) {
	if path == "" {
		return netns.None(), ErrNoNetns
	}
	handle, err := netns.GetFromPath(path)
	if err != nil {
		return netns.None(), fmt.Errorf("open the pod's network namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(handle), &st); err != nil || st.Ino != inode {
		handle.Close()
		return netns.None(), ErrNoNetns
	}
	return handle, nil
}

// ReadPodEnds fills in the qdisc trees and counters of pods' ends as they are now, read in the pods' network namespaces. One
// that cannot be entered stays as it is, and says why in Unread.
func (f *NetnsFiles) ReadPodEnds(ends []*netdev.PodEnd) {
	f.searched = false // once for all
	for _, end := range ends {
		root, err := f.rootQdisc(end.Netns, end.Ifindex)
		if err != nil {
			end.Unread = err.Error()
			continue
		}
		end.Root, end.Unread = root, ""
	}
}

// rootQdisc reads a device's qdisc tree in another network namespace.
func (f *NetnsFiles) rootQdisc(inode uint64, ifindex int) (netdev.Qdisc, error) {
	handle, err := f.open(inode)
	if err != nil {
		return netdev.Qdisc{}, err
	}
	defer handle.Close()
	s, err := openSourceIn(handle) // it keeps the namespace alive, so it is not kept
	if err != nil {
		return netdev.Qdisc{}, err
	}
	defer s.close()
	qdiscs, err := s.nodes("qdiscs", unix.RTM_GETQDISC, ifindex)
	if err != nil {
		return netdev.Qdisc{}, err
	}
	var classes []node
	for _, index := range withClasses(qdiscs) {
		if index != ifindex {
			continue
		}
		if classes, err = s.nodes("classes", unix.RTM_GETTCLASS, index); err != nil {
			return netdev.Qdisc{}, err
		}
	}
	return tree(group(qdiscs)[ifindex], classes), nil
}

// openSourceIn opens a source in another network namespace.
func openSourceIn(handle netns.NsHandle) (s *source, err error) {
	err = namespace.Do(handle, func() (err error) {
		s, err = openSource()
		return err
	})
	return s, err
}
