/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * From bytes to the innermost flow, and to a fingerprint that forwarding, NAT and encapsulation leave alone.
 * Nothing here writes to a packet or pulls its data.
 */
#ifndef TRACER_PARSE_BPF_H
#define TRACER_PARSE_BPF_H

/* Tunnels around a pod's packet that are followed, by the thorough parser and by the quick one. */
#define TUNNELS_MAX 2
#define QUICK_LAYERS 2 /* the packet by itself, and in one tunnel */
/* Headers that are followed: Ethernet type, IP and transport of three layers, and three tags or extensions. */
#define HEADERS_MAX 12

#define IP_OFFSET 0x1fff
#define IP_MF 0x2000
#define IPV6_FLOW_LABEL 0xfffff
#define VXLAN_FLAG_VNI 0x08
#define TUNNEL_HEADER 8 /* VXLAN's, and Geneve's without options */
#define GRE_HEADER 4
#define GRE_CHECKSUM 0x8000 /* flags in the order of the machine: each adds a word (RFC 2784, RFC 2890) */
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_OTHERS 0x4fff /* routing and version: not followed */

enum parsed { PARSED, NOT_IP, MALFORMED, TOO_DEEP };

struct packet {
	struct flow flow;
	__u64 fingerprint;
	__u64 outer; /* see outer_word */
	__u32 ip_bytes;
	__u32 id; /* see struct layer */
	__be32 sequence; /* TCP's */
	__u8 flags; /* FLAG_ENCAP, FLAG_FRAGMENT */
};

/*
 * The first eight bytes of an IP header less what routers and AQMs rewrite (TOS, traffic class, hop limit): length
 * and id, by which a tracepoint tells a packet from another at the same address, without parsing.
 */
static __always_inline __u64 outer_word(__u64 word)
{
	if ((word & 0xf0) == 0x60)
		return word & bpf_cpu_to_be64(0xf00fffffffffff00);
	return word & bpf_cpu_to_be64(0xff00ffffffffffff);
}

static __always_inline __u64 mix(__u64 a, __u64 b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15ull;
	return a ^ a >> 29;
}

static __always_inline void map_ipv4(__u8 *to, __be32 address)
{
	__u64 *word = (__u64 *)to;

	word[0] = 0;
	word[1] = bpf_cpu_to_be64(0xffff00000000) | (__u64)address << 32;
}

