package aggregate

import (
	"fmt"
	"testing"

	"tracer/internal/record"
)

// TestUnansweredNAT finds answers by the addresses that packets have beyond this node: of a Service's pod, and for a node's
// address that stands for the pod's.
func TestUnansweredNAT(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	for i := range 4 {
		sent := newRecord(record.Finished, flowOf(fmt.Sprint("10.1.0.1:", 40000+i), "10.9.0.1:80"), flowOf(fmt.Sprint("172.18.0.1:", 5000+i), "10.2.0.1:8080"),
			hop(record.Ingress, 1, 0), hop(record.Egress, 4, 0), hop(record.Xmit, 4, 0))
		x.add(sent, tcp, 1000*i)
	}
	if s := x.silentAt(5000); len(s) != 1 || !s[0].Translated || s[0].Service != "default/api" || s[0].SrcWorkload != "web" {
		t.Errorf("nothing came, and there are %+v", s)
	}
	// Where the tunnel ends it still shows the node's address.
	x.add(newRecord(record.Finished, flowOf("10.2.0.1:8080", "172.18.0.1:5003"), flowOf("10.2.0.1:8080", "172.18.0.1:5003"),
		hop(record.Ingress, 4, 0), hop(record.Ingress, 3, 0)), tcp, 5100)
	if s := x.silentAt(6000); len(s) != 0 {
		t.Errorf("it was answered, and there are %+v", s)
	}
}

// TestUnansweredUntranslated tells of what left with a Service's address, and of pods' own addresses whether the world answers
// them.
func TestUnansweredUntranslated(t *testing.T) {
	t.Parallel()
	x := newTalk(t, Options{})
	bare := func(src, dst string, millis int, as string) {
		x.add(newRecord(record.Finished, flowOf(src, dst), flowOf(as, dst), hop(record.Ingress, 1, 0), hop(record.Egress, 4, 0), hop(record.Xmit, 4, 0)), tcp, millis)
	}
	for i := range 4 {
		bare("10.1.0.1:40000", "10.9.0.1:80", 1000*i, "10.1.0.1:40000")
		bare("10.1.0.1:40001", "203.0.113.9:80", 1000*i, "10.1.0.1:40001")
	}
	s := x.silentAt(5000)
	if len(s) != 2 || !s[0].ToService || s[0].Service != "default/api" || s[0].LeftBy != "eth0" || s[1].ToService || s[1].OutsideAnswered || s[1].OutsideMasqueraded {
		t.Fatalf("%+v", s)
	}
	bare("10.1.0.1:40002", "203.0.113.8:80", 5100, "172.18.0.1:5000")
	x.add(newRecord(record.Finished, flowOf("203.0.113.8:80", "172.18.0.1:5000"), flowOf("203.0.113.8:80", "10.1.0.1:40002"),
		hop(record.Ingress, 4, 0), hop(record.Egress, 1, 0), hop(record.Xmit, 1, 0)), tcp, 5200)
	if s := x.silentAt(6000); len(s) != 2 || s[1].OutsideAnswered || !s[1].OutsideMasqueraded {
		t.Errorf("another is masqueraded: %+v", s)
	}
	bare("10.1.0.1:40003", "203.0.113.7:80", 6100, "10.1.0.1:40003")
	x.add(newRecord(record.Finished, flowOf("203.0.113.7:80", "10.1.0.1:40003"), flowOf("203.0.113.7:80", "10.1.0.1:40003"),
		hop(record.Ingress, 4, 0), hop(record.Egress, 1, 0), hop(record.Xmit, 1, 0)), tcp, 6200)
	if s := x.silentAt(7000); len(s) != 2 || !s[1].OutsideAnswered {
		t.Errorf("another is answered at its own address: %+v", s)
	}
}
