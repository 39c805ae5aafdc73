package loader

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// isRequest tells a struct request_record from the others.
func isRequest(raw []byte) bool {
	return len(raw) >= 4 && binary.LittleEndian.Uint32(raw) == uint32(bpfobj.TracerRecordKindRECORD_REQUEST)
}

// decodeRequest views what the kernel wrote as a record of a request.
func decodeRequest(raw []byte) (*bpfobj.TracerRequestRecord, error) {
	if len(raw) < int(unsafe.Sizeof(bpfobj.TracerRequestRecord{})) {
		return nil, fmt.Errorf("record of a request of %d bytes, want %d", len(raw), unsafe.Sizeof(bpfobj.TracerRequestRecord{}))
	}
	return (*bpfobj.TracerRequestRecord)(unsafe.Pointer(unsafe.SliceData(raw))), nil
}

var outcomes = map[bpfobj.TracerRequestKind]record.Outcome{
	bpfobj.TracerRequestKindREQUEST_ANSWERED:  record.Answered,
	bpfobj.TracerRequestKindREQUEST_CONNECTED: record.Connected,
	bpfobj.TracerRequestKindREQUEST_GIVEN_UP:  record.GivenUp,
	bpfobj.TracerRequestKindREQUEST_CLOSED:    record.Closed,
}

// convertRequest fills r from what the kernel wrote.
func convertRequest(k *bpfobj.TracerRequestRecord, r *record.Record) error {
	outcome, ok := outcomes[bpfobj.TracerRequestKind(k.What)]
	if !ok {
		return fmt.Errorf("record of a request of unknown kind %d", k.What)
	}
	setRequest(r, &k.Flow, k.Ifindex, time.Duration(k.AskedNs), time.Duration(k.TimeNs))
	r.Weight = k.Weight
	r.Request.Outcome, r.Request.Client, r.Request.Repeated = outcome, k.Client == 0, k.Repeated != 0
	return nil
}

// setRequest makes a record of what is known of any request at a pod's device.
func setRequest(r *record.Record, f *bpfobj.TracerFlow, ifindex uint32, asked, at time.Duration) {
	flow := convertFlow(f)
	*r = record.Record{Kind: record.Requested, First: flow, Last: flow, Time: at, Len: 1, Request: &record.Request{Took: max(0, at-asked)}}
	r.Hops[0] = record.Hop{Hook: record.Ingress, Ifindex: int(ifindex), Time: asked}
}