/* Both addresses, which follow each other in the header as in the flow. */
static __always_inline void copy_ipv6(struct flow *flow, const void *addresses)
{
	__u64 *to = (__u64 *)flow;
	const __u64 *from = addresses;

	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* 0: ICMP has no ports. */
static __always_inline void set_ports(struct flow *flow, __u8 protocol, __be32 ports)
{
	__u64 *to = (__u64 *)&flow->source_port;

	*to = (__u64)protocol << 32 | ports;
}

/* What an IP header says of the layer above it. */
struct layer {
	__u32 offset; /* of the layer's first byte */
	__u32 id; /* IPv4 id; IPv6 flow label, or the fragment's id */
	__u16 fragment; /* fragment offset in eight bytes */
	__u8 protocol;
};

/* The first words of the layer above IP: ports and sequence, or type, checksum and id; then UDP's payload. */
struct transport {
	union {
		__be32 ports;
		struct {
			__be16 source, destination;
		};
	};
	__be32 word;
	__be32 payload[2];
};

static __always_inline bool among(const volatile __be16 *ports, __be16 port)
{
	for (int i = 0; i < TUNNEL_PORTS_MAX; i++) {
		if (!ports[i])
			return false;
		if (ports[i] == port)
			return true;
	}
	return false;
}

/* Bytes of the tunnel's header between UDP's and an inner Ethernet header; 0 if there is none. */
static __always_inline __u32 tunnel_header(const struct transport *t, const struct layer *layer)
{
	__u32 first = bpf_ntohl(t->payload[0]);

	if (layer->protocol != IPPROTO_UDP)
		return 0;
	if (first >> 24 & VXLAN_FLAG_VNI && among(settings.vxlan_port, t->destination))
		return TUNNEL_HEADER;
	/* Geneve: version, length of options in words, flags, type (RFC 8926, 3.4). */
	if (first >> 30 == 0 && (first & 0xffff) == ETH_P_TEB && among(settings.geneve_port, t->destination))
		return TUNNEL_HEADER + (first >> 24 & 0x3f) * 4;
	return 0;
}

static __always_inline bool has_transport(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP ||
	       protocol == IPPROTO_ICMPV6;
}

static __always_inline bool decode_ipv4(const struct iphdr *ip, __u32 length, struct packet *p,
					struct layer *next)
{
	__u32 header = ip->ihl * 4, total = bpf_ntohs(ip->tot_len);

	/* A GSO packet beyond 64 KiB has total length 0. */
	if (header < sizeof(*ip) || (total && total < header) || next->offset + total > length)
		return false;
	map_ipv4(p->flow.source, ip->saddr);
	map_ipv4(p->flow.destination, ip->daddr);
	p->ip_bytes = total ? total : length - next->offset;
	p->flags &= ~FLAG_FRAGMENT;
	if (ip->frag_off & bpf_htons(IP_OFFSET | IP_MF))
		p->flags |= FLAG_FRAGMENT;
	next->offset += header;
	next->id = ip->id;
	next->fragment = bpf_ntohs(ip->frag_off) & IP_OFFSET;
	next->protocol = ip->protocol;
	return true;
}

static __always_inline bool decode_ipv6(const struct ipv6hdr *ip, __u32 length, struct packet *p,
					struct layer *next)
{
	__u32 payload = bpf_ntohs(ip->payload_len);

	if (next->offset + sizeof(*ip) + payload > length)
		return false;
	copy_ipv6(&p->flow, &ip->saddr);
	p->ip_bytes = payload ? sizeof(*ip) + payload : length - next->offset;
	p->flags &= ~FLAG_FRAGMENT;
	next->offset += sizeof(*ip);
	next->id = bpf_ntohl(*(const __be32 *)ip) & IPV6_FLOW_LABEL;
	next->fragment = 0;
	next->protocol = ip->nexthdr;
	return true;
}

static __always_inline __u64 layer_fingerprint(const struct layer *layer)
{
	return mix(0, (__u64)layer->id << 24 | layer->fragment << 8 | layer->protocol);
}

static __always_inline __u64 tcp_fingerprint(const struct layer *layer, __be32 sequence)
{
	return mix(layer->protocol, (__u64)layer->id << 32 | sequence);
}

static __always_inline void decode_transport(const struct transport *t, const struct layer *layer, struct packet *p)
{
	__u64 payload = (__u64)t->payload[1] << 32 | t->payload[0];
	__be32 ports = 0;

	if (layer->fragment) {
		p->fingerprint = layer_fingerprint(layer);
	} else if (layer->protocol == IPPROTO_TCP) {
		ports = t->ports;
		p->id = layer->id;
		p->sequence = t->word;
		p->fingerprint = tcp_fingerprint(layer, t->word);
	} else if (layer->protocol == IPPROTO_UDP) {
		ports = t->ports;
		/* NAT rewrites the checksum, UDP segmentation the length. */
		p->fingerprint = mix(layer_fingerprint(layer), payload);
	} else if (layer->protocol == IPPROTO_ICMP || layer->protocol == IPPROTO_ICMPV6) {
		/* Type, code and sequence; NAT rewrites checksum and id. */
		__u64 print = mix(layer_fingerprint(layer), (__u64)t->source << 16 | (bpf_ntohl(t->word) & 0xffff));
		p->fingerprint = mix(print, payload);
	} else {
		/* The second word: ESP's sequence, SCTP's verification tag. */
		p->fingerprint = mix(layer_fingerprint(layer), t->word);
	}
	set_ports(&p->flow, layer->protocol, ports);
}

/*
 * The thorough parser: options, extension headers, fragments, VLANs, nested tunnels, data outside the linear part.
 * It copies each header through a helper, from the tc context or, in tracepoints, from kernel memory.
 */
struct source {
	struct __sk_buff *ctx;
	__u64 start, end; /* without ctx: addresses of the first byte and behind the last that may be read */
	__u32 length; /* of the packet from its first byte, whether linear or not */
};

static __always_inline bool load(const struct source *from, __u32 offset, void *to, __u32 size)
{
	if (from->ctx)
		return !bpf_skb_load_bytes(from->ctx, offset, to, size);
	/* Addresses, because the verifier can foretell nothing of them: lengths would give it a case for each. */
	return from->start + offset + size <= from->end &&
	       !bpf_probe_read_kernel(to, size, (const void *)(from->start + offset));
}

/*
 * Makes the verifier forget what it knows of a number: settings.zero is always 0, but that it cannot know. Else it
 * follows a loop once for each combination of values, and comes to its limit: 5.10 and 6.1 in the tc programs, 7.2 in
 * free_skb.
 */
static __always_inline __u32 forget(__u32 number)
{
	return number ^ settings.zero;
}

static __always_inline void forget_layer(struct layer *layer)
{
	layer->offset = forget(layer->offset);
	layer->id = forget(layer->id);
	layer->fragment = forget(layer->fragment);
	layer->protocol = forget(layer->protocol);
}

/* The header that comes next. */
enum header { ETHERTYPE, IP, EXTENSION, TRANSPORT };

/* What a tunnel's header has inside it, then at the layer's offset; TRANSPORT if it is no tunnel's. */
static __always_inline enum header inside(const struct transport *t, struct layer *layer)
{
	__u16 flags = bpf_ntohs(t->source); /* GRE's */
	__be16 type = t->destination;
	__u32 udp = tunnel_header(t, layer);

	if (layer->fragment)
		return TRANSPORT;
	if (layer->protocol == IPPROTO_IPIP || layer->protocol == IPPROTO_IPV6)
		return IP;
	if (udp) {
		layer->offset += sizeof(struct udphdr) + udp + offsetof(struct ethhdr, h_proto);
		return ETHERTYPE;
	}
	if (layer->protocol != IPPROTO_GRE || flags & GRE_OTHERS)
		return TRANSPORT;
	if (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6) && type != bpf_htons(ETH_P_TEB))
		return TRANSPORT;
	layer->offset += GRE_HEADER;
	if (flags & GRE_CHECKSUM)
		layer->offset += 4;
	if (flags & GRE_KEY)
		layer->offset += 4;
	if (flags & GRE_SEQUENCE)
		layer->offset += 4;
	if (type != bpf_htons(ETH_P_TEB))
		return IP;
	layer->offset += offsetof(struct ethhdr, h_proto);
	return ETHERTYPE;
}

