package netdev

// What counters mean stands in short in these sentences, which end a line of evidence.
const (
	ringMeaning     = "the receive ring was full: the CPU did not empty it in time"
	portMeaning     = "the card's own buffer was full: the host took packets too slowly"
	memoryMeaning   = "the driver got no memory for what came"
	damagedMeaning  = "frames came damaged: look at cable, transceiver and the switch's port"
	tooLongMeaning  = "frames came that are longer than this device takes"
	sendMeaning     = "the card or its driver could not send"
	xdpMeaning      = "an XDP program dropped them"
	receivedMeaning = "dropped as they came, for one of several reasons"
)

func received(class CounterClass, meaning string, names ...string) (all []Counter) {
	for _, name := range names {
		all = append(all, Counter{Name: name, Class: class, Meaning: meaning})
	}
	return all
}

func sent(class CounterClass, meaning string, names ...string) (all []Counter) {
	for _, name := range names {
		all = append(all, Counter{Name: name, Class: class, Sent: true, Meaning: meaning})
	}
	return all
}

// driverCounters are the counters of a driver that mean a loss. Where a name comes from is said at each; the files are the
// kernel's, below drivers/net. Left out is what stops a queue and loses nothing (vmxnet3's "ring full", ixgbe's
// rx_no_buffer_count, ena's tx_queue_stop).
func driverCounters(driver string) []Counter {
	var all []Counter
	add := func(more ...[]Counter) {
		for _, m := range more {
			all = append(all, m...)
		}
	}
	switch driver {
	case "": // include/uapi/linux/if_link.h, Documentation/networking/statistics.rst
		add(
			received(RingFull, ringMeaning, "rx_missed_errors", "rx_fifo_errors", "rx_over_errors"),
			received(Damaged, damagedMeaning, "rx_crc_errors", "rx_frame_errors"),
			received(TooLong, tooLongMeaning, "rx_length_errors"),
			received(Unspecific, receivedMeaning, "rx_dropped"),
			sent(SendFailed, "the card had no carrier", "tx_carrier_errors"),
			sent(SendFailed, sendMeaning, "tx_fifo_errors", "tx_aborted_errors"),
			sent(Unspecific, sendMeaning, "tx_dropped"),
		)
	case "ena": // ethernet/amazon/ena/ena_ethtool.c; AWS's "Monitor network performance for ENA settings" says what they count
		add(
			received(LimitQueued, "AWS held back or dropped packets: more came than the instance type's bandwidth allows", "bw_in_allowance_exceeded"),
			sent(LimitQueued, "AWS held back or dropped packets: more was sent than the instance type's bandwidth allows", "bw_out_allowance_exceeded"),
			sent(LimitQueued, "AWS held back or dropped packets: more packets a second, both ways, than the instance type allows", "pps_allowance_exceeded"),
			sent(LimitDropped, "AWS dropped packets: security groups track more connections than the instance type allows, new ones fail",
				"conntrack_allowance_exceeded"),
			sent(LimitDropped, "AWS dropped packets to its own services (DNS, instance metadata, time): more than 1,024 a second",
				"linklocal_allowance_exceeded"),
			received(ByXDP, xdpMeaning, "queue_*_rx_xdp_drop"),
		)
	case "gve", "gvnic": // ethernet/google/gve/gve_ethtool.c
		add(
			received(RingFull, ringMeaning, "rx_no_buffers_posted[*]", "rx_queue_drop_cnt[*]"),
			received(NoMemory, memoryMeaning, "rx_buf_alloc_fail", "rx_skb_alloc_fail"),
			received(Damaged, damagedMeaning, "rx_desc_err_dropped_pkt", "rx_drops_invalid_checksum[*]"),
			received(TooLong, tooLongMeaning, "rx_drops_packet_over_mru[*]"),
			received(ByXDP, xdpMeaning, "rx_xdp_drop[*]"),
		)
	case "virtio_net": // virtio_net.c; rx_queue_0_drops until 6.8, then rx0_drops
		add(
			received(NoMemory, memoryMeaning, "rx_queue_*_drops", "rx*_drops"),
			received(ByXDP, xdpMeaning, "rx_queue_*_xdp_drops", "rx*_xdp_drops"),
		)
	case "veth": // veth.c
		add(
			received(NoMemory, memoryMeaning, "rx_queue_*_drops"),
			received(ByXDP, xdpMeaning, "rx_queue_*_xdp_drops"),
		)
	case "mlx5_core": // ethernet/mellanox/mlx5/core/en_stats.c, Documentation/networking/device_drivers/ethernet/mellanox/mlx5/counters.rst
		add(
			received(RingFull, ringMeaning, "rx_out_of_buffer"),
			received(RingFull, portMeaning, "rx_discards_phy"),
			received(NoMemory, memoryMeaning, "rx_buff_alloc_err"),
			received(Damaged, damagedMeaning, "rx_crc_errors_phy", "rx_symbol_err_phy"),
			received(TooLong, tooLongMeaning, "rx_oversize_pkts_phy", "rx_oversize_pkts_sw_drop", "rx_oversize_pkts_buffer"),
			received(ByXDP, xdpMeaning, "rx_xdp_drop"),
			sent(SendFailed, sendMeaning, "tx_discards_phy", "tx_queue_dropped"),
		)
	case "ixgbe", "ixgbevf": // ethernet/intel/ixgbe/ixgbe_ethtool.c, ixgbevf/ethtool.c
		add(
			received(RingFull, ringMeaning, "rx_no_dma_resources", "rx_missed_errors"),
			received(NoMemory, memoryMeaning, "alloc_rx_buff_failed", "alloc_rx_page_failed", "alloc_rx_buff", "alloc_rx_page"),
			received(Damaged, damagedMeaning, "rx_crc_errors"),
			received(TooLong, tooLongMeaning, "rx_long_length_errors"),
		)
	case "e1000", "e1000e", "igb", "igc": // ethernet/intel/e1000/e1000_ethtool.c, e1000e/ethtool.c, igb/igb_ethtool.c, igc/igc_ethtool.c
		add(
			received(RingFull, ringMeaning, "rx_missed_errors", "rx_queue_*_drops"),
			received(NoMemory, memoryMeaning, "alloc_rx_buff_failed"),
			received(Damaged, damagedMeaning, "rx_crc_errors"),
			received(TooLong, tooLongMeaning, "rx_long_length_errors"),
		)
	case "i40e", "iavf": // ethernet/intel/i40e/i40e_ethtool.c; port.rx_dropped until 6.11, then port.rx_discards
		add(
			received(RingFull, portMeaning, "port.rx_dropped", "port.rx_discards"),
			received(NoMemory, memoryMeaning, "rx_alloc_fail", "rx_pg_alloc_fail"),
			received(Damaged, damagedMeaning, "port.rx_crc_errors"),
			received(TooLong, tooLongMeaning, "port.rx_oversize"),
		)
	case "ice": // ethernet/intel/ice/ice_ethtool.c
		add(
			received(RingFull, portMeaning, "rx_dropped.nic"),
			received(NoMemory, memoryMeaning, "rx_buf_failed", "rx_page_failed"),
			received(Damaged, damagedMeaning, "rx_crc_errors.nic"),
			received(TooLong, tooLongMeaning, "rx_oversize.nic"),
		)
	case "bnxt_en": // ethernet/broadcom/bnxt/bnxt_ethtool.c
		add(
			received(RingFull, ringMeaning, "rx_total_ring_discards", "[*]: rx_discards"),
			received(RingFull, portMeaning, "rx_stat_discard"),
			received(NoMemory, memoryMeaning, "rx_total_oom_discards"),
			received(Damaged, damagedMeaning, "rx_fcs_err_frames"),
			received(TooLong, tooLongMeaning, "rx_ovrsz_frames"),
			sent(SendFailed, sendMeaning, "tx_total_ring_discards", "[*]: tx_discards"),
		)
	case "vmxnet3": // vmxnet3/vmxnet3_ethtool.c
		add(
			received(RingFull, ringMeaning, "pkts rx OOB"),
			received(NoMemory, memoryMeaning, "rx buf alloc fail"),
			received(Damaged, damagedMeaning, "pkts rx err", "drv dropped rx total"),
			sent(SendFailed, sendMeaning, "drv dropped tx total", "pkts tx discard", "pkts tx err"),
		)
	case "hv_netvsc": // hyperv/netvsc_drv.c
		add(
			received(NoMemory, memoryMeaning, "rx_no_memory"),
			sent(SendFailed, sendMeaning, "tx_no_memory", "tx_no_space", "tx_too_big", "vf_tx_dropped"),
			received(ByXDP, xdpMeaning, "rx_queue_*_xdp_drop"),
		)
	case "mana": // ethernet/microsoft/mana/mana_ethtool.c
		add(
			received(RingFull, ringMeaning, "hc_rx_discards_no_wqe"),
			received(LimitDropped, "Azure's port dropped packets that came", "hc_rx_pkt_drop_phy"),
			sent(LimitDropped, "Azure's port dropped packets that were sent", "hc_tx_pkt_drop_phy"),
			received(ByXDP, xdpMeaning, "rx_*_xdp_drop"),
		)
	}
	return all
}
