package journey

import (
	"testing"
	"time"

	"tracer/internal/record"
)

func TestDrops(t *testing.T) {
	t.Parallel()
	devices := NewDevices(node)
	for _, test := range []struct {
		hops, reason, location string
		want                   string
		class                  dropClass
	}{
		{"I cali1 0, E slow0 5, F slow0 9", "QDISC_DROP", "__dev_queue_xmit", "out 9: forward slow0 5 | queue slow0 4", qdiscDrop},
		{"I cali1 0, E slow0 5, F slow0 9", "FQ_HORIZON_LIMIT", "", "out 9: forward slow0 5 | queue slow0 4", qdiscDrop},
		{"I cali1 0, E slow0 5", "QDISC_OVERLIMIT", "", "out 5: forward slow0 5 | queue slow0 0", qdiscDrop},
		{"E eth0 0, D eth0 6, F eth0 9", "NOT_SPECIFIED", "drop_func", "out 9:  | queue eth0 9", qdiscDropByLocation},
		{"E eth0 0, F eth0 9", "", "kfree_skb_list", "out 9:  | queue eth0 9", qdiscDropByLocation},
		{"E eth0 0, F eth0 9", "", "fq_codel_dequeue.constprop.0", "out 9:  | queue eth0 9", qdiscDropByLocation},
		{"E eth0 0, F eth0 9", "NOT_SPECIFIED", "__fq_codel_dequeue", "out 9:  | queue eth0 9", qdiscDropByLocation},
		{"E eth0 0, F eth0 9", "262151", "__tcf_kfree_skb_list", "out 9:  | queue eth0 9", qdiscDropByLocation},
		{"E eth0 0, F eth0 9", "QUEUE_PURGE", "qdisc_reset", "out 9:  | queue eth0 9", qdiscDrop},
		// The same function frees what is sent to a device that is down, or by one without a queue.
		{"E down0 0, F down0 9", "", "kfree_skb_list", "out 9:  | unknown down0 9", qdiscDropByLocation},
		{"E tunl0 0, F tunl0 9", "NOT_SPECIFIED", "__dev_queue_xmit", "out 9:  | unknown tunl0 9", qdiscDropByLocation},
		// Even where the queue has gone meanwhile, the reason is certain.
		{"E tunl0 0, F tunl0 9", "QDISC_DROP", "", "out 9:  | queue tunl0 9", qdiscDrop},
		{"E eth0 0, F eth0 9", "NOT_SPECIFIED", "e1000_xmit_frame", "out 9:  | unknown eth0 9", otherDrop},
		{"E eth0 0, F eth0 9", "TC_EGRESS", "__dev_queue_xmit", "out 9:  | forward eth0 9", policyDrop},
		{"I cali1 0, F cali1 3", "NETFILTER_DROP", "nf_hook_slow", "out 3:  | forward cali1 3", policyDrop},
		{"I eth0 0, I tunl0 2, F tunl0 3", "IP_RPFILTER", "ip_route_input_slow", "in 3: decap tunl0 2 | forward tunl0 1", otherDrop},
		{"E tunl0 0, X tunl0 2, F tunl0 3", "NEIGH_FAILED", "", "out 3: queue tunl0 2 noqueue | encap tunl0 1", otherDrop},
		{"E tunl0 0, X tunl0 2, F tunl0 3", "QDISC_DROP", "", "out 3: queue tunl0 2 noqueue | unknown tunl0 1", qdiscDrop},
		{"I eth0 0, E cali1 2, X cali1 3, F cali1 9", "SOCKET_RCVBUFF", "", "in 9: forward cali1 2, queue cali1 1 noqueue | deliver cali1 6", otherDrop},
		{"I eth0 0, E cali1 2, X cali1 3, F cali1 9", "NO_SOCKET", "", "in 9: forward cali1 2, queue cali1 1 noqueue | deliver cali1 6", noise},
		// The node's own sockets, as of kubelet's probes.
		{"I cali1 0, F cali1 3", "NOT_SPECIFIED", "tcp_v4_rcv", "out 3:  | forward cali1 3", noise},
		{"I cali1 0, F cali1 3", "", "tcp_v6_do_rcv", "out 3:  | forward cali1 3", noise},
		{"I cali1 0, F cali1 3", "NOT_SPECIFIED", "tcp_rcv_state_process.cold", "out 3:  | forward cali1 3", noise},
		{"I cali1 0, F cali1 3", "TCP_ABORT_ON_DATA", "tcp_v4_do_rcv", "out 3:  | forward cali1 3", noise},
		{"I cali1 0, F cali1 3", "TCP_FLAGS", "tcp_v4_do_rcv", "out 3:  | forward cali1 3", noise},
		{"I cali1 0, F cali1 3", "", "icmp_rcv", "out 3:  | forward cali1 3", noise},
		{"I cali1 0, F cali1 3", "TCP_CSUM", "tcp_v4_rcv", "out 3:  | forward cali1 3", otherDrop},
		{"I cali1 0, F cali1 3", "", "ip_rcv_finish_core", "out 3:  | forward cali1 3", otherDrop},
		{"I eth0 0, E cali1 2, X cali1 3, F cali1 9", "", "tcp_rcv_state_process", "in 9: forward cali1 2, queue cali1 1 noqueue | deliver cali1 6", noise},
		// In the pod, on the way out: its own queue, its own rules, its own routes; and what was dealt with.
		{"P cali1 0, F cali1 4", "QDISC_DROP", "__dev_queue_xmit", "out 4:  | pod-queue pod:eth0 4", qdiscDrop},
		{"P shaped1 0, F shaped1 4", "", "kfree_skb_list", "out 4:  | pod-queue pod:net1 4", qdiscDropByLocation},
		{"P cali1 0, F cali1 4", "", "kfree_skb_list", "out 4:  | pod-queue pod:eth0 4", noise}, // where nothing is queued
		{"P cali1 0, F cali1 4", "QUEUE_PURGE", "qdisc_reset", "out 4:  | pod-queue pod:eth0 4", qdiscDrop},
		{"P cali1 0, F cali1 0", "NETFILTER_DROP", "nf_hook_slow", "out 0:  | pod-queue pod:eth0 0", policyDrop},
		{"P cali1 0, F cali1 0", "", "nf_hook_slow", "out 0:  | pod-queue pod:eth0 0", policyDrop},
		{"P cali1 0, F cali1 0", "NEIGH_FAILED", "arp_error_report", "out 0:  | pod-queue pod:eth0 0", otherDrop},
		{"P cali1 0, F cali1 0", "NOT_SPECIFIED", "ndisc_error_report", "out 0:  | pod-queue pod:eth0 0", otherDrop},
		{"I eth0 0, E cali1 5, X cali1 6, F cali1 9", "NOT_SPECIFIED", "ip_defrag", "in 9: forward cali1 5, queue cali1 1 noqueue | deliver cali1 3", otherDrop},
		{"P cali1 0, F cali1 0", "NOT_SPECIFIED", "some_function", "out 0:  | pod-queue pod:eth0 0", noise},
		// ... and on the way in, where a rule between device and socket can only be the pod's.
		{"I eth0 0, E cali1 2, X cali1 3, F cali1 9", "NETFILTER_DROP", "nft_do_chain", "in 9: forward cali1 2, queue cali1 1 noqueue | deliver pod:eth0 6", policyDrop},
		{"I eth0 0, E cali1 2, X cali1 3, F cali1 9", "", "nf_hook_slow", "in 9: forward cali1 2, queue cali1 1 noqueue | deliver pod:eth0 6", policyDrop},
		{"I cali1 0, F cali1 3", "", "nf_hook_slow", "out 3:  | forward cali1 3", policyDrop},
	} {
		r := rec(t, record.Dropped, test.hops)
		r.Reason, r.Location = test.reason, test.location
		p, err := PathOf(r, devices)
		if err != nil {
			t.Fatalf("%s: %v", test.hops, err)
		}
		if got := p.String(); got != test.want || p.class != test.class {
			t.Errorf("%s, %s at %s:\n got %s, class %d\nwant %s, class %d",
				test.hops, test.reason, test.location, got, p.class, test.want, test.class)
		}
	}
}

