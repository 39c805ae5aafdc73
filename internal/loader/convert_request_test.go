package loader

import (
	"testing"
	"time"

	"tracer/internal/record"
)

// annotatedRequest is a record of a request as the kernel writes it.
const annotatedRequest = `
	05 00 00 00             # kind: RECORD_REQUEST
	0b 00 00 00             # ifindex
	00 e4 0b 54 02 00 00 00 # time_ns: 10 s
	00 1a 71 18 02 00 00 00 # asked_ns: 9 s
	00 00 00 00 00 00 00 00 00 00 ff ff 0a f4 01 02 # flow.source
	00 00 00 00 00 00 00 00 00 00 ff ff 0a f4 02 03 # flow.destination
	9c 40 00 50             # flow.source_port, destination_port, in network order
	06 00 00 00             # flow.protocol, pad
	10 00 00 00             # weight
	01 00 01 00             # what: REQUEST_ANSWERED; client: the pod; repeated; pad
`

func TestConvertRequest(t *testing.T) {
	t.Parallel()
	raw := bytesOf(t, annotatedRequest)
	if !isRequest(raw) {
		t.Fatal("it is not known for a record of a request")
	}
	k, err := decodeRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	var got record.Record
	if err := convertRequest(k, &got); err != nil {
		t.Fatal(err)
	}
	request := *got.Request
	if want := (record.Request{Outcome: record.Answered, Client: true, Took: time.Second, Repeated: true}); request != want {
		t.Errorf("%+v, want %+v", request, want)
	}
	got.Request = nil
	want := record.Record{Kind: record.Requested, Time: 10 * time.Second, Weight: 16, Len: 1}
	want.First = flow(pod1, pod2, 40000, 80, record.ProtocolTCP)
	want.Last = want.First
	want.Hops[0] = record.Hop{Hook: record.Ingress, Ifindex: 11, Time: 9 * time.Second}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, err := decodeRequest(raw[:71]); err == nil {
		t.Error("a record that is cut was taken")
	}
	k.What = 99
	if err := convertRequest(k, &got); err == nil {
		t.Error("a request of unknown kind was taken")
	}
}
