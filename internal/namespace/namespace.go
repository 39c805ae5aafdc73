// Package namespace runs functions in network namespaces.
package namespace

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// Do runs f on a thread in the namespace: on this one if it is in it, since entering a namespace takes a capability that an
// agent on a node need not have; else on one that ends afterwards, so that none that might not have come back serves others.
// What f opens stays in the namespace.
func Do(namespace netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer here.Close()
	if here.Equal(namespace) {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		if err := netns.Set(namespace); err != nil {
			done <- fmt.Errorf("enter the network namespace: %w (it takes CAP_SYS_ADMIN)", err)
			return
		}
		done <- f()
	}()
	return <-done
}
