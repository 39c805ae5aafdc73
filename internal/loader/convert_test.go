package loader

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// annotated is a drop record as the kernel writes it: one line for each field of struct record in bpf/record.h.
const annotated = `
	02 00 00 00                                      # kind: RECORD_DROP
	40 00 00 00                                      # reason: 64
	88 77 66 55 44 33 22 11                          # location
	00 e4 0b 54 02 00 00 00                          # time_ns: 10 s
	                                                 # journey:
	ef cd ab 89 67 45 23 01                          #   fingerprint
	45 00 00 54 12 34 40 00                          #   outer
	                                                 #   first:
	00 00 00 00 00 00 00 00 00 00 ff ff 0a f4 01 02  #     source: ::ffff:10.244.1.2
	00 00 00 00 00 00 00 00 00 00 ff ff 0a 60 00 0a  #     destination: ::ffff:10.96.0.10
	9c 40                                            #     source_port: 40000, network order
	00 50                                            #     destination_port: 80
	06 00 00 00                                      #     protocol: TCP, pad
	                                                 #   last:
	fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01  #     source: fd00::1
	fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02  #     destination: fd00::2
	9c 40                                            #     source_port
	1f 90                                            #     destination_port: 8080
	06 00 00 00                                      #     protocol, pad
	                                                 #   time_ns: hooks 0 to 5, then 8, then 7 of nine
	01 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00
	03 00 00 00 00 00 00 00  04 00 00 00 00 00 00 00
	05 00 00 00 00 00 00 00  06 00 00 00 00 00 00 00
	09 00 00 00 00 00 00 00  08 00 00 00 00 00 00 00
	0b 00 00 00  0c 00 00 00  0d 00 00 00  0e 00 00 00  #   ifindex
	0f 00 00 00  10 00 00 00  13 00 00 00  12 00 00 00
	01 02 04 02 04 02 05 03                          #   hook
	3e 00 00 00                                      #   skb_bytes: 62
	30 00 00 00                                      #   ip_bytes: 48
	70 00 00 00                                      #   wire_bytes: 112
	10 00 00 00                                      #   weight: 16
	03 00                                            #   segments: 3
	12 00                                            #   flags: FLAG_ENCAP | FLAG_LEAVES
	09                                               #   hops: 9
	02                                               #   split_at: 2
	00                                               #   begun_at: nowhere
	00                                               #   pad
`

