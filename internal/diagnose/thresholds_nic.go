package diagnose

// Counters of network cards: nic, and mtu and policy-drop by such counters. Shares are of the packets that the card took, or sent.
var (
	nicThreshold = Threshold{
		WarnLoss: 0.0005, CriticalLoss: 0.005, CriticalCount: 20,
		Reason: "a ring that a CPU empties in time loses none; one burst in a window may find it full",
	}
	limitThreshold = Threshold{
		CriticalCount: 20,
		Reason:        "each is a connection that fails, or a name that is not resolved",
	}
	queuedThreshold = Threshold{
		WarnLoss: 0.005, CriticalLoss: never,
		Reason: "the cloud holds most of them back for less than a millisecond, as any shaper does; it is critical where TCP loses as many",
	}
	xdpThreshold = Threshold{
		WarnLoss: 0.02, CriticalLoss: never,
		Reason: "a filter drops what it is there for; it is critical where TCP loses as many",
	}
	unspecificThreshold = Threshold{
		WarnLoss: 0.02, CriticalLoss: never,
		Reason: "a device counts there what nobody wants as well, such as LLDP and the traffic of other networks; it is critical where TCP loses as many",
	}
)

// IPsec's counters: encryption. The first is for pairs whose packets were seen to be lost, the second for what is only counted.
var (
	encryptionThreshold = Threshold{
		WarnLoss: 0.001, CriticalLoss: 0.01,
		Reason: "while a key is renewed a few packets are lost",
	}
	xfrmThreshold = Threshold{
		WarnLoss: 0.001, CriticalLoss: 0.005, CriticalCount: 20,
		Reason: "while a key is renewed, a few packets still come with the old one",
	}
)

const (
	// manyReceiveDrops is the least share of drops in what comes to a device that means more than protocols that nobody handles
	// there, where it is not seen how many of them are that.
	manyReceiveDrops = 0.05
	// explainedShare is the least share of what TCP lost that a card must have dropped to explain it: what the card drops may be
	// acknowledgements and other protocols' packets too, and what TCP sends again was not all lost.
	explainedShare = 0.5
)
