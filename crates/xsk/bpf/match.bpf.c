/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* "Is it ours?" An arriving frame goes to the AF_XDP socket of its queue if it belongs to a
 * virtual service, and to the kernel otherwise. The rules are ordered and numbered; the
 * table of tests in tests/contract.rs has the same numbers. */
#include "kernel.h"

const char terms[] SECTION("license") = "Dual MIT/GPL";

enum { PROTO_ICMP = 1, PROTO_IPIP = 4, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_IPV6 = 41, PROTO_ICMPV6 = 58 };
enum { EXT_HOP_BY_HOP = 0, EXT_ROUTING = 43, EXT_FRAGMENT = 44, EXT_DESTINATION = 60, EXT_LIMIT = 6 };
enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_IPV6 = 0x86dd };

/* Flags of an endpoint (protocol, address, port). */
enum { SERVICE = 1, SERVER = 2 };
/* Flags of an address. */
enum { VIP = 1, BOX = 2, LOCAL = 4, NAT_SERVER = 8, TUNNEL_SERVER = 16 };

/* Sixteen octets in network order; IPv4 is mapped (RFC 4291 section 2.5.5.2). */
struct address {
	__u32 word[4];
};

struct endpoint {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 zero;
};

struct address_facts {
	__u32 flags;
	__u16 port_low; /* of LOCAL, both inclusive, host order */
	__u16 port_high;
};

struct datagram {
	struct address source;
	struct address destination;
	__u32 id;
	__u32 protocol;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_TYPE(key, struct endpoint);
	MAP_TYPE(value, __u32);
	MAP_NUMBER(max_entries, 1);
} endpoints SECTION(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_TYPE(key, struct address);
	MAP_TYPE(value, struct address_facts);
	MAP_NUMBER(max_entries, 1);
} addresses SECTION(".maps");

/* Datagrams whose first fragment the kernel got, and when (ktime, nanoseconds). */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_TYPE(key, struct datagram);
	MAP_TYPE(value, __u64);
	MAP_NUMBER(max_entries, 1);
} passed_datagrams SECTION(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_XSKMAP);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u32);
	MAP_NUMBER(max_entries, 256);
} sockets SECTION(".maps");

/* Further MAC addresses of the interface: its macvlans'. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_TYPE(key, __u64);
	MAP_TYPE(value, __u8);
	MAP_NUMBER(max_entries, 256);
} macs SECTION(".maps");

struct counts {
	__u64 taken;
	__u64 passed;
	__u64 oversize; /* ours, but larger than a frame: dropped */
	__u64 no_socket; /* ours, but the queue has no socket: the fallback happened */
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct counts);
	MAP_NUMBER(max_entries, 1);
} counters SECTION(".maps");

/* Written while running, each word at once. */
struct {
	__u64 mac; /* six octets in memory order, two of zero */
	__u64 macs; /* whether the map has any */
} volatile config SECTION(".data.config") = {};

/* Written before loading. */
struct {
	__u32 fallback; /* the action where a queue has no socket */
	__u32 room; /* octets of the largest packet that a frame holds */
} const volatile build SECTION(".rodata.build") = {XDP_PASS, 1792};

enum piece { WHOLE, FIRST, LATER };

/* What the rules look at. The protocol stands in both endpoints, ready for the lookups. */
struct packet {
	struct endpoint source;
	struct endpoint destination;
	__u32 id;
	enum piece piece;
	__u8 protocol;
	__u8 datagram_protocol; /* after a fragment header: what all fragments announce */
};

INLINE void map_ipv4(struct address *address, __u32 ipv4)
{
	address->word[0] = 0;
	address->word[1] = 0;
	address->word[2] = NET32(0xffff);
	address->word[3] = ipv4;
}

INLINE void set_protocol(struct packet *packet, __u8 protocol)
{
	packet->protocol = protocol;
	packet->source.protocol = protocol;
	packet->source.zero = 0;
	packet->destination.protocol = protocol;
	packet->destination.zero = 0;
}

/* RFC 791 section 3.1. Returns the payload, or nothing if there is no header. */
INLINE void *parse_ipv4(struct packet *packet, void *start, void *end)
{
	__u8 *octet = start;
	if (start + 20 > end)
		return 0;
	if (octet[0] >> 4 != 4)
		return 0;
	__u32 length = (octet[0] & 15) * 4;
	if (length < 20)
		return 0;
	__u16 fragment = NET16(*(__u16 *)(start + 6));
	packet->piece = fragment & 0x1fff ? LATER : fragment & 0x2000 ? FIRST : WHOLE;
	packet->id = *(__u16 *)(start + 4);
	packet->datagram_protocol = octet[9];
	map_ipv4(&packet->source.address, *(__u32 *)(start + 12));
	map_ipv4(&packet->destination.address, *(__u32 *)(start + 16));
	set_protocol(packet, octet[9]);
	return start + length;
}

