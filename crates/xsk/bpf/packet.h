/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* What the rules look at, and how it is read from a frame. */
#pragma once

#include "kernel.h"

enum { PROTO_ICMP = 1, PROTO_IPIP = 4, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_IPV6 = 41, PROTO_GRE = 47 };
enum { PROTO_ICMPV6 = 58, PROTO_SCTP = 132 };
enum { EXT_HOP_BY_HOP = 0, EXT_ROUTING = 43, EXT_FRAGMENT = 44, EXT_DESTINATION = 60, EXT_LIMIT = 6 };
enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_IPV6 = 0x86dd };

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

enum piece { WHOLE, FIRST, LATER };

/* What the rules look at. The protocol stands in both endpoints, ready for the lookups. */
struct packet {
	struct endpoint source;
	struct endpoint destination;
	__u32 id;
	enum piece piece;
	__u8 protocol;
	__u8 datagram_protocol; /* after a fragment header: what all fragments announce */
	__u8 ipv6;
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
	packet->ipv6 = 0;
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
	packet->ipv6 = 1;
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

/* RFC 9293, RFC 768, RFC 9260: the ports are the first four octets of all three. */
INLINE _Bool has_ports(__u8 protocol)
{
	return protocol == PROTO_TCP || protocol == PROTO_UDP || protocol == PROTO_SCTP;
}

INLINE _Bool parse_ports(struct packet *packet, void *payload, void *end)
{
	if (payload + 4 > end)
		return 0;
	packet->source.port = *(__be16 *)payload;
	packet->destination.port = *(__be16 *)(payload + 2);
	return 1;
}
