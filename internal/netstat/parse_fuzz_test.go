package netstat

import "testing"

// FuzzParse reads files of /proc and of cgroups.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"000000ff 00000001 0000000a 00000000\n00000001 00000000 00000006 00000000\n",
		"entries  searched insert_failed drop early_drop\n00000003 00000000 00000001 00000002 00000004\n",
		"    5  12345     7 2 65531     1     2       30  1\n",
		"Ip: Forwarding DefaultTTL InHdrErrors\nIp: 1 64 7\nTcp: MaxConn ActiveOpens\nTcp: -1 0\n",
		"Ip6InReceives  \t12\nIp6InNoRoutes  \t0\n",
		"cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 1\n",
		"nr_periods 10\nnr_throttled 2\nthrottled_usec 300\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = parseSoftnet(text)
		_, _ = parseConntrack(text)
		_, _ = ParseQueues(text)
		counters := map[string]uint64{}
		_ = parseTables(text, counters)
		_ = parseList(text, counters)
		for name, n := range counters {
			if n == 0 {
				t.Errorf("%s is kept with 0", name)
			}
		}
		_, _ = parseCPUs(text)
		_, _ = parseCPUStat(text)
	})
}
