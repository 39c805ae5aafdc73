package agent

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"tracer/internal/header"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/record"
)

// ipChecksum is that of an IPv4 header; 0 if the header is as it was sent.
func ipChecksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < int(b[0]&15)*4; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// TestHeaders reads the headers of packets that are lost and slow at a queue of the overlay, and of nothing else.
func TestHeaders(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 400, Size: 200})
	web, _ := c.lab.Pod(lab.Web)
	find, err := c.agents[0].Headers(t.Context(), 10*time.Millisecond, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.lab.Fault(lab.Fault{Rate: 300_000, Limit: 4000}); err != nil {
		t.Fatal(err)
	}
	records, _ := c.agents[0].Subscribe(t.Context(), func(r *record.Record) bool {
		return r.First.Source.Addr() == web.Address && (r.Kind == record.Dropped || r.Time-r.Start() > 10*time.Millisecond)
	})
	found, missing := map[record.Kind]int{}, map[record.Kind]int{}
	hooks := map[string]int{}
	c.eventually(60*time.Second, "headers of lost and slow packets", func() (bool, string) {
		for len(records) > 0 {
			r := <-records
			h, ok := find(&r, 0)
			if !ok {
				missing[r.Kind]++
				continue
			}
			found[r.Kind]++
			hooks[fmt.Sprint(r.Kind, " ", h.Hook, " ", len(h.Bytes))]++
			p, result := header.ParseIP(h.Bytes, int(h.Length), header.Tunnels{VXLAN: []uint16{4789, 8472}})
			if result != header.Parsed || p.Flow != r.Last || p.Bytes != len(h.Bytes) {
				t.Fatalf("%s: %s, %+v with %d bytes; want %v", r.Kind, result, p, len(h.Bytes), r.Last)
			}
			if h.Bytes[8] == 0 || ipChecksum(h.Bytes) != 0 {
				t.Errorf("no header that was sent: %x", h.Bytes)
			}
		}
		return found[record.Dropped] > 20 && found[record.Finished] > 20, fmt.Sprintf("found %v, missing %v", found, missing)
	})
	t.Log(found, missing, hooks)
	if lost := missing[record.Dropped] + missing[record.Finished]; lost > (found[record.Dropped]+found[record.Finished])/20 {
		t.Errorf("no headers of %v, beside %v", missing, found)
	}
}
