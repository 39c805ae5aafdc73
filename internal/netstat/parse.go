package netstat

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"tracer/internal/record"
)

// parseSoftnet adds up the lines of softnet_stat, one for each CPU: processed, dropped, time_squeeze and more, in
// hexadecimal (softnet_seq_show in net/core).
func parseSoftnet(text string) (*record.Softnet, error) {
	var sum record.Softnet
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%d fields in line %q", len(fields), line)
		}
		for i, to := range []*uint64{&sum.Processed, &sum.Dropped, &sum.TimeSqueeze} {
			n, err := strconv.ParseUint(fields[i], 16, 64)
			if err != nil {
				return nil, err
			}
			*to += n
		}
	}
	return &sum, nil
}

// parseConntrack adds up the lines of nf_conntrack, one for each CPU under a line of names, in hexadecimal. Each CPU has
// the number of entries again.
func parseConntrack(text string) (*record.Conntrack, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	names := strings.Fields(lines[0])
	var sum record.Conntrack
	for _, column := range []struct {
		name string
		to   *uint64
	}{
		{"entries", &sum.Entries}, {"insert_failed", &sum.InsertFailed}, {"drop", &sum.Drop}, {"early_drop", &sum.EarlyDrop},
	} {
		i := slices.Index(names, column.name)
		if i < 0 {
			return nil, fmt.Errorf("column %s is missing in %q", column.name, lines[0])
		}
		for _, line := range lines[1:] {
			fields := strings.Fields(line)
			if i >= len(fields) {
				return nil, fmt.Errorf("%d fields in line %q", len(fields), line)
			}
			n, err := strconv.ParseUint(fields[i], 16, 64)
			if err != nil {
				return nil, err
			}
			if column.name == "entries" {
				*column.to = n
			} else {
				*column.to += n
			}
		}
	}
	return &sum, nil
}

// ParseQueues reads nfnetlink_queue: number, port of the listener, packets waiting, copy mode and range, dropped as the queue was
// full, dropped as the listener's socket was full, packets queued.
func ParseQueues(text string) (queues []record.NFQueue, err error) {
	for line := range strings.Lines(text) {
		var q record.NFQueue
		var mode, length int
		if _, err := fmt.Sscan(line, &q.Number, &q.PortID, &q.Waiting, &mode, &length, &q.Dropped, &q.UserDropped, &q.Sequence); err != nil {
			return queues, fmt.Errorf("line %q: %w", line, err)
		}
		queues = append(queues, q)
	}
	return queues, nil
}

// parseTables reads the form of snmp and netstat: a line of names and a line of numbers, with the same word before both.
// Counters are named as by nstat, by that word and their name. Those that are 0 are left out.
func parseTables(text string, to map[string]uint64) error {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || len(names) != len(numbers) || names[0] != numbers[0] {
			return fmt.Errorf("names and numbers do not match: %q, %q", lines[i], lines[i+1])
		}
		table := strings.TrimSuffix(names[0], ":")
		for j, name := range names[1:] {
			addCounter(to, table+name, numbers[j+1])
		}
	}
	return nil
}

// parseList reads the form of snmp6: a name and a number a line.
func parseList(text string, to map[string]uint64) error {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return fmt.Errorf("want name and number, got %q", line)
		}
		addCounter(to, fields[0], fields[1])
	}
	return nil
}

// addCounter adds a counter if it is a number above 0. Some fields are settings, which may be -1 (TcpMaxConn).
func addCounter(to map[string]uint64, name, number string) {
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && n > 0 {
		to[name] = n
	}
}

// readNumber reads a file with one number; 0 if there is none.
func readNumber(path string) uint64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return n
}
