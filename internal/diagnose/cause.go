package diagnose

import (
	"slices"
	"strings"
)

// Cause is why packets suffer.
type Cause string

// The causes.
const (
	QdiscDelay      Cause = "qdisc-delay"
	QdiscDrop       Cause = "qdisc-drop"
	LinkDown        Cause = "link-down"
	NoEndpoints     Cause = "no-endpoints"
	PolicyDrop      Cause = "policy-drop"
	ConntrackFull   Cause = "conntrack-full"
	NoRoute         Cause = "no-route"
	TTL             Cause = "ttl"
	RPFilter        Cause = "rp-filter"
	Neighbour       Cause = "neighbour"
	MTU             Cause = "mtu"
	BacklogOverflow Cause = "backlog-overflow"
	Checksum        Cause = "checksum"
	ReceiverSlow    Cause = "receiver-slow"
	NoListener      Cause = "no-listener"
	AcceptQueueFull Cause = "accept-queue-full"
	ForwardDelay    Cause = "forward-delay"
	EncapDelay      Cause = "encap-delay"
	SoftirqDelay    Cause = "softirq-delay"
	Misconfigured   Cause = "misconfiguration"
	NoAnswer        Cause = "no-answer"
	RemoteDelay     Cause = "remote-delay"
	RemoteLoss      Cause = "remote-loss"
	UnknownCause    Cause = "unknown"
)

// CauseInfo is what is known of a cause besides the rules that find it. From it come the page in docs/diagnose.md, the
// commands to go on with, and the tests that say what a new cause lacks.
type CauseInfo struct {
	Cause      Cause
	Kinds      []Kind
	Groups     []string // of the rules that find it: cause_<group>.go
	Meaning    string   // in a sentence
	Where      string   // stage and device of its findings
	Evidence   string   // by what it is known
	Thresholds []Threshold
	// Next are commands that show more; DEVICE and PEER stand for the finding's device and for whom the pair talks to.
	Next   []string
	Advice string // what to do about it
	// WhyNoScenario says why no scenario of test/scoreboard plays it; "" if one does.
	WhyNoScenario string
}

// next are the commands that show more of a cause, with words replaced as strings.NewReplacer does.
func next(c Cause, oldnew ...string) []string {
	infos := Causes()
	at := slices.IndexFunc(infos, func(i CauseInfo) bool { return i.Cause == c })
	if at < 0 {
		return nil
	}
	commands := infos[at].Next
	for i := range commands {
		commands[i] = strings.NewReplacer(oldnew...).Replace(commands[i])
	}
	return commands
}

