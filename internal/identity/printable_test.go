package identity

import (
	"strings"
	"testing"

	"tracer/internal/aggregate"
)

// TestOwnersArePrintable gives each kind of name an escape sequence, wherever it comes from.
func TestOwnersArePrintable(t *testing.T) {
	t.Parallel()
	var table ownerTable
	o := anOwner("", pod, 0, 0)
	o.id = &aggregate.Identity{Namespace: "a\x1b", Pod: "b\x1b", Workload: "c\x1b", Service: "d\x1b", Node: "e\x1b", Bandwidth: 7, Stale: true}
	table.acquire(anAddress, o, true, 0)
	want := aggregate.Identity{Namespace: "a\ufffd", Pod: "b\ufffd", Workload: "c\ufffd", Service: "d\ufffd", Node: "e\ufffd", Bandwidth: 7, Stale: true}
	if got, _, _ := table.at(anAddress, 0); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if o.id.Workload != "c\x1b" {
		t.Error("what others have is changed")
	}
}

// TestFilesArePrintable names the line of a name that is not.
func TestFilesArePrintable(t *testing.T) {
	t.Parallel()
	const want = `line 2: name "a\x1b[2J" has characters that cannot be shown, or is longer`
	for _, key := range []string{"namespace: x, workload", "workload: x, namespace", "workload: x, pod", "service", "workload: x, node"} {
		_, err := LoadFile(write(t, "\n- {ip: 10.0.0.1, "+key+`: "a\e[2J"}`+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", key, err, want)
		}
	}
	if _, err := ReadNetworks(write(t, "\n"+`10.0.0.0/8: "a\e[2J"`+"\n")); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("CIDR names: %v, want %s", err, want)
	}
}
