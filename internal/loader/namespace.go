package loader

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// namespace is a network namespace to attach in. Links and filters go to the namespace of the thread that makes
// them, and a goroutine does not choose its thread.
type namespace struct{ handle netns.NsHandle }

func currentNamespace() (*namespace, error) {
	handle, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return &namespace{handle}, nil
}

// do runs f on a thread in the namespace.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer here.Close()
	if here.Equal(n.handle) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := netns.Set(n.handle); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		// The thread stays locked and ends with its goroutine.
		return errors.Join(err, fmt.Errorf("leave the network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

func (n *namespace) Close() error { return n.handle.Close() }