// Causes is the registry of all causes, in the order in which their rules are asked.
func Causes() []CauseInfo {
	const beyond = "none of this node's"
	return []CauseInfo{
		{
			Cause: QdiscDelay, Kinds: []Kind{KindDelay}, Groups: []string{"qdisc"},
			Meaning: "a queue keeps packets for longer than a qdisc of its kind should",
			Where:   "queue, that device; pod-queue, `pod:eth0`: inside the pod, on its own eth0",
			Evidence: "packets that came out late, those still in flight (as many as the qdisc's backlog says), the qdisc tree and " +
				"when it changed",
			Thresholds: delayThresholds(queueThresholds()),
			Next:       []string{"tc -s qdisc show dev DEVICE"},
			Advice:     "remove what does not belong there, or lower the load",
		},
		{
			Cause: QdiscDrop, Kinds: []Kind{KindDrop}, Groups: []string{"qdisc"},
			Meaning:    "a queue drops more packets than a qdisc of its kind should",
			Where:      "as for `qdisc-delay`",
			Evidence:   "drops with a qdisc's reason, or in a qdisc's function; where none was seen, the qdisc's own count",
			Thresholds: lossThresholds(queueThresholds()),
			Next:       []string{"tc -s qdisc show dev DEVICE"},
			Advice:     "as for `qdisc-delay`",
		},
		{
			Cause: LinkDown, Kinds: []Kind{KindDrop}, Groups: []string{"link"},
			Meaning:  "a device is down or gone, or comes and goes",
			Where:    "queue, overlay or uplink",
			Evidence: "a device that went down or away in the last ten minutes, or several times; what was lost for want of its routes",
			Next:     []string{"ip -d -s link show dev DEVICE", "ip route show table all", "journalctl -k --since -15min"},
			Advice:   "the kernel's log says what took it down",
		},
		{
			Cause: ConntrackFull, Kinds: []Kind{KindDrop}, Groups: []string{"policy"},
			Meaning:    "the connection table has no room for new connections",
			Where:      "forward, behind the device where the packet was seen last",
			Evidence:   "as many of netfilter's drops as this namespace's connection table counted for want of an entry",
			Thresholds: []Threshold{conntrackThreshold},
			Next:       []string{"cat /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max", "conntrack -S"},
			Advice:     "raise `nf_conntrack_max`, or find who opens so many connections",
		},
		{
			Cause: NoEndpoints, Kinds: []Kind{KindDrop}, Groups: []string{"endpoints", "no_answer"},
			Meaning: "packets go to a Service that has no ready endpoints",
			Where:   "forward, behind the device where the packet was seen last; " + beyond + " where no rule drops them and nothing answers",
			Evidence: "a policy's drops, or packets without an answer, to a Service that has no ready endpoint by its EndpointSlices, or by the comment of kube-proxy's rule " +
				"that took them (`… has no endpoints`; in its nftables mode an element of `no-endpoint-services`)",
			Thresholds: []Threshold{policyThreshold},
			Next: []string{
				"kubectl -n NAMESPACE get endpointslices -l kubernetes.io/service-name=SERVICE",
				"kubectl -n NAMESPACE get service SERVICE -o wide",
			},
			Advice: "are the Service's pods ready, and does its selector match them?",
		},
		{
			Cause: PolicyDrop, Kinds: []Kind{KindDrop}, Groups: []string{"endpoints", "policy"},
			Meaning: "a rule or policy drops the packets (netfilter, tc, XDP, XFRM)",
			Where:   "forward, behind the device where the packet was seen last; by a rule inside a pod at `pod:eth0`: pod-queue on the way out, deliver on the way in",
			Evidence: "`NETFILTER_DROP` (nft, iptables, a network policy), `TC_INGRESS`, `TC_EGRESS`, `XDP`, `XFRM_POLICY` …; on 5.10 the function (`nf_hook_slow`). " +
				"Of netfilter, the rule whose counter rose meanwhile, with table, chain, handle and comment; of NFQUEUE, who listens. Rules of different kinds are findings of their own",
			Thresholds: []Threshold{policyThreshold},
			Next:       []string{"nft list ruleset | grep -nE 'drop|reject'", "iptables-save -c | grep -E 'DROP|REJECT'"},
			Advice:     "find the rule, and who made it",
		},
		{
			Cause: MTU, Kinds: []Kind{KindDrop, KindRetransmit}, Groups: []string{"routing", "remote"},
			Meaning: "packets are too large for a link",
			Where:   "forward or encap; " + beyond + " for a black hole beyond it",
			Evidence: "`PKT_TOO_BIG`; `ip_fragment`; functions with several reasons while `IpFragFails` rises. A black hole: large segments (536 " +
				"bytes and more) that are sent again and again, five at least and half of all retransmissions; one in five at most is " +
				"acknowledged in the end, while segments of less than half that size are. Inferred; severity as for `remote-loss`",
			Thresholds: []Threshold{mtuThreshold},
			Next:       []string{"ip -d link show", "nstat -az IpFragFails Ip6OutFragFails Ip6InTooBigErrors"},
			Advice:     "compare the MTUs of pods, tunnel and uplink; of a black hole, `tracepath -n` and `ping -M do -s 1400` in the pod",
		},
		{
			Cause: TTL, Kinds: []Kind{KindDrop}, Groups: []string{"routing"},
			Meaning:    "packets' TTL or hop limit expires here",
			Where:      "forward",
			Evidence:   "`IP_INHDR` in forwarding; on 5.10 `ip_forward` while `IpInHdrErrors` rises",
			Thresholds: []Threshold{ttlThreshold},
			Next:       []string{"nstat -az IpInHdrErrors IcmpOutTimeExcds", "ip route show table all"},
			Advice:     "look for a routing loop",
		},
		{
			Cause: RPFilter, Kinds: []Kind{KindDrop}, Groups: []string{"routing"},
			Meaning:    "the reverse path filter drops packets whose way back leads elsewhere",
			Where:      "forward",
			Evidence:   "`IP_RPFILTER` and martians; on 5.10 the function while `TcpExtIPReversePathFilter` rises",
			Thresholds: []Threshold{routingThreshold},
			Next:       []string{"sysctl -a -r '\\.rp_filter$'", "nstat -az TcpExtIPReversePathFilter", "ip route show table all"},
			Advice:     "set `rp_filter` to 2 (loose) or 0 on that device, or correct the route back",
		},
		{
			Cause: Neighbour, Kinds: []Kind{KindDrop}, Groups: []string{"routing"},
			Meaning:    "the next hop does not answer to ARP or neighbour discovery",
			Where:      "forward, encap",
			Evidence:   "`NEIGH_*`, or a function of ARP or neighbour discovery",
			Thresholds: []Threshold{routingThreshold},
			Next:       []string{"ip -s neigh show nud failed nud incomplete", "ip neigh show"},
			Advice:     "is the next hop there? A wrong entry is seen at the other node only",
		},
		{
			Cause: NoRoute, Kinds: []Kind{KindDrop}, Groups: []string{"routing"},
			Meaning: "there is no route to the destination, or one that discards packets",
			Where:   "forward, or encap for a tunnel's outer packet",
			Evidence: "`IP_INNOROUTES`, `IP_OUTNOROUTES` …; a blackhole has no reason: the function (`ip_error`, `dst_discard`), and what the " +
				"routing table says of the destination",
			Thresholds: []Threshold{routingThreshold},
			Next:       []string{"ip route get DESTINATION", "ip route show table all | grep -E 'blackhole|unreachable|prohibit'"},
			Advice:     "is the CNI's routing daemon well?",
		},
		{
			Cause: BacklogOverflow, Kinds: []Kind{KindDrop}, Groups: []string{"backlog"},
			Meaning:    "a CPU does not take packets in as fast as they arrive",
			Where:      "forward, decap",
			Evidence:   "`CPU_BACKLOG`, or a tunnel's receive queue (`gro_cells_receive`), beside `softnet_stat`",
			Thresholds: []Threshold{backlogThreshold},
			Next:       []string{"cat /proc/net/softnet_stat", "sysctl net.core.netdev_max_backlog", "mpstat -P ALL 1 3"},
			Advice:     "which CPU is full? spread the receive queues (RPS)",
		},
		{
			Cause: Checksum, Kinds: []Kind{KindDrop}, Groups: []string{"checksum"},
			Meaning:    "packets arrive damaged",
			Where:      "where the checksum was verified",
			Evidence:   "`IP_CSUM`, `TCP_CSUM`, `UDP_CSUM` …, `IpExtInCsumErrors`",
			Thresholds: []Threshold{checksumThreshold},
			Next:       []string{"nstat -az IpExtInCsumErrors TcpInCsumErrors UdpInCsumErrors", "ethtool -S DEVICE", "ethtool -k DEVICE"},
			Advice:     "NIC, cable, offloads",
		},
		{
			Cause: ReceiverSlow, Kinds: []Kind{KindDelay, KindDrop}, Groups: []string{"receiver"},
			Meaning: "an application does not read as fast as is sent to it",
			Where:   "deliver, pod",
			Evidence: "a receive buffer more than half of which is unread, where that takes more than 100 ms to read; known from the sender " +
				"alone: a closed window while there is more to send; drops for want of a socket's buffer",
			Thresholds: []Threshold{receiverThreshold, receiverDropThreshold},
			Next:       []string{"ss -tmi # in the pod: Recv-Q is what waits to be read", "nstat -az TcpExtTCPToZeroWindowAdv # in the pod"},
			Advice:     "the application is slow, not the network",
		},
		{
			Cause: NoListener, Kinds: []Kind{KindDrop}, Groups: []string{"listener"},
			Meaning: "clients connect to a port of a pod where nothing listens",
			Where:   "deliver, pod",
			Evidence: "SYNs that met no socket and were answered by RST, in a tenth of the window at least; kubelet's own probes aside. " +
				"A handshake whose SYN-ACK is lost is none: the kernel frees SYNs that are sent again, too",
			Thresholds: []Threshold{listenerThreshold},
			Next: []string{"ss -ltn # in the pod: does it listen, and not at 127.0.0.1 alone?",
				"kubectl get endpointslices,svc # does the Service's targetPort agree?"},
			Advice: "does the pod listen at the Service's `targetPort`?",
		},
		{
			Cause: AcceptQueueFull, Kinds: []Kind{KindDrop}, Groups: []string{"listener"},
			Meaning: "an application does not accept connections as fast as clients ask for them",
			Where:   "deliver, pod",
			Evidence: "a listening socket whose accept queue has no room, looked at once a second, in a tenth of the window at least; " +
				"`TCP_LISTEN_OVERFLOW`, a reason of the newest kernels alone",
			Thresholds: []Threshold{acceptQueueThreshold, acceptQueueDropThreshold},
			Next: []string{"ss -ltn # in the pod: Recv-Q waits to be accepted, Send-Q is the most that may",
				"nstat -az TcpExtListenOverflows TcpExtListenDrops # in the pod"},
			Advice: "the application is slow, or its backlog (`listen`) too small",
		},
		{
			Cause: ForwardDelay, Kinds: []Kind{KindDelay}, Groups: []string{"stage"},
			Meaning:    "packets wait between two devices, where nothing is queued",
			Where:      "forward, that device",
			Evidence:   "packets that took longer than the threshold, and than three times the baseline; the queues to user space (NFQUEUE) that they went through",
			Thresholds: []Threshold{stageThreshold},
			Next:       []string{"nft list ruleset | grep -c rule", "grep . /proc/net/netfilter/nfnetlink_queue", "ip -s neigh show nud incomplete"},
			Advice:     "a program behind NFQUEUE, a huge rule set, ARP that is slow",
		},
		{
			Cause: EncapDelay, Kinds: []Kind{KindDelay}, Groups: []string{"stage"},
			Meaning:       "a tunnel takes long to wrap packets",
			Where:         "encap, the tunnel",
			Evidence:      "packets that took longer than the threshold, and than three times the baseline",
			Thresholds:    []Threshold{stageThreshold},
			Next:          []string{"ip -d -s link show dev DEVICE", "perf top -g"},
			Advice:        "an encrypting tunnel without CPU to spare",
			WhyNoScenario: "wrapping takes microseconds on any CPU; what slows it, encryption by other CPUs, needs a NIC and load that the rig lacks",
		},
		{
			Cause: SoftirqDelay, Kinds: []Kind{KindDelay}, Groups: []string{"stage"},
			Meaning:    "packets wait between uplink and tunnel for a softirq's turn",
			Where:      "decap, the tunnel",
			Evidence:   "packets that took longer than the threshold, and than three times the baseline, beside `softnet_stat`'s `time_squeeze`",
			Thresholds: []Threshold{stageThreshold},
			Next:       []string{"cat /proc/net/softnet_stat", "mpstat -P ALL 1 3", "ps -eo pid,cls,ni,pcpu,comm --sort=-pcpu | head"},
			Advice:     "who takes the CPU?",
			WhyNoScenario: "nothing that was tried (the tunnel's NAPI in a thread of its own, idle priority beside busy CPUs) slowed packets down; " +
				"`backlog-overflow`, its loss, is played",
		},
		{
			Cause: Misconfigured, Kinds: []Kind{KindMisconfiguration}, Groups: []string{"misconfiguration"},
			Meaning:  "a root qdisc that no CNI installs, and that hurts no packets yet: a warning",
			Where:    "queue, overlay or uplink",
			Evidence: "netem, a shaper or a tiny fifo in the qdisc tree, or another root qdisc than the device's default or the expected one",
			Next:     []string{"tc -s qdisc show dev DEVICE"},
			Advice:   "remove it, or say that it is on purpose: `--expect-qdisc eth0=tbf`",
		},
		{
			Cause: NoAnswer, Kinds: []Kind{KindDrop}, Groups: []string{"no_answer"},
			Meaning: "nothing answers what is sent, though it left this node or reached a pod of it",
			Where:   beyond + "; deliver, pod where it is on this node",
			Evidence: "packets of a conversation (two addresses, the protocol, the server's port) since the last one that came back; still " +
				"tried, be it at TCP's growing intervals. TCP: SYNs or retransmissions; DNS; of other UDP what was answered before; ICMP " +
				"where nothing else comes from that address. Critical where the peer is a pod or node of the cluster, or was answering " +
				"before. No finding: what was refused (RST, ICMP), lost on this node, sampled too seldom, or where answers would not be seen",
			Thresholds: []Threshold{noAnswerThreshold},
			Next: []string{"tracer diagnose # on the node of PEER", "ip route get DESTINATION", "conntrack -L -d DESTINATION",
				"nft list ruleset | grep -nE 'drop|reject' # on both nodes"},
			Advice: "ask the other node: a rule, a route back, a tunnel's port in a firewall; then look at the network between",
		},
		{
			Cause: RemoteDelay, Kinds: []Kind{KindDelay}, Groups: []string{"remote"},
			Meaning: "round trips take long beyond this node: on the wire, or at the other node",
			Where:   beyond,
			Evidence: "TCP round trips to pods and nodes of the cluster that take longer than this node's stages explain; from three handshakes " +
				"on, those are used instead. Inferred from TCP, not seen",
			Thresholds: []Threshold{remoteDelayThreshold, handshakeDelayThreshold},
			Next:       []string{"tracer diagnose # on the node of PEER", "ss -tiH | grep -o 'rtt:[^ ]*' # in the pod", "mtr -n -c 10 OTHER-NODE"},
			Advice:     "ask the other node, then look at the network between",
		},
		{
			Cause: RemoteLoss, Kinds: []Kind{KindRetransmit}, Groups: []string{"remote"},
			Meaning:    "segments are lost beyond this node: on the wire, or at the other node",
			Where:      beyond,
			Evidence:   "retransmitted segments, excluding those that had arrived and those lost on this node. Inferred",
			Thresholds: []Threshold{remoteLossThreshold},
			Next: []string{"tracer diagnose # on the node of PEER", "nstat -az TcpRetransSegs TcpExtTCPLostRetransmit # in the pod",
				"ip -s -s link show; ethtool -S UPLINK"},
			Advice: "ask the other node, then look at the network between",
		},
		{
			Cause: UnknownCause, Kinds: []Kind{KindDrop}, Groups: []string{"unknown"},
			Meaning:       "packets are lost for a reason that means none of the other causes",
			Where:         "as seen",
			Evidence:      "what is left of the losses",
			Thresholds:    []Threshold{unknownThreshold, unknownDeliverThreshold},
			Next:          []string{"tracer trace --drops", "perf trace -e skb:kfree_skb --max-events 20", "nstat"},
			Advice:        "the kernel's reason and function tell",
			WhyNoScenario: "a loss that can be caused on purpose has a name",
		},
	}
}
