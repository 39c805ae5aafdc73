package netstat

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"tracer/internal/record"
)

func TestParseSoftnet(t *testing.T) {
	t.Parallel()
	got, err := parseSoftnet("000000ff 00000001 0000000a 00000000\n00000001 00000000 00000006 00000000\n")
	if want := (record.Softnet{Processed: 256, Dropped: 1, TimeSqueeze: 16}); err != nil || *got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"1 2\n", "x 0 0\n"} {
		if _, err := parseSoftnet(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseConntrack(t *testing.T) {
	t.Parallel()
	// As 6.18 has it, and 5.10 with columns that later went away.
	for _, names := range []string{
		"entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new",
		"entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  expect_new",
	} {
		got, err := parseConntrack(names + "\n" +
			"00000010  00000001 0 0 0 0 0 0 0 00000002 0000000a 00000003 0 0\n" +
			"00000010  00000001 0 0 0 0 0 0 0 00000001 00000001 00000000 0 0\n")
		if want := (record.Conntrack{Entries: 16, InsertFailed: 3, Drop: 11, EarlyDrop: 3}); err != nil || *got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	for _, bad := range []string{"", "entries insert_failed early_drop\n1 2 3\n", "entries insert_failed drop early_drop\n1 2\n"} {
		if _, err := parseConntrack(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseProtocols(t *testing.T) {
	t.Parallel()
	got := make(map[string]uint64)
	err := parseTables("Ip: Forwarding DefaultTTL InHdrErrors\nIp: 1 64 7\nTcp: MaxConn ActiveOpens\nTcp: -1 0\n", got)
	if err != nil {
		t.Fatal(err)
	}
	if err := parseList("Ip6InReceives  \t12\nIp6InNoRoutes  \t0\n", got); err != nil {
		t.Fatal(err)
	}
	if want := map[string]uint64{"IpForwarding": 1, "IpDefaultTTL": 64, "IpInHdrErrors": 7, "Ip6InReceives": 12}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if err := parseTables("Ip: A B\nIp: 1\n", got); err == nil || !strings.Contains(err.Error(), "do not match") {
		t.Error(err)
	}
	if err := parseList("Ip6InReceives\n", got); err == nil {
		t.Error("a name without a number was taken")
	}
}

func TestParseQueues(t *testing.T) {
	t.Parallel()
	queues, err := ParseQueues("    7  12288     3 2 65535     5     1     1020  1\n  100 4294963099     0 1  0     0     0        0  1\n")
	if err != nil || !slices.Equal(queues, []record.NFQueue{
		{Number: 7, PortID: 12288, Waiting: 3, Dropped: 5, UserDropped: 1, Sequence: 1020}, {Number: 100, PortID: 4294963099},
	}) {
		t.Error(queues, err)
	}
	if _, err := ParseQueues("number 7\n"); err == nil {
		t.Error("no error")
	}
}
