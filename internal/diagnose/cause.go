package diagnose

// Cause is why packets suffer.
type Cause string

// The causes.
const (
	QdiscDelay            Cause = "qdisc-delay"
	QdiscDrop             Cause = "qdisc-drop"
	LinkDown              Cause = "link-down"
	NoEndpoints           Cause = "no-endpoints"
	PolicyDrop            Cause = "policy-drop"
	ConntrackFull         Cause = "conntrack-full"
	ConntrackInsertFailed Cause = "conntrack-insert-failed"
	NoRoute               Cause = "no-route"
	TTL                   Cause = "ttl"
	RPFilter              Cause = "rp-filter"
	Neighbour             Cause = "neighbour"
	MTU                   Cause = "mtu"
	Fragments             Cause = "fragments"
	BacklogOverflow       Cause = "backlog-overflow"
	Checksum              Cause = "checksum"
	ReceiverSlow          Cause = "receiver-slow"
	ServerSlow            Cause = "server-slow"
	RequestsUnanswered    Cause = "requests-unanswered"
	RequestsSlow          Cause = "requests-slow"
	NoListener            Cause = "no-listener"
	AcceptQueueFull       Cause = "accept-queue-full"
	ForwardDelay          Cause = "forward-delay"
	EncapDelay            Cause = "encap-delay"
	SoftirqDelay          Cause = "softirq-delay"
	Misconfigured         Cause = "misconfiguration"
	NotTranslated         Cause = "not-translated"
	NoAnswer              Cause = "no-answer"
	PodLoss               Cause = "pod-loss"
	Encryption            Cause = "encryption"
	NIC                   Cause = "nic"
	RemoteDelay           Cause = "remote-delay"
	RemoteLoss            Cause = "remote-loss"
	Wire                  Cause = "wire"
	UnknownCause          Cause = "unknown"
)

// IsOfServer tells whether it lies in the application that is asked, behind the device at which it is found.
func (c Cause) IsOfServer() bool { return c == ServerSlow || c == RequestsUnanswered }

// CauseInfo is what is known of a cause besides the rules that find it. From it come the page in docs/diagnose.md, the
// commands to go on with, and the tests that say what a new cause lacks.
type CauseInfo struct {
	Cause      Cause
	Kinds      []Kind
	Groups     []string // of the rules that find it: cause_<group>.go; none of what only several nodes' findings tell (internal/cluster)
	Meaning    string   // in a sentence
	Where      string   // stage and device of its findings
	Evidence   string   // by what it is known
	Thresholds []Threshold
	// Next are commands that show more, the one that shows the fault first. Words in capitals stand for the finding's values: see
	// command.go. What ends in "# in the pod" is to be given there.
	Next   []string
	Advice string // what to do about it
	// WhyNoScenario says why no scenario of test/scoreboard plays it; "" if one does.
	WhyNoScenario string
}

