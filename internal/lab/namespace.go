package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where ip(8) looks for named network namespaces.
const namespaceDir = "/run/netns"

// Namespace is the name of a network namespace, as `ip netns` knows it.
type Namespace string

// Path is the file that stands for the namespace.
func (n Namespace) Path() string { return filepath.Join(namespaceDir, string(n)) }

// inode is the namespace's number, by which the kernel and the agent tell namespaces apart.
func (n Namespace) inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(n.Path(), &st); err != nil {
		return 0, fmt.Errorf("network namespace %s: %w", n, err)
	}
	return st.Ino, nil
}

// Do runs f with its thread inside the namespace. What f opens or starts stays there: sockets, processes,
// netlink handles. Goroutines that f starts do not.
func (n Namespace) Do(f func() error) error {
	return onThread(func() error {
		ns, err := netns.GetFromPath(n.Path())
		if err != nil {
			return fmt.Errorf("network namespace %s: %w", n, err)
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n, err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own, whose network namespace f may change. The thread is given back once
// it is in its old namespace again, and ends with the goroutine if that fails.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("the function ended its goroutine")
		defer func() { done <- err }()
		runtime.LockOSThread()
		home, homeErr := netns.Get()
		if homeErr != nil {
			err = fmt.Errorf("current network namespace: %w", homeErr)
			return
		}
		defer home.Close()
		defer func() {
			if netns.Set(home) == nil {
				runtime.UnlockOSThread()
			}
		}()
		err = f()
	}()
	return <-done
}

// handle returns a netlink handle into the namespace, to be closed after use.
func (n Namespace) handle() (*netlink.Handle, error) {
	ns, err := netns.GetFromPath(n.Path())
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", n, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink in %s: %w", n, err)
	}
	return h, nil
}

// exists tells whether something has the name.
func (n Namespace) exists() bool {
	_, err := os.Lstat(n.Path())
	return err == nil
}

// create makes the namespace, with loopback up and the lab's mark on it. It forwards nothing yet, though the machine's own may, as Docker has
// it, which a new one takes over.
func (n Namespace) create() error {
	if err := shareNamespaceDir(); err != nil {
		return fmt.Errorf("make network namespace %s: prepare %s: %w", n, namespaceDir, err)
	}
	err := onThread(func() error {
		ns, err := netns.NewNamed(string(n))
		if err != nil {
			if !errors.Is(err, fs.ErrExist) {
				os.Remove(n.Path()) // the file over which it could not be mounted
			}
			return err
		}
		defer ns.Close()
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("loopback: %w", err)
		}
		return errors.Join(netlink.LinkSetAlias(lo, n.mark()), netlink.LinkSetUp(lo))
	})
	if err != nil {
		return fmt.Errorf("make network namespace %s: %w", n, err)
	}
	return n.setSysctls([][2]string{{"ipv4/ip_forward", "0"}})
}

// shareNamespaceDir makes namespaceDir a shared mount, as `ip netns add` does and leaves it. If ip did so later, it would
// cover the lab's namespaces, and nobody could remove those.
func shareNamespaceDir() error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(namespaceDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil { // as ip does
		return fmt.Errorf("lock: %w", err)
	}
	share := func() error { return unix.Mount("", namespaceDir, "", unix.MS_SHARED|unix.MS_REC, "") }
	if err := share(); !errors.Is(err, unix.EINVAL) { // EINVAL: no mount yet
		return err
	}
	if err := unix.Mount(namespaceDir, namespaceDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return share()
}

// mark is the alias of a namespace's loopback device, by which a lab whose state is lost knows its own.
func (n Namespace) mark() string { return "tracer lab " + string(n) }

func (n Namespace) marked() bool {
	h, err := n.handle()
	if err != nil {
		return false
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	return err == nil && lo.Attrs().Alias == n.mark()
}

// remove gives up the name; the kernel removes the namespace once nobody is inside. A name that does not exist
// is none to remove.
func (n Namespace) remove() error {
	err := unix.Unmount(n.Path(), unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // EINVAL: nothing mounted there
		return fmt.Errorf("remove network namespace %s: %w", n, err)
	}
	if err := os.Remove(n.Path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", n, err)
	}
	return nil
}

// markedNamespaces are those that carry the lab's name and mark.
func markedNamespaces(lab string) ([]Namespace, error) {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var found []Namespace
	for _, e := range entries {
		if n := Namespace(e.Name()); strings.HasPrefix(e.Name(), lab+"-") && n.marked() {
			found = append(found, n)
		}
	}
	return found, nil
}

// setSysctls writes values below /proc/sys/net of the namespace. Keys that a kernel lacks, as all of IPv6 where
// it is switched off, are left out.
func (n Namespace) setSysctls(values [][2]string) error {
	return n.Do(func() error {
		for _, v := range values {
			// The directory is resolved for the reading thread, not the process.
			err := os.WriteFile("/proc/sys/net/"+v[0], []byte(v[1]), 0o644)
			if err != nil && !(errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(v[0], "ipv6/")) {
				return fmt.Errorf("%s: set %s: %w", n, v[0], err)
			}
		}
		return nil
	})
}