/*
 * One header a turn and not a function for each kind within another: so the verifier meets all ways through here
 * again at the head of the loop, and its work grows with their number and not with its power.
 */
static __always_inline enum parsed parse_headers(const struct source *from, enum header header, __u32 offset,
						 struct packet *p)
{
	struct layer layer = { .offset = offset };
	__u32 tunnels = 0;

	/* Zeroes that the verifier does not know for such: it keeps what it knows to be 0 apart from what was decoded. */
	__u64 zero = settings.zero, *words = (__u64 *)p;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < sizeof(*p) / sizeof(*words); i++)
		words[i] = zero;
	/* Forgetting at the head instead would make clang fall through into the loop's head, which 5.10 and 6.1 refuse. */
	for (int i = 0; i < HEADERS_MAX; i++, header = forget(header), tunnels = forget(tunnels),
		 p->flags = forget(p->flags), forget_layer(&layer)) {
		union {
			__u64 word;
			__be16 ethertype;
			struct iphdr ipv4;
			struct ipv6hdr ipv6;
			struct {
				__u8 protocol, length;
				__be16 fragment;
				__be32 id;
			} extension;
			struct udphdr udp;
			struct transport transport;
		} u = {};
		switch (header) {
		case ETHERTYPE:
			if (!load(from, layer.offset, &u, sizeof(u.ethertype)))
				return MALFORMED;
			if (u.ethertype == bpf_htons(ETH_P_8021Q) || u.ethertype == bpf_htons(ETH_P_8021AD)) {
				layer.offset += 4;
				continue;
			}
			if (u.ethertype != bpf_htons(ETH_P_IP) && u.ethertype != bpf_htons(ETH_P_IPV6))
				return NOT_IP;
			layer.offset += sizeof(u.ethertype);
			header = IP;
			continue;
		case IP:
			if (!load(from, layer.offset, &u, sizeof(u.ipv4)))
				return MALFORMED;
			if (!tunnels)
				p->outer = outer_word(u.word);
			header = TRANSPORT;
			if (u.ipv4.version == 4) {
				if (!decode_ipv4(&u.ipv4, from->length, p, &layer))
					return MALFORMED;
			} else if (u.ipv4.version == 6) {
				if (!load(from, layer.offset, &u, sizeof(u.ipv6)) ||
				    !decode_ipv6(&u.ipv6, from->length, p, &layer))
					return MALFORMED;
				header = EXTENSION;
			} else {
				return MALFORMED;
			}
			continue;
		case EXTENSION:
			if (layer.protocol != IPPROTO_HOPOPTS && layer.protocol != IPPROTO_ROUTING &&
			    layer.protocol != IPPROTO_DSTOPTS && layer.protocol != IPPROTO_FRAGMENT) {
				header = TRANSPORT;
				continue;
			}
			if (!load(from, layer.offset, &u, sizeof(u.extension)))
				return MALFORMED;
			layer.offset += 8;
			if (layer.protocol == IPPROTO_FRAGMENT) {
				p->flags |= FLAG_FRAGMENT;
				layer.id = u.extension.id;
				layer.fragment = bpf_ntohs(u.extension.fragment) >> 3;
				if (layer.fragment)
					header = TRANSPORT;
			} else {
				layer.offset += u.extension.length * 8;
			}
			layer.protocol = u.extension.protocol;
			continue;
		case TRANSPORT:
			if (!layer.fragment) {
				if (!load(from, layer.offset, &u, sizeof(u.udp)) && has_transport(layer.protocol))
					return MALFORMED;
				/* Shorter ones have no payload to tell them apart by. */
				load(from, layer.offset + sizeof(u.udp), &u.transport.payload,
				     sizeof(u.transport.payload));
			}
			header = inside(&u.transport, &layer);
			if (header == TRANSPORT) {
				decode_transport(&u.transport, &layer, p);
				return PARSED;
			}
			p->flags |= FLAG_ENCAP;
			if (++tunnels > TUNNELS_MAX)
				return TOO_DEEP;
		}
	}
	return TOO_DEEP;
}