// TestMissent takes frames for another MAC for no loss, unless the packet was for this node all the same.
func TestMissent(t *testing.T) {
	t.Parallel()
	for _, hops := range []string{"I eth0 0, I tunl0 2, F tunl0 3", "I eth0 0, E cali1 2, X cali1 3, F cali1 9"} {
		for _, missent := range []bool{false, true} {
			r := rec(t, record.Dropped, hops)
			r.Reason, r.Location, r.Missent = record.OtherHost, "ip_rcv_core", missent
			p, err := PathOf(r, NewDevices(node))
			if err != nil || p.Loss() != missent {
				t.Errorf("%s, missent %v: a loss: %v, %v", hops, missent, p.Loss(), err)
			}
		}
	}
}

func TestUnattributedDrop(t *testing.T) {
	t.Parallel()
	devices := NewDevices(node)
	r := &record.Record{Kind: record.Dropped, Reason: "QDISC_DROP", Time: time.Hour}
	p, err := PathOf(r, devices)
	if err != nil || p.String() != " 0:  | unknown - 0" || !p.Loss() {
		t.Errorf("got %s, class %d, %v", p.String(), p.class, err)
	}
	r = rec(t, record.Dropped, "E eth0 0")
	r.Attributed, r.Reason = false, "NOT_SPECIFIED"
	p, err = PathOf(r, devices)
	if err != nil || p.String() != " 0:  | unknown eth0 0" || p.Loss() {
		t.Errorf("got %s, class %d, %v", p.String(), p.class, err)
	}
	// A segment of a packet that the qdisc split is at no hook, but in the qdisc.
	for device, want := range map[string]string{"tbf0": "out 0:  | queue tbf0 0", "tunl0": " 0:  | unknown tunl0 0"} {
		r = rec(t, record.Dropped, "F "+device+" 0")
		r.Attributed, r.Reason = false, "QDISC_DROP"
		p, err = PathOf(r, devices)
		if err != nil || p.String() != want || !p.Loss() {
			t.Errorf("got %s, class %d, %v, want %s", p.String(), p.class, err, want)
		}
	}
}

// TestDefragmentationIsNoLoss frees the fragments of a packet that is whole.
func TestDefragmentationIsNoLoss(t *testing.T) {
	t.Parallel()
	r := rec(t, record.Dropped, "I cali1 0, F cali1 3")
	r.Reason, r.Location = NotSpecified, "skb_release_data"
	if p, err := PathOf(r, NewDevices(node)); err != nil || p.Loss() {
		t.Errorf("class %d, %v", p.class, err)
	}
}

// TestQueuedToUserSpaceIsNoLoss frees a large packet whose segments go to user space one by one.
func TestQueuedToUserSpaceIsNoLoss(t *testing.T) {
	t.Parallel()
	for segments, loss := range map[uint32]bool{1: true, 3: false} {
		r := rec(t, record.Dropped, "I cali1 0, F cali1 3")
		r.Reason, r.Location, r.Segments = NotSpecified, "nfqnl_enqueue_packet", segments
		if p, err := PathOf(r, NewDevices(node)); err != nil || p.Loss() != loss {
			t.Errorf("%d segments: class %d, %v", segments, p.class, err)
		}
	}
}
