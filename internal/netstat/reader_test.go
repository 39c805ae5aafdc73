package netstat

import (
	"net"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TestReader reads a namespace's counters from another thread, which is in another namespace.
func TestReader(t *testing.T) {
	var reader *Reader
	ready, leave := make(chan error), make(chan struct{})
	go func() { // its thread ends with it
		runtime.LockOSThread()
		namespace, err := netns.New()
		if err == nil {
			defer namespace.Close()
			reader, err = Open()
		}
		if err == nil {
			err = netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1}})
		}
		ready <- err
		<-leave
		// No route leads there: counted in this namespace alone.
		for range 3 {
			_, err = net.Dial("udp", "192.0.2.1:9")
		}
		ready <- err
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	before, err := reader.Read()
	if err != nil {
		t.Fatal(err)
	}
	leave <- struct{}{}
	if err := <-ready; err == nil {
		t.Fatal("the new namespace has a route")
	}
	after, err := reader.Read()
	if err != nil {
		t.Fatal(err)
	}
	if got := after.Protocols["IpOutNoRoutes"] - before.Protocols["IpOutNoRoutes"]; got != 3 {
		t.Errorf("IpOutNoRoutes rose by %d, want 3", got)
	}
	if after.Softnet == nil || after.Softnet.Processed == 0 {
		t.Errorf("softnet is %+v", after.Softnet)
	}
	if after.Conntrack != nil && (after.Conntrack.Max == 0 || after.Conntrack.Entries > after.Conntrack.Max) {
		t.Errorf("conntrack is %+v", after.Conntrack)
	}

	// What is not there at first is found when it comes, in that namespace.
	if err := reader.files["snmp"].Close(); err != nil {
		t.Fatal(err)
	}
	delete(reader.files, "snmp")
	reader.opened = reader.opened.Add(-reopenAfter)
	if again, err := reader.Read(); err != nil || again.Protocols["IpOutNoRoutes"] != after.Protocols["IpOutNoRoutes"] {
		t.Errorf("%d, %v; want %d", again.Protocols["IpOutNoRoutes"], err, after.Protocols["IpOutNoRoutes"])
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
}
