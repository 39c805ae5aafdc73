package netdev

import "testing"

func TestCounterOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		driver, name, want string
		class              CounterClass
	}{
		{"", "rx_missed_errors", "rx_missed_errors", RingFull},
		{"veth", "rx_queue_12_xdp_drops", "rx_queue_*_xdp_drops", ByXDP},
		{"virtio_net", "rx0_drops", "rx*_drops", NoMemory},
		{"gve", "rx_no_buffers_posted[3]", "rx_no_buffers_posted[*]", RingFull},
		{"vmxnet3", "  pkts rx OOB", "pkts rx OOB", RingFull},
		{"bnxt_en", "[7]: rx_discards", "[*]: rx_discards", RingFull},
		{"ena", "conntrack_allowance_exceeded", "conntrack_allowance_exceeded", LimitDropped},
		{"i40e", "port.rx_discards", "port.rx_discards", RingFull},
		{"mlx5_core", "rx0_packets", "", 0},
		{"mlx5_core", "rx_out_of_buffer", "rx_out_of_buffer", RingFull},
		{"veth", "rx_out_of_buffer", "", 0},
		{"unheard-of", "rx_missed_errors", "", 0},
		{"ena", "conntrack_allowance_available", "", 0},
	} {
		c, ok := CounterOf(test.driver, test.name)
		if ok != (test.want != "") || c.Name != test.want || c.Class != test.class || ok && c.Meaning == "" {
			t.Errorf("%s of %q is %+v, %v; want %s", test.name, test.driver, c, ok, test.want)
		}
	}
}
