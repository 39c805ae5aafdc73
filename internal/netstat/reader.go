// Package netstat reads the kernel's own counters of a network namespace: IP's, IPsec's, the connection table's, those of netfilter's
// queues to user space, and those of the receiving softirqs. The diagnosis sets them beside what the programs saw.
package netstat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netns"

	"tracer/internal/namespace"
	"tracer/internal/record"
)

// The files, under the directory of a thread's network namespace.
const (
	softnetFile   = "softnet_stat"
	conntrackFile = "stat/nf_conntrack"
	xfrmFile      = "xfrm_stat"
	queueFile     = "netfilter/nfnetlink_queue"
	directory     = "/proc/thread-self/net/"
)

// statFile tells where the time of all CPUs goes.
const statFile = "/proc/stat"

// maxFile is room for a file with a line for each of some thousand CPUs.
const maxFile = 1 << 20

// reopenAfter is how often files that were missing are looked for again: conntrack comes with the first rule that needs it.
const reopenAfter = time.Minute

// maxEntries has how many entries the connection table may hold, on the whole machine.
const maxEntries = "/proc/sys/net/netfilter/nf_conntrack_max"

// Reader reads the counters of one network namespace. Its methods may be called from any goroutine.
type Reader struct {
	namespace netns.NsHandle

	mu     sync.Mutex
	files  map[string]*os.File // open: a path leads to the namespace of whoever opens it
	opened time.Time           // when missing files were last looked for
	buffer []byte
}

// Open returns a Reader for the calling thread's network namespace. The caller closes it.
func Open() (*Reader, error) {
	namespace, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	r := &Reader{namespace: namespace, files: make(map[string]*os.File), opened: time.Now()}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close closes the files.
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

// Read returns the counters as they are now, without those that are not there. An error says which could not be read; the others
// are returned all the same.
func (r *Reader) Read() (record.Stats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	if now := time.Now(); len(r.files) < len(fileNames()) && now.Sub(r.opened) >= reopenAfter {
		r.opened = now
		errs = append(errs, namespace.Do(r.namespace, r.open))
	}
	stats := record.Stats{Protocols: make(map[string]uint64)}
	if text, err := os.ReadFile(statFile); err != nil {
		errs = append(errs, fmt.Errorf("read where CPU time goes: %w", err))
	} else if stats.CPUs, err = parseCPUs(string(text)); err != nil {
		errs = append(errs, fmt.Errorf("read %s: %w", statFile, err))
	}
	var err error
	if stats.Throttling, err = (cgroups{}).throttling("self"); err != nil {
		errs = append(errs, err)
	}
	parse := map[string]func(string) error{
		softnetFile: func(text string) (err error) { stats.Softnet, err = parseSoftnet(text); return err },
		conntrackFile: func(text string) (err error) {
			if stats.Conntrack, err = parseConntrack(text); err == nil {
				stats.Conntrack.Max = readNumber(maxEntries)
			}
			return err
		},
		queueFile: func(text string) (err error) { stats.Queues, err = ParseQueues(text); return err },
		"snmp":    func(text string) error { return parseTables(text, stats.Protocols) },
		"netstat": func(text string) error { return parseTables(text, stats.Protocols) },
		"snmp6":   func(text string) error { return parseList(text, stats.Protocols) },
		xfrmFile:  func(text string) error { return parseList(text, stats.Protocols) },
	}
	for _, name := range fileNames() {
		f := r.files[name]
		if f == nil {
			continue
		}
		text, err := r.contents(f)
		if err == nil {
			err = parse[name](text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read %s%s: %w", directory, name, err))
		}
	}
	return stats, errors.Join(errs...)
}

func fileNames() []string {
	return []string{softnetFile, conntrackFile, queueFile, "snmp", "netstat", "snmp6", xfrmFile}
}

// open opens the files that are there and not open yet, in the calling thread's network namespace.
func (r *Reader) open() error {
	for _, name := range fileNames() {
		if r.files[name] != nil {
			continue
		}
		f, err := os.Open(directory + name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // no conntrack, no IPv6, no statistics of IPsec
		case err != nil:
			return fmt.Errorf("open the kernel's counters: %w", err)
		default:
			r.files[name] = f
		}
	}
	return nil
}

// contents are a file's, from its beginning.
func (r *Reader) contents(f *os.File) (string, error) {
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