func bytesOf(t testing.TB, annotated string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(annotated) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type fixedNames struct{}

func (fixedNames) reason(n uint32) string { return map[uint32]string{64: "QDISC_DROP"}[n] }
func (fixedNames) location(n uint64) string {
	return map[uint64]string{0x1122334455667788: "somewhere"}[n]
}

func TestConvert(t *testing.T) {
	t.Parallel()
	k, err := decode(bytesOf(t, annotated))
	if err != nil {
		t.Fatal(err)
	}
	var got record.Record
	if err := convert(k, fixedNames{}, &got); err != nil {
		t.Fatal(err)
	}
	port := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	want := record.Record{
		Kind:        record.Dropped,
		Fingerprint: 0x0123456789abcdef,
		First:       record.Flow{Source: port("10.244.1.2:40000"), Destination: port("10.96.0.10:80"), Protocol: 6},
		Last:        record.Flow{Source: port("[fd00::1]:40000"), Destination: port("[fd00::2]:8080"), Protocol: 6},
		Hops: [record.MaxHops]record.Hop{
			{Hook: record.Ingress, Ifindex: 11, Time: 1}, {Hook: record.Egress, Ifindex: 12, Time: 2},
			{Hook: record.Xmit, Ifindex: 13, Time: 3}, {Hook: record.Egress, Ifindex: 14, Time: 4},
			{Hook: record.Xmit, Ifindex: 15, Time: 5}, {Hook: record.Egress, Ifindex: 16, Time: 6},
			{Hook: record.Dequeue, Ifindex: 18, Time: 8}, {Hook: record.Free, Ifindex: 19, Time: 9},
		},
		Len: 8, Skipped: 1,
		SKBBytes: 62, IPBytes: 48, WireBytes: 112, Segments: 3, Weight: 16, SplitAt: 2,
		Encapsulated: true, Attributed: true,
		Reason: "QDISC_DROP", Location: "somewhere", Time: 10 * time.Second,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, size := range []struct {
		name      string
		got, want uintptr
	}{
		{"flow", unsafe.Sizeof(bpfobj.TracerFlow{}), 40},
		{"journey", unsafe.Sizeof(bpfobj.TracerJourney{}), 224},
		{"slot_state", unsafe.Sizeof(bpfobj.TracerSlotState{}), 8},
		{"bucket_slots", unsafe.Sizeof(bpfobj.TracerBucketSlots{}), 64},
		{"bucket_journeys", unsafe.Sizeof(bpfobj.TracerBucketJourneys{}), 896},
		{"record", unsafe.Sizeof(bpfobj.TracerRecord{}), 248},
		{"config", unsafe.Sizeof(bpfobj.TracerConfig{}), 136},
		{"request_record", unsafe.Sizeof(bpfobj.TracerRequestRecord{}), 72},
		{"watched_bucket", unsafe.Sizeof(bpfobj.TracerWatchedBucket{}), 384},
		{"device_bucket", unsafe.Sizeof(bpfobj.TracerDeviceBucket{}), 16},
		{"pod_end", unsafe.Sizeof(bpfobj.TracerPodEnd{}), 48},
		{"annotated record", uintptr(len(bytesOf(t, annotated))), 248},
	} {
		if size.got != size.want {
			t.Errorf("%s has %d bytes, want %d", size.name, size.got, size.want)
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	t.Parallel()
	whole := bytesOf(t, annotated)
	if _, err := decode(whole[:247]); err == nil {
		t.Error("a record that is cut was taken")
	}
	whole[0] = 99
	k, err := decode(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := convert(k, fixedNames{}, new(record.Record)); err == nil {
		t.Error("a record of an unknown kind was taken")
	}
}

// TestConvertReuses checks that nothing of the record before is left in one that is shorter.
func TestConvertReuses(t *testing.T) {
	t.Parallel()
	k, err := decode(slices.Clone(bytesOf(t, annotated)))
	if err != nil {
		t.Fatal(err)
	}
	var r, fresh record.Record
	if err := convert(k, fixedNames{}, &r); err != nil {
		t.Fatal(err)
	}
	k.Kind, k.Journey.Hops, k.Journey.Flags = uint32(bpfobj.TracerRecordKindRECORD_JOURNEY), 2, 0
	if err := convert(k, fixedNames{}, &r); err != nil {
		t.Fatal(err)
	}
	if err := convert(k, fixedNames{}, &fresh); err != nil {
		t.Fatal(err)
	}
	if r != fresh {
		t.Errorf("reused %+v\nfresh  %+v", r, fresh)
	}
}

// TestConvertOtherHost takes the MAC of a frame for another host, on kernels without reasons where the function tells, and not of
// what was lost for another reason on its way across a bridge.
func TestConvertOtherHost(t *testing.T) {
	t.Parallel()
	mac := [6]byte{2, 0, 0, 0, 0, 1}
	for _, test := range []struct {
		flagged          bool
		reason, location string
		want             string
	}{
		{true, "OTHERHOST", "ip_rcv_core", "OTHERHOST"}, {true, "", "ip_rcv_core.isra.0", "OTHERHOST"}, {true, "", "ip6_rcv_core", "OTHERHOST"},
		{true, "", "kfree_skb_list", ""}, {true, "QDISC_DROP", "__dev_queue_xmit", "QDISC_DROP"}, {false, "", "ip_rcv_core", ""},
	} {
		k, err := decode(bytesOf(t, annotated))
		if err != nil {
			t.Fatal(err)
		}
		var outer [8]byte
		copy(outer[:], mac[:])
		k.Journey.Outer = binary.NativeEndian.Uint64(outer[:])
		if test.flagged {
			k.Journey.Flags |= uint16(bpfobj.TracerFlagFLAG_OTHERHOST)
		}
		r := record.Record{FrameMAC: mac, Missent: true} // of the record before
		if err := convert(k, namedAs{test.reason, test.location}, &r); err != nil {
			t.Fatal(err)
		}
		if r.Reason != test.want || (r.FrameMAC == mac) != (test.want == record.OtherHost) || r.Missent {
			t.Errorf("%+v: %q, for %x", test, r.Reason, r.FrameMAC)
		}
	}
}

type namedAs struct{ what, where string }

func (n namedAs) reason(uint32) string   { return n.what }
func (n namedAs) location(uint64) string { return n.where }
