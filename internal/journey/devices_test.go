package journey

import (
	"testing"
	"time"

	"tracer/internal/netdev"
)

func TestNext(t *testing.T) {
	t.Parallel()
	eth0, tunl0 := netdev.Device{Index: 1, Name: "eth0"}, netdev.Device{Index: 2, Name: "tunl0"}
	again := netdev.Device{Index: 2, Name: "again"}
	at := time.Unix(1000, 0)
	d := NewDevices([]netdev.Device{eth0, tunl0})
	for _, step := range []struct {
		after time.Duration
		list  []netdev.Device
		want  string // the name of the second device
	}{
		{0, []netdev.Device{eth0}, "tunl0"}, // it left just now
		{keepGone, []netdev.Device{eth0}, "tunl0"},
		{keepGone + 1, []netdev.Device{eth0}, ""},
		{keepGone + 2, []netdev.Device{eth0, again}, "again"},
		{keepGone + 3, []netdev.Device{eth0}, "again"}, // as if it had never been away
		{2*keepGone + 3, []netdev.Device{eth0}, "again"},
		{2*keepGone + 4, []netdev.Device{eth0}, ""},
	} {
		d = d.Updated(step.list, at.Add(step.after))
		name := ""
		if found := d.Find(2); found != nil {
			name = found.Name
		}
		if name != step.want || d.Find(1) == nil {
			t.Errorf("after %v: %q, want %q", step.after, name, step.want)
		}
	}
	if len(d.goneSince) != 0 {
		t.Errorf("still remembered as gone: %v", d.goneSince)
	}
}
