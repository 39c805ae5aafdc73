package loader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"tracer/internal/bpfobj"
	"tracer/internal/header"
	"tracer/internal/record"
)

const (
	// capturedMost is how many headers are kept until their record comes, which may wait for the names of its addresses.
	capturedMost = 16384
	// capturedAfter is how long after its record the header of a drop comes: the programs follow each other at once, but for
	// interrupts. A CPU that is taken from the machine meanwhile makes it longer: capturedLatest is the most.
	capturedAfter, capturedLatest = time.Millisecond, time.Second
	// maxCaptures bounds those that are open at once, with those that are being closed: each has a ring of 1 MiB, and keeps that many headers.
	maxCaptures = 6
	// captureInterval is how often headers are read while nobody asks for one.
	captureInterval = 100 * time.Millisecond
)

// capturePrograms are the programs that read headers, by their names in the kernel, with their tracepoints.
var capturePrograms = map[string]string{
	bpfobj.TracerProgTracerCapDrop: "kfree_skb",
	bpfobj.TracerProgTracerCapDeq:  "qdisc_dequeue",
	bpfobj.TracerProgTracerCapXmit: "net_dev_start_xmit",
}

// Capture reads the headers of packets that are dropped or slow, while it is open.
type Capture struct {
	open    *atomic.Int32 // how many there are
	objects *ebpf.Collection
	closers []io.Closer // of the links
	reader  *ringbuf.Reader
	tunnels header.Tunnels
	closed  chan struct{}
	ended   sync.WaitGroup

	mu    sync.Mutex // guards the reading of the ring and what follows
	found map[uint64][]capturedHeader
	order []uint64 // fingerprints of what is in found, a ring: the next is put at next
	next  int
}

// capturedHeader is a header, and whose it is.
type capturedHeader struct {
	record.Header
	flow record.Flow
}

// Capture begins to read headers: of all dropped packets and, unless dropsOnly, of those sampled ones that are longer on this node
// than slowerThan when they leave a queue or a device. It loads programs for that, which its Close removes. The kernel runs them
// behind those that make records, so the header of a packet comes after its hook was passed.
func (l *Loader) Capture(slowerThan time.Duration, dropsOnly bool) (_ *Capture, err error) {
	l.loading.Lock()
	defer l.loading.Unlock()
	closed := false
	l.locked(func() { closed = l.closed })
	if closed {
		return nil, errors.New("the loader is closed")
	}
	if l.captures.Add(1) > maxCaptures {
		l.captures.Add(-1)
		return nil, fmt.Errorf("headers are read for %d others already; end one, or try again later", maxCaptures)
	}
	c := &Capture{open: &l.captures, closed: make(chan struct{}), found: map[uint64][]capturedHeader{}, order: make([]uint64, capturedMost)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	var config bpfobj.TracerConfig
	if err := l.objects.Settings.Get(&config); err != nil {
		return nil, fmt.Errorf("read the programs' configuration: %w", err)
	}
	c.tunnels = header.Tunnels{VXLAN: portsOf(config.VxlanPort[:]), Geneve: portsOf(config.GenevePort[:])}
	var names []string
	for name, tracepoint := range capturePrograms {
		if l.features.Tracepoints[tracepoint] && (!dropsOnly || name == bpfobj.TracerProgTracerCapDrop) {
			names = append(names, name)
		}
	}
	if c.objects, err = l.objects.capturing(names, slowerThan); err != nil {
		return nil, err
	}
	if c.reader, err = ringbuf.NewReader(c.objects.Maps[bpfobj.TracerMapTracerCaptured]); err != nil {
		return nil, fmt.Errorf("open the ring buffer of headers: %w", err)
	}
	for _, name := range names {
		link, err := attachTracepoint(Hook{Program: name, Name: capturePrograms[name]}, c.objects.Programs[name])
		if err != nil {
			return nil, err
		}
		c.closers = append(c.closers, link)
	}
	c.ended.Go(c.read)
	return c, nil
}

// portsOf are the ports that are set, in the machine's byte order.
func portsOf(ports []uint16) (set []uint16) {
	for _, port := range ports {
		if port != 0 {
			set = append(set, hostOrder(port))
		}
	}
	return set
}

// Close removes the programs.
func (c *Capture) Close() error {
	var errs []error
	for _, closer := range slices.Backward(c.closers) {
		errs = append(errs, closer.Close())
	}
	close(c.closed)
	c.ended.Wait()
	c.open.Add(-1)
	if c.reader != nil {
		errs = append(errs, c.reader.Close())
	}
	if c.objects != nil {
		c.objects.Close()
	}
	return errors.Join(errs...)
}

// read keeps the ring from filling while no record asks for a header.
func (c *Capture) read() {
	ticker := time.NewTicker(captureInterval)
	defer ticker.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-ticker.C:
			c.mu.Lock()
			c.take()
			c.mu.Unlock()
		}
	}
}

