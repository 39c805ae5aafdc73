package netfilter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"tracer/internal/netstat"
	"tracer/internal/record"
)

// readQueues reads the queues to user space that somebody listens at, in the calling thread's network namespace.
func readQueues() ([]record.NFQueue, error) {
	text, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the kernel has no such queues, or not yet
	}
	queues, parseErr := netstat.ParseQueues(string(text))
	if err = errors.Join(err, parseErr); err != nil {
		return nil, fmt.Errorf("read the queues of netfilter: %w", err)
	}
	return queues, nil
}