// Causes is the registry of all causes, in the order in which their rules are asked.
func Causes() []CauseInfo {
	const beyond = "none of this node's"
	return []CauseInfo{
		{
			Cause: QdiscDelay, Kinds: []Kind{KindDelay}, Groups: []string{"qdisc"},
			Meaning: "a queue keeps packets for longer than a qdisc of its kind should",
			Where:   "queue, that device; pod-queue, `pod:eth0`: inside the pod, on its own eth0",
			Evidence: "packets that came out late, those still in flight (as many as the qdisc's backlog says; from an age of 1 s on where few came " +
				"out late), the qdisc tree and when it changed; of a shaper its use. A pod's bandwidth limit is judged by the pod's annotation",
			Thresholds: delayThresholds(queueThresholds()),
			Next:       []string{"tc -s qdisc show dev DEVICE"},
			Advice:     "remove what does not belong there, or lower the load",
		},
		{
			Cause: QdiscDrop, Kinds: []Kind{KindDrop}, Groups: []string{"qdisc"},
			Meaning: "a queue drops more packets than a qdisc of its kind should",
			Where:   "as for `qdisc-delay`",
			Evidence: "drops with a qdisc's reason, or in a qdisc's function; where none was seen, the qdisc's own count. A pod's bandwidth " +
				"limit is judged by the pod's annotation",
			Thresholds: lossThresholds(queueThresholds()),
			Next:       []string{"tc -s qdisc show dev DEVICE"},
			Advice:     "remove what does not belong there, or lower the load",
		},
		{
			Cause: LinkDown, Kinds: []Kind{KindDrop}, Groups: []string{"link", "routing"},
			Meaning: "a device is down or gone, or comes and goes",
			Where:   "queue, overlay or uplink; a pod's device",
			Evidence: "a device that went down or away in the last ten minutes, or several times; what was lost for want of its routes, and what an " +
				"uplink's own counters say that it could not send. Of a pod's device: no carrier, and next hops behind it that do not answer",
			Next:   []string{"ip -d -s link show dev DEVICE", "ip route show table all", "journalctl -k --since -15min"},
			Advice: "read in the kernel's log what took it down, and bring it up again",
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
			Cause: ConntrackInsertFailed, Kinds: []Kind{KindDrop}, Groups: []string{"policy"},
			Meaning: "new connections clash in the connection table: source NAT's ports, or a race",
			Where:   "forward, behind the device where the packet was seen last",
			Evidence: "as many of netfilter's drops as this namespace's connection table counted as `insert_failed`: told apart from rules' drops by the " +
				"function, where the kernel does (`nf_hook_slow`, not `nft_do_chain`). With the ports that source NAT gave to what passed of the same pair. " +
				"From one SYN in two seconds on it is judged by their number, not by their share",
			Thresholds: []Threshold{conntrackThreshold},
			Next: []string{"conntrack -S | grep -o 'insert_failed=[0-9]*' # or column 10 of /proc/net/stat/nf_conntrack, hexadecimal",
				"nft list ruleset | grep -nE 'snat|masquerade'; iptables-save -t nat | grep -E 'SNAT|MASQUERADE'"},
			Advice: "more addresses or ports for source NAT, `--random-fully`; of DNS a cache on the node (NodeLocal DNSCache), or `single-request-reopen`",
		},
		{
			Cause: Encryption, Kinds: []Kind{KindDrop}, Groups: []string{"encryption"},
			Meaning: "IPsec or WireGuard can not encrypt or decrypt: the two ends do not agree",
			Where:   "IPsec: where packets were lost, else none of this node's; encap, the WireGuard device",
			Evidence: "counters of `/proc/net/xfrm_stat` that rise; a WireGuard peer without a handshake for three minutes, to which something is sent and " +
				"from which nothing comes. Critical where pods' packets have no answer",
			Thresholds: []Threshold{encryptionThreshold, xfrmThreshold},
			Next:       []string{"ip -s xfrm state; ip -s xfrm policy", "grep -v '\\s0$' /proc/net/xfrm_stat", "wg show DEVICE"},
			Advice:     "compare keys, SPIs and policies of both nodes; ask whoever makes the keys (the CNI, strongSwan)",
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
			Advice: "see whether the Service's pods are ready, and whether its selector matches them",
		},
		{
			Cause: PolicyDrop, Kinds: []Kind{KindDrop}, Groups: []string{"endpoints", "policy", "nic"},
			Meaning: "a rule or policy drops the packets (netfilter, tc, XDP, XFRM)",
			Where:   "forward, behind the device where the packet was seen last; by a rule inside a pod at `pod:eth0`: pod-queue on the way out, deliver on the way in",
			Evidence: "`NETFILTER_DROP` (nft, iptables, a network policy), `TC_INGRESS`, `TC_EGRESS`, `XDP`, `XFRM_POLICY` …; on 5.10 the function (`nf_hook_slow`). " +
				"Of netfilter, the rule whose counter rose meanwhile, with table, chain, handle and comment, or what remains (a chain's policy); of NFQUEUE, who listens. All of a conversation (two addresses, the protocol, the server's port) that is lost for five seconds counts whatever its share of the pair's packets. Rules of different kinds are findings of their own",
			Thresholds: []Threshold{policyThreshold},
			Next:       []string{"nft -a list ruleset | grep -E '^table|chain |drop|reject'", "iptables-save -c | grep -E 'DROP|REJECT'"},
			Advice:     "find the rule whose counter rises, and who made it",
		},
		{
			Cause: MTU, Kinds: []Kind{KindDrop, KindRetransmit, KindMisconfiguration}, Groups: []string{"routing", "mtu", "nic", "remote"},
			Meaning: "packets are too large for a link",
			Where:   "forward or encap; the uplink, where a tunnel's packets with their header exceed its MTU; " + beyond + " for a black hole beyond it",
			Evidence: "`PKT_TOO_BIG`; `ip_fragment`; functions with several reasons while `IpFragFails` rises. A black hole: large segments (536 " +
				"bytes and more) that are sent again and again, five at least and half of all retransmissions; one in five at most is " +
				"acknowledged in the end, while segments of less than half that size are. Inferred; severity as for `remote-loss`. A tunnel: " +
				"its MTU, or that of its routes, and its header exceed what the route to a peer takes: a warning until the uplink drops what comes",
			Thresholds: []Threshold{mtuThreshold},
			Next:       []string{"ip -d link show", "nstat -az IpFragFails Ip6OutFragFails Ip6InTooBigErrors"},
			Advice:     "compare the MTUs of pods, tunnel and uplink: the pods' plus the tunnel's header must fit into the uplink's, and that into the network's",
		},
		{
			Cause: TTL, Kinds: []Kind{KindDrop}, Groups: []string{"routing"},
			Meaning:    "packets' TTL or hop limit expires here",
			Where:      "forward",
			Evidence:   "`IP_INHDR` in forwarding; on 5.10 `ip_forward` while `IpInHdrErrors` rises",
			Thresholds: []Threshold{ttlThreshold},
			Next:       []string{"nstat -az IpInHdrErrors IcmpOutTimeExcds", "ip route show table all"},
			Advice:     "look for a routing loop: two nodes that send the packets to each other",
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
			Meaning: "the next hop does not answer, or has another MAC than the frames",
			Where:   "forward, encap; pod-queue, `pod:eth0`: the pod's gateway does not answer; deliver, pod: frames for another MAC than the pod's",
			Evidence: "`NEIGH_*`, or a function of ARP or neighbour discovery; `NEIGH_CREATEFAIL`: the neighbour table is full (`gc_thresh3`); " +
				"`NO_TX_TARGET`, or `vxlan_xmit`: the tunnel's forwarding database has no entry for the next hop's MAC; `OTHERHOST` at the overlay, the uplink, " +
				"a device that a pod sends by, or in the pod that has the address: frames for another MAC. With it what the kernel's tables say of the next hop",
			Thresholds: []Threshold{routingThreshold, floodedThreshold},
			Next:       []string{"ip -s neigh show nud failed nud incomplete", "ip route get DESTINATION # its next hop", "ip neigh show"},
			Advice:     "see whether the next hop is up and has that address; compare its MAC with that of the entry, here and at the other nodes",
		},
		{
			Cause: NoRoute, Kinds: []Kind{KindDrop}, Groups: []string{"routing"},
			Meaning: "there is no route, or a route, rule or sysctl discards packets",
			Where:   "forward, or encap for a tunnel's outer packet",
			Evidence: "`IP_INNOROUTES`, `IP_OUTNOROUTES` …; a blackhole has no reason: the function (`ip_error`, `dst_discard`). With it the rule and the " +
				"route that are for such packets, as the kernel's tables have them, and the sysctl that switches forwarding off",
			Thresholds: []Threshold{routingThreshold},
			Next:       []string{"ip route show table all match DESTINATION", "ip route get DESTINATION # a blackhole answers: Invalid argument", "ip rule show"},
			Advice:     "bring the route back: see whether the CNI's routing daemon runs",
		},
		{
			Cause: Fragments, Kinds: []Kind{KindDrop}, Groups: []string{"fragments"},
			Meaning: "fragments of packets are not put together again",
			Where:   "forward; deliver, where the pod is to put them together; unknown, where they had waited too long",
			Evidence: "`FRAG_REASM_TIMEOUT`, `FRAG_TOO_FAR`, or a function of reassembly (`ip_defrag`, `ip_expire`, `ipv6_frag_rcv`), beside `IpReasmFails`, " +
				"`IpReasmTimeout` and their like of IPv6. Before they are given up: ten fragments that came (`IpReasmReqds`) while no packet became whole (`IpReasmOKs`)",
			Thresholds: []Threshold{fragmentsThreshold},
			Next: []string{"nstat -az IpReasmReqds IpReasmFails IpReasmTimeout Ip6ReasmFails Ip6ReasmTimeout", "grep FRAG /proc/net/sockstat /proc/net/sockstat6",
				"sysctl net.ipv4.ipfrag_high_thresh net.ipv4.ipfrag_time net.ipv4.ipfrag_max_dist net.ipv6.ip6frag_high_thresh"},
			Advice: "send what fits into the MTU (DNS over TCP, a smaller EDNS buffer); else memory for reassembly, or the firewall that drops fragments",
		},
		{
			Cause: BacklogOverflow, Kinds: []Kind{KindDrop}, Groups: []string{"backlog"},
			Meaning:    "a CPU does not take packets in as fast as they arrive",
			Where:      "forward, decap",
			Evidence:   "`CPU_BACKLOG`, or a tunnel's receive queue (`gro_cells_receive`), beside `softnet_stat`",
			Thresholds: []Threshold{backlogThreshold},
			Next:       []string{"cat /proc/net/softnet_stat", "sysctl net.core.netdev_max_backlog", "mpstat -P ALL 1 3"},
			Advice:     "find the CPU that is full, and spread the receive queues (RPS)",
		},
		{
			Cause: Checksum, Kinds: []Kind{KindDrop}, Groups: []string{"checksum"},
			Meaning:    "packets arrive damaged",
			Where:      "where the checksum was verified",
			Evidence:   "`IP_CSUM`, `TCP_CSUM`, `UDP_CSUM` …, `IpExtInCsumErrors`",
			Thresholds: []Threshold{checksumThreshold},
			Next:       []string{"nstat -az IpExtInCsumErrors TcpInCsumErrors UdpInCsumErrors", "ethtool -S DEVICE", "ethtool -k DEVICE"},
			Advice:     "look at the NIC, its cable and its offloads",
		},
		{
			Cause: ReceiverSlow, Kinds: []Kind{KindDelay, KindDrop}, Groups: []string{"receiver"},
			Meaning: "an application does not read as fast as is sent to it",
			Where:   "deliver, pod",
			Evidence: "a receive buffer more than half of which is unread, where that takes more than 100 ms to read; known from the sender " +
				"alone: a closed window while there is more to send; drops for want of a socket's buffer",
			Thresholds: []Threshold{receiverThreshold, receiverDropThreshold},
			Next:       []string{"ss -tmi # in the pod: Recv-Q is what waits to be read", "nstat -az TcpExtTCPToZeroWindowAdv # in the pod"},
			Advice:     "look at the application: it is slow, not the network",
		},
		{
			Cause: ServerSlow, Kinds: []Kind{KindDelay}, Groups: []string{"requests", "slow_requests"},
			Where:   "deliver, pod; " + beyond + " where the pod that answers is on another node",
			Meaning: "an application takes long to answer: by itself, or waiting for others",
			Evidence: "20 requests to a pod of this node that were timed, half of which took 100 ms and more from their last packet to the first of the answer at the " +
				"pod's device, without what queues hold between that and the pod's sockets (p50), and of less than half of which packets were sent again; not while " +
				"connections of the pair turn out not to alternate (one for 128 requests timed). Of a pod of another node: requests that are slow as `requests-slow` " +
				"has it, while nearly all handshakes (95 %) with that node are quick: late by half as much at most. Never more than info",
			Next: []string{"tcpdump -ni DEVICE -ttt -c 40 port PORT # the time before each answer", "kubectl exec -n NAMESPACE POD -- cat /sys/fs/cgroup/cpu.stat # is it throttled?",
				"ss -tmi # in the pod: Recv-Q is what waits to be read"},
			Advice: "look at the application, and at what it waits for itself",
		},
		{
			Cause: RequestsUnanswered, Kinds: []Kind{KindDrop}, Groups: []string{"unanswered"},
			Meaning: "an application takes requests and does not answer them",
			Where:   "deliver, pod; " + beyond + " where the pod that was asked is on another node",
			Evidence: "five requests of a pair, of those whose end is known, that TCP did not send again (five that were watched, where each counts for several): the " +
				"client has closed their connection, after a second at least and twice as long as 99 % of the pair's latest requests had to wait for their answer; the end " +
				"that was asked has closed or reset it first; or they wait for a minute, and as long. Of these last alone it is info, as they may be long polls, of " +
				"datagrams, and of who has never answered, as receivers of logs do not; else a warning. Not of a pair of which something else is found that explains " +
				"it: a critical loss, a lesser one of a fifth of their share, a delay of a second (p99); nor while its connections turn out not to alternate",
			Thresholds: []Threshold{unansweredThreshold},
			Next: []string{"tracer diagnose # on the node of PEER", "kubectl logs -n NAMESPACE POD --since=5m",
				"ss -tn state close-wait # in the pod: whose client has gone, while the application has not seen it"},
			Advice: "look at the application: is it stuck, does it wait for others, does it crash?",
		},
		{
			Cause: RequestsSlow, Kinds: []Kind{KindDelay}, Groups: []string{"slow_requests"},
			Meaning: "requests take longer than usual beyond this node: the network, or who answers",
			Where:   beyond,
			Evidence: "20 requests of a pod of this node to pods of others that were timed, of which nearly all (95 %) took longer than half of " +
				"that pair's usually do, as an agent has learnt, and than round trips to those nodes, by more than this node accounts for. Not where requests are " +
				"large (32 KiB), where some are answered on this node, where what is usual to one of the nodes was not learnt, while CPUs have no time, and where " +
				"something else is found that hurts the pair. Where handshakes to the node are slow as well, by half as much at least, it is `remote-delay`, and where nearly all are quick " +
				"`server-slow`; acknowledgements of kept connections wait for the answer, and tell neither. `kubectl tracer diagnose` takes off what the pod that answers " +
				"takes, as its own node sees it. Never more than info",
			Thresholds: []Threshold{slowRequestThreshold},
			Next: []string{"kubectl tracer diagnose # takes off what the application takes, as its own node sees it", "tracer diagnose # on the node of PEER",
				"tracer top --once # on the node of PEER: SERVER P50 is the application's own time"},
			Advice: "compare REQ P50 here with SERVER P50 on the node of who answers: what is more is the network's",
		},
		{
			Cause: NoListener, Kinds: []Kind{KindDrop}, Groups: []string{"listener"},
			Meaning: "clients connect to a port of a pod where nothing listens",
			Where:   "deliver, pod",
			Evidence: "SYNs that met no socket and were answered by RST, in a tenth of the window at least; kubelet's own probes aside. " +
				"A handshake whose SYN-ACK is lost is none: the kernel frees SYNs that are sent again, too",
			Thresholds: []Threshold{listenerThreshold},
			Next: []string{"ss -ltn # in the pod: does it listen at port PORT, and not at 127.0.0.1 alone?",
				"kubectl get endpointslices,svc -n NAMESPACE # does the Service's targetPort agree?"},
			Advice: "let the application listen at the Service's `targetPort`, or correct that",
		},
		{
			Cause: AcceptQueueFull, Kinds: []Kind{KindDrop}, Groups: []string{"listener"},
			Meaning: "a socket has no room for more connections: not accepted, or half open",
			Where:   "deliver, pod",
			Evidence: "a listening socket whose accept queue has no room, looked at once a second, in a tenth of the window at least; one whose SYN queue " +
				"has none (connections that are half open), where `tcp_syncookies` is 0; " +
				"`TCP_LISTEN_OVERFLOW`, a reason of the newest kernels alone",
			Thresholds: []Threshold{acceptQueueThreshold, acceptQueueDropThreshold},
			Next: []string{"ss -ltn # in the pod: Recv-Q waits to be accepted, Send-Q is the most that may",
				"nstat -az TcpExtListenOverflows TcpExtListenDrops # in the pod"},
			Advice: "look at the application: it is slow, or its backlog (`listen`) too small",
		},
		{
			Cause: ForwardDelay, Kinds: []Kind{KindDelay}, Groups: []string{"stage"},
			Meaning:    "packets wait between two devices, where nothing is queued",
			Where:      "forward, that device",
			Evidence:   "packets that took longer than the threshold, and than three times the baseline; the queues to user space (NFQUEUE) that they went through",
			Thresholds: []Threshold{stageThreshold},
			Next:       []string{"nft list ruleset | grep -c rule", "grep . /proc/net/netfilter/nfnetlink_queue", "ip -s neigh show nud incomplete"},
			Advice:     "look for a program behind NFQUEUE, a huge rule set, ARP that is slow",
		},
		{
			Cause: EncapDelay, Kinds: []Kind{KindDelay}, Groups: []string{"stage"},
			Meaning:       "a tunnel takes long to wrap packets",
			Where:         "encap, the tunnel",
			Evidence:      "packets that took longer than the threshold, and than three times the baseline",
			Thresholds:    []Threshold{stageThreshold},
			Next:          []string{"ip -d -s link show dev DEVICE", "perf top -g"},
			Advice:        "give the tunnel CPU, if it encrypts and has none to spare",
			WhyNoScenario: "wrapping takes microseconds on any CPU; what slows it, encryption by other CPUs, needs a NIC and load that the rig lacks",
		},
		{
			Cause: SoftirqDelay, Kinds: []Kind{KindDelay}, Groups: []string{"stage"},
			Meaning:    "packets wait between uplink and tunnel for a softirq's turn",
			Where:      "decap, the tunnel",
			Evidence:   "packets that took longer than the threshold, and than three times the baseline, beside `softnet_stat`'s `time_squeeze`",
			Thresholds: []Threshold{stageThreshold},
			Next:       []string{"cat /proc/net/softnet_stat", "mpstat -P ALL 1 3", "ps -eo pid,cls,ni,pcpu,comm --sort=-pcpu | head"},
			Advice:     "find who takes the CPU",
			WhyNoScenario: "nothing that was tried (the tunnel's NAPI in a thread of its own, idle priority beside busy CPUs) slowed packets down; " +
				"`backlog-overflow`, its loss, is played",
		},
		{
			Cause: Misconfigured, Kinds: []Kind{KindMisconfiguration}, Groups: []string{"misconfiguration"},
			Meaning:  "a root qdisc that no CNI installs, and that hurts no packets yet: a warning",
			Where:    "queue, overlay or uplink",
			Evidence: "netem, a shaper or a tiny fifo in the qdisc tree, or another root qdisc than the device's default or the expected one; of a shaper its use",
			Next:     []string{"tc -s qdisc show dev DEVICE"},
			Advice:   "remove it, or tell tracer that it is on purpose (`--expect-qdisc`)",
		},
		{
			Cause: NotTranslated, Kinds: []Kind{KindDrop}, Groups: []string{"translation"},
			Meaning: "packets keep an address that NAT should have translated: nobody can answer",
			Where:   "forward, the device that they left by; deliver, pod for answers between pods of this node",
			Evidence: "packets of a Service's virtual address, or of a pod's private address to a public one, that left this node in no tunnel and got " +
				"no answer for five seconds. Answers from pod to pod of this node with the pod's own address, where a Service's was asked, that met no socket " +
				"(a bridge passed them by netfilter). Not for pings of a Service, nor where somebody outside answers pods' own addresses (a router translates them)",
			Thresholds: []Threshold{noAnswerThreshold},
			Next:       []string{"nft list ruleset | grep -n DESTINATION; iptables-save -t nat | grep DESTINATION", "ip route get DESTINATION"},
			Advice:     "a Service's: does kube-proxy run, did a firewall's reload flush its rules? a pod's: who is to masquerade (ip-masq-agent, Calico's natOutgoing)? answers: `net.bridge.bridge-nf-call-iptables`",
		},
		{
			Cause: NoAnswer, Kinds: []Kind{KindDrop}, Groups: []string{"no_answer"},
			Meaning: "nothing answers what is sent, though it left this node or reached a pod of it",
			Where:   beyond + "; deliver, pod where it is on this node",
			Evidence: "packets of a conversation (two addresses, the protocol, the server's port) since the last one that came back; still " +
				"tried, be it at TCP's growing intervals. TCP: SYNs or retransmissions; DNS; of other UDP what was answered before, as seen or as its entry of the connection table (ASSURED) says; ICMP " +
				"where nothing else comes from that address. Of a server: SYN-ACKs that left while its client, a pod or node of the cluster, sends SYNs alone and the listening " +
				"socket has connections half open (a warning where the client is a node, which may give its address to others). A pod of this node that answers nothing to what " +
				"TCP on other nodes sends it. Critical where the peer is a pod or node of the cluster, or was answering before. No finding: what was refused (RST, ICMP), lost " +
				"on this node, sampled too seldom, or where answers would not be seen",
			Thresholds: []Threshold{noAnswerThreshold},
			Next: []string{"tracer diagnose # on the node of PEER", "tracer trace --pod DESTINATION --duration 10s # on the node of PEER: does it arrive?",
				"ip route get DESTINATION", "conntrack -L -d DESTINATION",
				"nft -a list ruleset | grep -E '^table|chain |drop|reject' # on both nodes"},
			Advice: "if the packets do not arrive there, or are answered there, look at the network between; if they arrive and are not answered, at rules and routes there",
		},
		{
			Cause: PodLoss, Kinds: []Kind{KindRetransmit}, Groups: []string{"pod_loss"},
			Meaning: "what TCP in a pod sends does not come out of the pod, and no drop is seen",
			Where:   "pod-queue, `pod:eth0`",
			Evidence: "segments that TCP in the pod counts as sent, a tenth of them at least, that did not reach the hook at the pod's device, " +
				"where those that are sent again are mostly these; by packets, and by the bytes that came out against those acknowledged. Drops " +
				"with a reason have their own cause",
			Thresholds: []Threshold{remoteLossThreshold},
			Next: []string{"tc -s filter show dev eth0 egress # in the pod", "tc -s qdisc show dev eth0 # in the pod", "nft -a list ruleset # in the pod",
				"ip -s -s link # in the pod", "nstat -az TcpOutSegs TcpRetransSegs # in the pod"},
			Advice: "look in the pod for a filter or program at its device, a proxy that takes the packets, a second device",
		},
		{
			Cause: NIC, Kinds: []Kind{KindDrop}, Groups: []string{"nic"},
			Meaning: "a network card, its driver or the cloud drops packets that no hook sees",
			Where:   "the uplink",
			Evidence: "a counter of the uplink that rises (`ip -s -s link`, `ethtool -S`) and is known to mean a loss: the receive ring is full, frames " +
				"are damaged, a limit of the cloud is reached; segments that TCP sends again and no hook saw lost, where they are as many. " +
				"`rx_dropped` without what the kernel freed for want of a protocol (LLDP)",
			Thresholds: []Threshold{nicThreshold, limitThreshold, queuedThreshold, unspecificThreshold},
			Next:       []string{"ip -s -s link show dev DEVICE", "ethtool -S DEVICE"},
			Advice:     "larger rings (`ethtool -G`), more queues (`ethtool -L`), another cable, a larger machine: as the counter says",
			WhyNoScenario: "it takes a card that really drops: a guest has one whose ring is too small in TestRingFull of internal/agent; the rig's nodes " +
				"have veths",
		},
		{
			Cause: RemoteDelay, Kinds: []Kind{KindDelay}, Groups: []string{"remote"},
			Meaning: "round trips take long beyond this node: on the wire, or at the other node",
			Where:   beyond,
			Evidence: "TCP round trips to pods and nodes of the cluster that take longer than this node's stages and what is usual to that node " +
				"explain; from three handshakes on, those are used instead. Where nothing was learnt, 70 ms may be the distance. Inferred from TCP, not seen. Pairs whose " +
				"requests have become slow (`requests-slow`) over the same way, by twice as much at most, are named with them. Between two nodes that are asked together (`kubectl tracer diagnose`): " +
				"what requests take longer at the client's pod than at the server's, from 5 ms more than the whole usually takes",
			Thresholds: []Threshold{remoteDelayThreshold, handshakeDelayThreshold, usualHandshakeThreshold},
			Next:       []string{"tracer diagnose # on the node of PEER", "ss -tiH dst DESTINATION | grep -o 'rtt:[^ ]*' # in the pod", "mtr -n -c 10 OTHER-NODE"},
			Advice:     "if that node passes what arrives at once, or says the same of this one, the network between is slow",
		},
		{
			Cause: RemoteLoss, Kinds: []Kind{KindRetransmit}, Groups: []string{"remote"},
			Meaning:    "segments are lost beyond this node: on the wire, or at the other node",
			Where:      beyond,
			Evidence:   "retransmitted segments, excluding those that had arrived and those lost on this node. Inferred. `info` where it is over: hardly anything but retransmissions was sent in the window's first seconds, then they came through, and nothing was lost since",
			Thresholds: []Threshold{remoteLossThreshold},
			Next: []string{"tracer diagnose # on the node of PEER", "nstat -az TcpRetransSegs TcpExtTCPLostRetransmit # in the pod",
				"ip -s -s link show dev UPLINK", "ethtool -S UPLINK | grep -E 'drop|err|miss|exceeded'"},
			Advice: "if that node loses none, or says the same of this one, the network between loses them",
		},
		{
			Cause: Wire, Kinds: []Kind{KindDelay, KindRetransmit},
			Meaning: "packets are late or lost between two nodes, and neither has it at a device",
			Where:   "between the nodes that the finding names; `kubectl tracer diagnose` alone finds it",
			Evidence: "`remote-delay` or `remote-loss` of one node or both, while all nodes where the other end may be answered, saw enough, and find nothing at " +
				"their own devices that can be the cause",
			Next:          []string{"mtr -n -z -c 10 OTHER-NODE", "ip -s -s link show dev UPLINK", "ethtool -S UPLINK | grep -E 'drop|err|miss|exceeded'"},
			Advice:        "look at what those nodes have in common: one node's link, a rack's switch, what joins two zones",
			WhyNoScenario: "it takes the answers of several nodes: internal/cluster/testdata has them",
		},
		{
			Cause: UnknownCause, Kinds: []Kind{KindDrop}, Groups: []string{"unknown"},
			Meaning:       "packets are lost for a reason that means none of the other causes",
			Where:         "as seen",
			Evidence:      "what is left of the losses",
			Thresholds:    []Threshold{unknownThreshold, unknownDeliverThreshold},
			Next:          []string{"tracer trace --drops", "perf trace -e skb:kfree_skb --max-events 20", "nstat"},
			Advice:        "look up the kernel's reason and the function that freed the packets",
			WhyNoScenario: "a loss that can be caused on purpose has a name",
		},
	}
}