// take reads what there is. The caller has mu.
func (c *Capture) take() {
	c.reader.SetDeadline(time.Now())
	var raw ringbuf.Record
	for {
		if err := c.reader.ReadInto(&raw); err != nil {
			return // nothing more is there, or the reader is closed
		}
		c.keep(raw.RawSample)
	}
}

// keep keeps a header by its packet's fingerprint, in the place of the oldest.
func (c *Capture) keep(raw []byte) {
	h, fingerprint, ok := convertCaptured(raw, c.tunnels)
	if !ok {
		return
	}
	if oldest := c.order[c.next]; oldest != 0 {
		if rest := c.found[oldest][1:]; len(rest) > 0 {
			c.found[oldest] = rest
		} else {
			delete(c.found, oldest)
		}
	}
	c.order[c.next] = fingerprint
	c.next = (c.next + 1) % len(c.order)
	c.found[fingerprint] = append(c.found[fingerprint], h)
}

// convertCaptured reads what the kernel wrote, less what is no header; false if that cannot be told, or belongs to no record.
func convertCaptured(raw []byte, tunnels header.Tunnels) (h capturedHeader, fingerprint uint64, ok bool) {
	if len(raw) < int(unsafe.Sizeof(bpfobj.TracerCaptured{})) {
		return capturedHeader{}, 0, false
	}
	k := (*bpfobj.TracerCaptured)(unsafe.Pointer(unsafe.SliceData(raw)))
	b := k.Bytes[:min(int(k.Size), len(k.Bytes))]
	packet, result := header.ParseIP(b, int(k.Length), tunnels)
	if result != header.Parsed || packet.Fingerprint == 0 {
		return capturedHeader{}, 0, false
	}
	return capturedHeader{record.Header{
		Hook: record.Hook(k.Hook), Ifindex: int(k.Ifindex), Time: time.Duration(k.TimeNs),
		Length: k.Length, Bytes: slices.Clone(b[:packet.Bytes]),
	}, packet.Flow}, packet.Fingerprint, true
}

// Find returns the header of a record's packet, of a slow one as it was at a device, or else at the last place where it was
// read. It waits until a header that the kernel has may be read, a millisecond at most, or ctx ends. ok is false if there is none:
// of a packet that ended where none is read, or when headers came faster than they are read.
func (c *Capture) Find(ctx context.Context, r *record.Record, ifindex int) (h record.Header, ok bool) {
	if wait := r.Time + capturedAfter - Monotonic(); wait > 0 && wait <= capturedAfter {
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok = choose(c.found[r.Fingerprint], r, ifindex)
	if !ok {
		c.take()
		h, ok = choose(c.found[r.Fingerprint], r, ifindex)
	}
	return h, ok
}

// choose takes of the headers with a record's fingerprint, in the order of their times, the one that is its packet's.
func choose(headers []capturedHeader, r *record.Record, ifindex int) (best record.Header, ok bool) {
	for i := range headers {
		h := &headers[i].Header
		if r.Kind == record.Dropped {
			// Packets of other flows may have its fingerprint: of UDP it is the first bytes that are carried, and their number.
			own := headers[i].flow == r.Last || headers[i].flow == r.First
			if own && h.Hook == record.Free && h.Time >= r.Time && h.Time < r.Time+capturedLatest {
				return *h, true
			}
			continue
		}
		passed := slices.ContainsFunc(r.Passed(), func(hop record.Hop) bool { return hop.Time == h.Time && hop.Hook == h.Hook })
		if passed && (!ok || h.Ifindex == ifindex || best.Ifindex != ifindex) {
			best, ok = *h, true
		}
	}
	return best, ok
}