static __noinline enum parsed parse_thoroughly(struct __sk_buff *ctx, bool ethernet, struct packet *p)
{
	struct source from = { .ctx = ctx, .length = ctx->len };

	if (ethernet)
		return parse_headers(&from, ETHERTYPE, offsetof(struct ethhdr, h_proto), p);
	return parse_headers(&from, IP, bare_ip_offset(ctx), p);
}

/*
 * The quick parser: what nearly all packets look like, with or without one tunnel around, by direct access at
 * offsets that the verifier can follow, eight bytes at a time. False if the packet is otherwise: the thorough parser
 * decides then.
 */
static __always_inline bool parse_quickly(struct __sk_buff *ctx, bool ethernet, struct packet *p)
{
	const void *data = (const void *)(long)ctx->data, *end = (const void *)(long)ctx->data_end;
	__u32 offset = ethernet ? sizeof(struct ethhdr) : 0, length = ctx->len;
	struct layer layer = {};
	__u8 flags = 0;

#pragma clang loop unroll(full)
	for (int depth = 0; depth < QUICK_LAYERS; depth++) {
		const void *ip = data + offset;
		const struct transport *t = ip + sizeof(struct iphdr);
		if ((const void *)(t + 1) > end)
			return false;
		__u64 head = *(const __u64 *)ip; /* as in outer_word */
		__u32 header = sizeof(struct iphdr), bytes;
		switch ((__u8)head) {
		case 0x45:
			bytes = bpf_ntohs((__u16)(head >> 16));
			if (head & bpf_cpu_to_be64(IP_OFFSET | IP_MF) || bytes < sizeof(struct iphdr))
				return false;
			map_ipv4(p->flow.source, *(const __be32 *)(ip + offsetof(struct iphdr, saddr)));
			map_ipv4(p->flow.destination, *(const __be32 *)(ip + offsetof(struct iphdr, daddr)));
			layer.id = (__u16)(head >> 32);
			layer.protocol = *(const __u8 *)(ip + offsetof(struct iphdr, protocol));
			break;
		case 0x60:
			/* Not the first byte of an Ethernet address: see bare_ip_offset. 0x45 is none of a receiver. */
			if (!ethernet && !depth && ctx->protocol != bpf_htons(ETH_P_IPV6))
				return false;
			header = sizeof(struct ipv6hdr);
			t = ip + sizeof(struct ipv6hdr);
			bytes = sizeof(struct ipv6hdr) + bpf_ntohs((__u16)(head >> 32));
			if ((const void *)(t + 1) > end || bytes == sizeof(struct ipv6hdr))
				return false;
			copy_ipv6(&p->flow, ip + offsetof(struct ipv6hdr, saddr));
			layer.id = bpf_ntohl((__u32)head) & IPV6_FLOW_LABEL;
			layer.protocol = *(const __u8 *)(ip + offsetof(struct ipv6hdr, nexthdr));
			break;
		default:
			return false;
		}
		if (offset + bytes > length)
			return false;
		if (!depth)
			p->outer = outer_word(head);
		p->ip_bytes = bytes;
		offset += header; /* a constant to the verifier, other than the distance from data to t */
		__u32 tunnel = tunnel_header(t, &layer);
		if (tunnel) {
			const struct ethhdr *inner = (const void *)(t + 1) - sizeof(t->payload) + TUNNEL_HEADER;
			if (tunnel != TUNNEL_HEADER || (const void *)(inner + 1) > end)
				return false;
			if (inner->h_proto != bpf_htons(ETH_P_IP) && inner->h_proto != bpf_htons(ETH_P_IPV6))
				return false;
			offset += sizeof(struct udphdr) + TUNNEL_HEADER + sizeof(*inner);
		} else if (layer.protocol != IPPROTO_IPIP && layer.protocol != IPPROTO_IPV6) {
			p->flags = flags;
			decode_transport(t, &layer, p);
			return has_transport(layer.protocol);
		}
		flags = FLAG_ENCAP;
	}
	return false;
}

