package loader

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring reads the programs' ring buffer in place, and many records at a time. It maps the data once: twice in a row, as is
// usual, it would be all the easier to read, and 4 MiB more resident.
type ring struct {
	mu                 sync.Mutex // held while the memory is read, and while it is waited for more
	consumed, produced []byte     // pages with the positions; nil once closed. Behind the latter comes the data
	page               int
	wake               int    // an epoll that says when a program wakes the reader
	cut                []byte // a record that goes on at the begin of the data, in one piece
}

var errRingClosed = errors.New("the ring buffer is closed")

// What a record begins with: its length with these bits, and a page offset (linux/bpf.h).
const (
	ringHeader  = unix.BPF_RINGBUF_HDR_SZ
	ringBusy    = unix.BPF_RINGBUF_BUSY_BIT
	ringDiscard = unix.BPF_RINGBUF_DISCARD_BIT
)

func openRing(m *ebpf.Map) (_ *ring, err error) {
	r := &ring{page: os.Getpagesize(), wake: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.consumed, err = unix.Mmap(m.FD(), 0, r.page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map the reader's position: %w", err)
	}
	r.produced, err = unix.Mmap(m.FD(), int64(r.page), r.page+int(m.MaxEntries()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the records: %w", err)
	}
	if r.wake, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	// By edges: most records wake nobody, and that there are some is to be no event.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if err := unix.EpollCtl(r.wake, unix.EPOLL_CTL_ADD, m.FD(), &event); err != nil {
		return nil, fmt.Errorf("wait for the ring buffer: %w", err)
	}
	return r, nil
}

// read hands over the records that are there, one by one and each valid during the call, until take wants no more.
func (r *ring) read(take func(raw []byte) (more bool)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.consumed == nil {
		return errRingClosed
	}
	position := (*uint64)(unsafe.Pointer(&r.consumed[0]))
	at, end := *position, atomic.LoadUint64((*uint64)(unsafe.Pointer(&r.produced[0])))
	data := r.produced[r.page:]
	mask := uint64(len(data) - 1)
	// The programs have the room again once all are read: few enough are at a time.
	defer func() { atomic.StoreUint64(position, at) }()
	for more := true; more && at < end; {
		// Until it is committed a record is marked as busy, and with it all behind it have to wait.
		length := atomic.LoadUint32((*uint32)(unsafe.Pointer(&data[at&mask])))
		if length&ringBusy != 0 {
			return nil
		}
		size := uint64(length &^ (ringBusy | ringDiscard))
		from := (at + ringHeader) & mask
		if length&ringDiscard == 0 {
			raw := data[from:min(from+size, uint64(len(data)))]
			if rest := size - uint64(len(raw)); rest > 0 {
				r.cut = append(append(r.cut[:0], raw...), data[:rest]...)
				raw = r.cut
			}
			more = take(raw)
		}
		at += ringHeader + (size+7)&^7
	}
	return nil
}

// await returns when a program wakes the reader, or after that time.
func (r *ring) await(d time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.consumed == nil {
		return errRingClosed
	}
	var events [1]unix.EpollEvent
	milliseconds := int((d + time.Millisecond - 1) / time.Millisecond)
	if _, err := unix.EpollWait(r.wake, events[:], milliseconds); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for the ring buffer: %w", err)
	}
	return nil
}

// Close ends reading. It waits until nobody waits.
func (r *ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, memory := range []*[]byte{&r.consumed, &r.produced} {
		if *memory != nil {
			errs = append(errs, unix.Munmap(*memory))
			*memory = nil
		}
	}
	if r.wake >= 0 {
		errs = append(errs, unix.Close(r.wake))
		r.wake = -1
	}
	return errors.Join(errs...)
}