/* RFC 8200 sections 3 and 4. Stops at the first header that is not an extension, at a later
 * fragment, or after EXT_LIMIT extensions (then the protocol is one that no rule takes). */
INLINE void *parse_ipv6(struct packet *packet, void *start, void *end)
{
	if (start + 40 > end)
		return 0;
	if (*(__u8 *)start >> 4 != 6)
		return 0;
	__u8 next = *(__u8 *)(start + 6);
	packet->source.address = *(struct address *)(start + 8);
	packet->destination.address = *(struct address *)(start + 24);
	packet->piece = WHOLE;
	packet->id = 0;
	packet->datagram_protocol = next;
	void *at = start + 40;
#pragma unroll
	for (int i = 0; i < EXT_LIMIT; i++) {
		if (next == EXT_FRAGMENT) {
			if (at + 8 > end)
				return 0;
			__u16 fragment = NET16(*(__u16 *)(at + 2));
			packet->piece = fragment & 0xfff8 ? LATER : fragment & 1 ? FIRST : WHOLE;
			packet->id = *(__u32 *)(at + 4);
			next = *(__u8 *)at;
			packet->datagram_protocol = next;
			at += 8;
			if (packet->piece == LATER)
				break;
		} else if (next == EXT_HOP_BY_HOP || next == EXT_ROUTING || next == EXT_DESTINATION) {
			if (at + 2 > end)
				return 0;
			next = *(__u8 *)at;
			at += (*(__u8 *)(at + 1) + 1) * 8;
		} else {
			break;
		}
	}
	set_protocol(packet, next);
	return at;
}

INLINE _Bool has_ports(__u8 protocol)
{
	return protocol == PROTO_TCP || protocol == PROTO_UDP;
}

INLINE _Bool parse_ports(struct packet *packet, void *payload, void *end)
{
	if (payload + 4 > end)
		return 0;
	packet->source.port = *(__be16 *)payload;
	packet->destination.port = *(__be16 *)(payload + 2);
	return 1;
}

INLINE __u32 endpoint_flags(const struct endpoint *endpoint)
{
	const __u32 *flags = map_lookup(&endpoints, endpoint);
	return flags ? *flags : 0;
}

INLINE __u32 address_flags(const struct address *address)
{
	const struct address_facts *facts = map_lookup(&addresses, address);
	return facts ? facts->flags : 0;
}

INLINE _Bool in_local_range(const struct address_facts *facts, __be16 port)
{
	__u16 host = NET16(port);
	return facts->flags & LOCAL && facts->port_low <= host && host <= facts->port_high;
}

/* Rules 1 to 4, on a packet with ports. */
INLINE _Bool ours(const struct packet *packet)
{
	/* 1: to a service. */
	if (endpoint_flags(&packet->destination) & SERVICE)
		return 1;
	const struct address_facts *facts = map_lookup(&addresses, &packet->destination.address);
	if (facts) {
		/* 2: to a FullNAT address, a port of its range. */
		if (in_local_range(facts, packet->destination.port))
			return 1;
		/* 3: to any other address of the box. */
		if (facts->flags & BOX)
			return 0;
	}
	/* 4: from a NAT server's endpoint. */
	return endpoint_flags(&packet->source) & SERVER;
}

/* Rule 5 without the memory: could this datagram's fragments be ours, by their addresses? */
INLINE _Bool fragments_may_be_ours(const struct packet *packet)
{
	__u32 flags = address_flags(&packet->destination.address);
	if (flags & (VIP | LOCAL))
		return 1;
	if (flags & BOX)
		return 0;
	return address_flags(&packet->source.address) & NAT_SERVER;
}

INLINE void name_datagram(struct datagram *datagram, const struct packet *packet)
{
	datagram->source = packet->source.address;
	datagram->destination = packet->destination.address;
	datagram->id = packet->id;
	datagram->protocol = packet->datagram_protocol;
}

/* Rule 5: a fragment without ports goes where its first one went. What the kernel got is
 * remembered for as long as the kernel would wait for the rest (30 s, RFC 791 section 3.2). */
INLINE _Bool later_fragment_ours(const struct packet *packet)
{
	struct datagram datagram;
	if (!fragments_may_be_ours(packet))
		return 0;
	name_datagram(&datagram, packet);
	const __u64 *passed = map_lookup(&passed_datagrams, &datagram);
	return !passed || nanoseconds() - *passed > 30000000000ULL;
}

