package loader

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// annotatedTCP is a record of a connection as the kernel writes it: one line for each field of struct tcp_record in
// bpf/record.h.
const annotatedTCP = `
	04 00 00 00                                      # kind: RECORD_TCP
	0b 00 00 00                                      # ifindex: 11
	00 e4 0b 54 02 00 00 00                          # time_ns: 10 s
	00 e1 f5 05 00 00 00 00                          # span_ns: 100 ms
	10 27 00 00 00 00 00 00                          # deliver_ns: 10 µs
	80 96 98 00 00 00 00 00                          # rwnd_limited_ns: 10 ms
	                                                 # flow:
	00 00 00 00 00 00 00 00 00 00 ff ff 0a f4 01 02  #   source: ::ffff:10.244.1.2
	00 00 00 00 00 00 00 00 00 00 ff ff 0a 60 00 0a  #   destination: ::ffff:10.96.0.10
	9c 40                                            #   source_port: 40000, network order
	00 50                                            #   destination_port: 80
	06 00 00 00                                      #   protocol: TCP, pad
	f4 01 00 00                                      # rtt_us: 500
	58 02 00 00                                      # srtt_us: 600
	90 01 00 00                                      # rtt_min_us: 400
	14 00 00 00                                      # segments: 20
	03 00 00 00                                      # retransmits: 3
	01 00 00 00                                      # spurious: 1
	10 00 00 00                                      # delivered: 16
	00 08 00 00                                      # read_bytes: 2048
	00 10 00 00                                      # unread_bytes: 4096
	00 20 00 00                                      # receive_window: 8192
	00 40 00 00                                      # send_window: 16384
	05 00 00 00                                      # unsent_bytes: 5
	0a 00 00 00                                      # congestion_window: 10
	02 00 00 00                                      # in_flight: 2
	78 05 00 00                                      # mss: 1400
	a0 0f 00 00                                      # acked_bytes: 4000
	e8 03 00 00                                      # retransmitted_bytes: 1000
	01                                               # recovered
	01                                               # repeated
	01                                               # state: TCP_ESTABLISHED
	00                                               # pad
`

func TestConvertTCP(t *testing.T) {
	t.Parallel()
	raw := bytesOf(t, annotatedTCP)
	if size := unsafe.Sizeof(bpfobj.TracerTcpRecord{}); size != 152 || len(raw) != 152 {
		t.Fatalf("a record has %d bytes, the annotated one %d, want 152", size, len(raw))
	}
	flow := record.Flow{
		Source: netip.MustParseAddrPort("10.244.1.2:40000"), Destination: netip.MustParseAddrPort("10.96.0.10:80"), Protocol: 6,
	}
	want := record.Record{Kind: record.Connection, First: flow, Last: flow, Time: 10 * time.Second, TCP: &record.TCP{
		Ifindex: 11, Span: 100 * time.Millisecond, Deliver: 10 * time.Microsecond, RWNDLimited: 10 * time.Millisecond,
		RTT: 500 * time.Microsecond, SRTT: 600 * time.Microsecond, MinRTT: 400 * time.Microsecond,
		Segments: 20, Retransmits: 3, Spurious: 1, Delivered: 16, Acked: 4000, RetransmittedLength: 1000, Recovered: true, RetransmittedAgain: true,
		Read: 2048, Unread: 4096, ReceiveWindow: 8192, SendWindow: 16384, Unsent: 5, CongestionWindow: 10, InFlight: 2,
		MSS: 1400, State: 1,
	}}
	l := &Loader{}
	got := record.Record{Len: 3, Reason: "of the record before"}
	if !l.take(raw, &got) || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v %+v\nwant %+v %+v", got, got.TCP, want, want.TCP)
	}
	if l.take(raw[:151], &got) {
		t.Error("a record that is cut was taken")
	}

	// A drop that is read into the same place is one of a journey again.
	drop := bytesOf(t, annotated)
	k, err := decode(drop)
	if err != nil {
		t.Fatal(err)
	}
	k.Journey.Flags |= uint16(bpfobj.TracerFlagFLAG_SYN)
	if err := convert(k, fixedNames{}, &got); err != nil || got.TCP != nil || !got.SYN {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestRoundTrip finds the handshake's round trip on both sides of a connection.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		record bpfobj.TracerTcpRecord
		want   time.Duration
	}{
		{"opened from here", bpfobj.TracerTcpRecord{Delivered: 1, RttUs: 500, SrttUs: 600}, 500 * time.Microsecond},
		{"opened towards here", bpfobj.TracerTcpRecord{Delivered: 1, SrttUs: 600}, 600 * time.Microsecond},
		{"... with a SYN-ACK that was sent again", bpfobj.TracerTcpRecord{Delivered: 1}, 0},
		{"... by SYN cookies, whose timestamps are none", bpfobj.TracerTcpRecord{Delivered: 1, SrttUs: 57000}, 0},
		{"... far away", bpfobj.TracerTcpRecord{Delivered: 1, SrttUs: 57001}, 57001 * time.Microsecond},
		{"opened from here, in whole milliseconds", bpfobj.TracerTcpRecord{Delivered: 1, RttUs: 57000, SrttUs: 57000}, 57 * time.Millisecond},
		{"met later", bpfobj.TracerTcpRecord{SrttUs: 600}, 0},
		{"nothing acknowledged since", bpfobj.TracerTcpRecord{SpanNs: 1, SrttUs: 600}, 0},
		{"a segment that was sent again", bpfobj.TracerTcpRecord{SpanNs: 1, Delivered: 1, SrttUs: 600}, 0},
	} {
		var r record.Record
		if convertTCP(&test.record, &r); r.TCP.RTT != test.want {
			t.Errorf("%s: a round trip of %v, want %v", test.name, r.TCP.RTT, test.want)
		}
	}
}
