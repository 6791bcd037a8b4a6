/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* "Is it ours?" An arriving frame goes to the AF_XDP socket of its queue if it belongs to a
 * virtual service, and to the kernel otherwise. The rules are ordered and numbered; the
 * table of tests in tests/contract has the same numbers.
 *
 * 1. To a service: taken. To its port; for FTP also to the ports of data connections; to any
 *    port of its protocol, less up to 16 excepted ranges a VIP and protocol; or with a mark
 *    that has a service (marks.h: 256 rules, each range of ports one). A mark rule for more
 *    than one address never takes what goes to an address of the box.
 * 2. To a FullNAT address, or to one that health probes come from, and a port of its range:
 *    taken. So are the answers of a VIP to a probe by way of its service (DR, TUN).
 * 3. To any other address of the box: left to the kernel.
 * 4. From a NAT server's port, or from any port of one that keeps the client's: taken.
 * 5. A fragment without ports: by the addresses of 1, 2 and 4, unless the kernel got the
 *    first one.
 * 6. An ICMP error: 1 to 5 on the packet in it, reversed; or about a tunnel of ours. */
#include "known.h"
#include "marks.h"
#include "packet.h"

const char terms[] SECTION("license") = "Dual MIT/GPL";

struct datagram {
	struct address source;
	struct address destination;
	__u32 id;
	__u32 protocol;
};

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

/* Rule 1, where no service has this very port: FTP's data, services on port 0, marks. */
INLINE _Bool to_wider_service(const struct packet *packet, const struct endpoint *source,
			      const struct endpoint *destination, __u32 flags, __u32 interface)
{
	return to_other_port(destination, flags) || marked(packet, source, destination, interface, flags & BOX);
}

/* Rule 4: does a NAT server answer from this endpoint? */
INLINE _Bool from_server(const struct endpoint *endpoint)
{
	return endpoint_flags(endpoint) & SERVER ||
	       address_flags(&endpoint->address) & of_protocol(FROM_EVERY_PORT, endpoint->protocol);
}

/* Rules 1 to 4, on a packet with ports. */
INLINE _Bool ours(const struct packet *packet, __u32 interface)
{
	/* 1: to a service, or with a mark that has one. */
	if (endpoint_flags(&packet->destination) & SERVICE)
		return 1;
	const struct address_facts *facts = map_lookup(&addresses, &packet->destination.address);
	__u32 flags = facts ? facts->flags : 0;
	if (to_wider_service(packet, &packet->source, &packet->destination, flags, interface))
		return 1;
	/* 2: to a FullNAT address, a port of its range. */
	if (facts && in_local_range(facts, packet->destination.port))
		return 1;
	/* 3: to any other address of the box. */
	if (flags & BOX)
		return 0;
	/* 4: from a NAT server's endpoint. */
	return from_server(&packet->source);
}

/* Rule 5 without the memory: could this datagram's fragments be ours, by their addresses? */
INLINE _Bool fragments_may_be_ours(const struct packet *packet, __u32 interface)
{
	__u32 flags = address_flags(&packet->destination.address);
	if (flags & (VIP | LOCAL))
		return 1;
	if (marked(packet, &packet->source, &packet->destination, interface, flags & BOX))
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
INLINE _Bool later_fragment_ours(const struct packet *packet, __u32 interface)
{
	struct datagram datagram;
	if (!fragments_may_be_ours(packet, interface))
		return 0;
	name_datagram(&datagram, packet);
	const __u64 *passed = map_lookup(&passed_datagrams, &datagram);
	return !passed || nanoseconds() - *passed > 30000000000ULL;
}

/* The verdict on a first fragment, kept for the later ones. */
INLINE void remember_first_fragment(struct packet *packet, _Bool taken, __u32 interface)
{
	struct datagram datagram;
	packet->piece = LATER; /* what those will be asked */
	if (!taken && !fragments_may_be_ours(packet, interface))
		return;
	name_datagram(&datagram, packet);
	if (taken) {
		map_delete(&passed_datagrams, &datagram);
	} else {
		__u64 now = nanoseconds();
		map_update(&passed_datagrams, &datagram, &now, BPF_ANY);
	}
}

/* Rule 6, an outer header of ours (IP in IP, GRE, GUE), sent by the box to a TUN server. */
INLINE _Bool quoted_tunnel(struct packet *quoted, void *payload, void *end)
{
	if (!(address_flags(&quoted->source.address) & BOX))
		return 0;
	if (!(address_flags(&quoted->destination.address) & TUNNEL_SERVER))
		return 0;
	if (quoted->protocol == PROTO_IPIP || quoted->protocol == PROTO_IPV6 || quoted->protocol == PROTO_GRE)
		return 1;
	return quoted->protocol == PROTO_UDP && quoted->piece != LATER && parse_ports(quoted, payload, end) &&
	       endpoint_flags(&quoted->destination) & GUE;
}

/* Rule 6: an ICMP error about a packet that we sent or that we forwarded: rules 1 to 5
 * on the packet in it, whose source and destination were the other way round. The error may
 * come by another interface than such packets do, so that of a mark rule is not looked at. */
INLINE _Bool quoted_ours(struct packet *quoted, void *payload, void *end)
{
	if (quoted_tunnel(quoted, payload, end))
		return 1;
	if (!has_ports(quoted->protocol))
		return 0;
	const struct address_facts *facts = map_lookup(&addresses, &quoted->source.address);
	__u32 flags = facts ? facts->flags : 0;
	if (quoted->piece == LATER)
		return flags & (VIP | LOCAL) ||
		       marked(quoted, &quoted->destination, &quoted->source, 0, flags & BOX) ||
		       address_flags(&quoted->destination.address) & NAT_SERVER;
	if (!parse_ports(quoted, payload, end))
		return 0;
	if (endpoint_flags(&quoted->source) & SERVICE ||
	    to_wider_service(quoted, &quoted->destination, &quoted->source, flags, 0))
		return 1;
	if (facts && in_local_range(facts, quoted->source.port))
		return 1;
	/* 3: a packet of the box itself. */
	if (flags & BOX)
		return 0;
	return from_server(&quoted->destination);
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

INLINE _Bool datagram_ours(struct packet *packet, void *payload, void *end, __u32 interface)
{
	if (!has_ports(packet->protocol))
		return 0;
	if (packet->piece == LATER)
		return later_fragment_ours(packet, interface);
	if (!parse_ports(packet, payload, end))
		return 0;
	_Bool taken = ours(packet, interface);
	if (packet->piece == FIRST)
		remember_first_fragment(packet, taken, interface);
	return taken;
}

/* Only frames to the interface itself or to a macvlan of it. */
INLINE _Bool to_us(void *ethernet)
{
	__u64 mac = *(__u32 *)ethernet | (__u64) * (__u16 *)(ethernet + 4) << 32;
	return mac == config.mac || (config.macs && map_lookup(&macs, &mac));
}

INLINE _Bool frame_ours(void *start, void *end, __u32 interface)
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
		return datagram_ours(&packet, payload, end, interface);
	}
	if (ethertype == NET16(ETHERTYPE_IPV6)) {
		void *payload = parse_ipv6(&packet, start + 14, end);
		if (!payload)
			return 0;
		if (packet.protocol == PROTO_ICMPV6)
			return packet.piece == WHOLE && icmpv6_ours(payload, end);
		return datagram_ours(&packet, payload, end, interface);
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
	if (!frame_ours(start, end, ctx->ingress_ifindex)) {
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