/* The verdict on a first fragment, kept for the later ones. */
INLINE void remember_first_fragment(const struct packet *packet, _Bool taken)
{
	struct datagram datagram;
	if (!taken && !fragments_may_be_ours(packet))
		return;
	name_datagram(&datagram, packet);
	if (taken) {
		map_delete(&passed_datagrams, &datagram);
	} else {
		__u64 now = nanoseconds();
		map_update(&passed_datagrams, &datagram, &now, BPF_ANY);
	}
}

/* Rule 6: an ICMP error about a packet that we sent or that we forwarded: rules 1, 2, 4 and
 * 5 on the packet in it, whose source and destination were the other way round. */
INLINE _Bool quoted_ours(struct packet *quoted, void *payload, void *end)
{
	if (quoted->protocol == PROTO_IPIP || quoted->protocol == PROTO_IPV6)
		return address_flags(&quoted->destination.address) & TUNNEL_SERVER &&
		       address_flags(&quoted->source.address) & BOX;
	if (!has_ports(quoted->protocol))
		return 0;
	if (quoted->piece == LATER)
		return address_flags(&quoted->source.address) & (VIP | LOCAL) ||
		       address_flags(&quoted->destination.address) & NAT_SERVER;
	if (!parse_ports(quoted, payload, end))
		return 0;
	if (endpoint_flags(&quoted->source) & SERVICE)
		return 1;
	const struct address_facts *facts = map_lookup(&addresses, &quoted->source.address);
	if (facts && in_local_range(facts, quoted->source.port))
		return 1;
	return endpoint_flags(&quoted->destination) & SERVER;
}

/* RFC 792: destination unreachable, source quench, time exceeded, parameter problem. */
INLINE _Bool icmp_ours(void *payload, void *end)
{
	struct packet quoted;
	if (payload + 8 > end)
		return 0;
	__u8 type = *(__u8 *)payload;
	if (type != 3 && type != 4 && type != 11 && type != 12)
		return 0;
	void *inner = parse_ipv4(&quoted, payload + 8, end);
	return inner && quoted_ours(&quoted, inner, end);
}

/* RFC 4443 section 3: types 1 to 4 are the errors that exist. */
INLINE _Bool icmpv6_ours(void *payload, void *end)
{
	struct packet quoted;
	if (payload + 8 > end)
		return 0;
	__u8 type = *(__u8 *)payload;
	if (type < 1 || type > 4)
		return 0;
	void *inner = parse_ipv6(&quoted, payload + 8, end);
	return inner && quoted_ours(&quoted, inner, end);
}

INLINE _Bool datagram_ours(struct packet *packet, void *payload, void *end)
{
	if (!has_ports(packet->protocol))
		return 0;
	if (packet->piece == LATER)
		return later_fragment_ours(packet);
	if (!parse_ports(packet, payload, end))
		return 0;
	_Bool taken = ours(packet);
	if (packet->piece == FIRST)
		remember_first_fragment(packet, taken);
	return taken;
}

/* Only frames to the interface itself or to a macvlan of it. */
INLINE _Bool to_us(void *ethernet)
{
	__u64 mac = *(__u32 *)ethernet | (__u64) * (__u16 *)(ethernet + 4) << 32;
	return mac == config.mac || (config.macs && map_lookup(&macs, &mac));
}

INLINE _Bool frame_ours(void *start, void *end)
{
	struct packet packet;
	if (start + 14 > end || !to_us(start))
		return 0;
	__u16 ethertype = *(__u16 *)(start + 12);
	if (ethertype == NET16(ETHERTYPE_IPV4)) {
		void *payload = parse_ipv4(&packet, start + 14, end);
		if (!payload)
			return 0;
		if (packet.protocol == PROTO_ICMP)
			return packet.piece == WHOLE && icmp_ours(payload, end);
		return datagram_ours(&packet, payload, end);
	}
	if (ethertype == NET16(ETHERTYPE_IPV6)) {
		void *payload = parse_ipv6(&packet, start + 14, end);
		if (!payload)
			return 0;
		if (packet.protocol == PROTO_ICMPV6)
			return packet.piece == WHOLE && icmpv6_ours(payload, end);
		return datagram_ours(&packet, payload, end);
	}
	return 0;
}

SECTION("xdp") int match(struct xdp_md *ctx)
{
	void *start = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct counts *counts = map_lookup(&counters, &zero);
	if (!counts)
		return XDP_ABORTED;
	if (!frame_ours(start, end)) {
		counts->passed++;
		return XDP_PASS;
	}
	/* The kernel would answer it with a reset; lost, it is sent again. */
	if (end - start > build.room) {
		counts->oversize++;
		return XDP_DROP;
	}
	long action = redirect_map(&sockets, ctx->rx_queue_index, build.fallback);
	if (action == XDP_REDIRECT)
		counts->taken++;
	else
		counts->no_socket++;
	return action;
}