/* Parses what a tc program sees; ethernet: whether the device has a link-layer header. */
static __always_inline enum parsed parse_tc(struct __sk_buff *ctx, bool ethernet, struct packet *p)
{
	/* Cheap, and keeps ARP and its like from the thorough parser; VLAN tags may still stand in the frame. */
	switch (ctx->protocol) {
	case bpf_htons(ETH_P_IP):
	case bpf_htons(ETH_P_IPV6):
		if (parse_quickly(ctx, ethernet, p))
			return PARSED;
		return parse_thoroughly(ctx, ethernet, p);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return parse_thoroughly(ctx, ethernet, p);
	default:
		return NOT_IP;
	}
}

static __always_inline bool is_ip(struct sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
}

static __always_inline __u64 network_header(struct sk_buff *skb)
{
	return (__u64)skb->head + skb->network_header;
}

static __always_inline __u64 linear_end(struct sk_buff *skb)
{
	return (__u64)skb->data + skb->len - skb->data_len;
}

/* Parses the IP packet that a tracepoint sees, from the network header that the stack has set. */
static __always_inline enum parsed parse_skb(struct sk_buff *skb, struct packet *p)
{
	struct source from = { .start = network_header(skb), .end = linear_end(skb) };

	from.length = from.end + skb->data_len - from.start;
	return parse_headers(&from, IP, 0, p);
}

#endif
