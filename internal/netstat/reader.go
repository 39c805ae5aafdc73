// Package netstat reads what the kernel counts by itself for a network namespace: IP's counters, the connection table's,
// and those of the softirqs that take packets in.
package netstat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netns"

	"tracer/internal/record"
)

// The files, under the directory of a thread's network namespace.
const (
	softnetFile   = "softnet_stat"
	conntrackFile = "stat/nf_conntrack"
	directory     = "/proc/thread-self/net/"
)

// maxFile is room for a file with a line for each of some thousand CPUs.
const maxFile = 1 << 20

// lookAgain is how often a file that was not there is looked for again: conntrack comes with the first rule that wants it.
const lookAgain = time.Minute

// maxEntries says how many entries the connection table may have. The limit is the machine's.
const maxEntries = "/proc/sys/net/netfilter/nf_conntrack_max"

// Reader reads the counters of one network namespace. Its methods may be called from any goroutine.
type Reader struct {
	namespace netns.NsHandle

	mu     sync.Mutex
	files  map[string]*os.File // open: a path leads to the namespace of whoever opens it
	looked time.Time
	buffer []byte
}

// Open returns a Reader for the calling thread's network namespace. The caller closes it.
func Open() (*Reader, error) {
	namespace, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	r := &Reader{namespace: namespace, files: make(map[string]*os.File), looked: time.Now()}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close gives up the files.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	r.files = nil
	return errors.Join(append(errs, r.namespace.Close())...)
}

// Read returns the counters as they are now. What is not there is left out; errors say what could not be read though it
// is there, beside what could.
func (r *Reader) Read() (record.Stats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	if now := time.Now(); len(r.files) < len(names()) && now.Sub(r.looked) >= lookAgain {
		r.looked = now
		errs = append(errs, r.inNamespace(r.open))
	}
	stats := record.Stats{Protocols: make(map[string]uint64)}
	parse := map[string]func(string) error{
		softnetFile: func(text string) (err error) { stats.Softnet, err = parseSoftnet(text); return err },
		conntrackFile: func(text string) (err error) {
			if stats.Conntrack, err = parseConntrack(text); err == nil {
				stats.Conntrack.Max = readNumber(maxEntries)
			}
			return err
		},
		"snmp":    func(text string) error { return parseTables(text, stats.Protocols) },
		"netstat": func(text string) error { return parseTables(text, stats.Protocols) },
		"snmp6":   func(text string) error { return parseList(text, stats.Protocols) },
	}
	for _, name := range names() {
		f := r.files[name]
		if f == nil {
			continue
		}
		text, err := r.text(f)
		if err == nil {
			err = parse[name](text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read %s%s: %w", directory, name, err))
		}
	}
	return stats, errors.Join(errs...)
}

func names() []string { return []string{softnetFile, conntrackFile, "snmp", "netstat", "snmp6"} }

// open opens what is there and not open yet, in the calling thread's network namespace.
func (r *Reader) open() error {
	for _, name := range names() {
		if r.files[name] != nil {
			continue
		}
		f, err := os.Open(directory + name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // no conntrack, no IPv6
		case err != nil:
			return fmt.Errorf("open the kernel's counters: %w", err)
		default:
			r.files[name] = f
		}
	}
	return nil
}

// inNamespace runs f on a thread in the Reader's namespace: on this one if it is there, as to enter one takes rights that
// an agent on a node need not have; else on one that ends with it.
func (r *Reader) inNamespace(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer here.Close()
	if here.Equal(r.namespace) {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		if err := netns.Set(r.namespace); err != nil {
			done <- fmt.Errorf("enter the network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// text is a file's contents from its beginning.
func (r *Reader) text(f *os.File) (string, error) {
	if r.buffer == nil {
		r.buffer = make([]byte, 64<<10)
	}
	for {
		n, err := f.ReadAt(r.buffer, 0)
		switch {
		case errors.Is(err, io.EOF):
			return string(r.buffer[:n]), nil
		case err != nil:
			return "", err
		case len(r.buffer) >= maxFile:
			return "", fmt.Errorf("longer than %d bytes", maxFile)
		}
		r.buffer = make([]byte, 2*len(r.buffer))
	}
}
