/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* What control says of endpoints and addresses, in maps that all interfaces share. */
#pragma once

#include "packet.h"

/* Flags of an endpoint (protocol, address, port). */
enum {
	SERVICE = 1, /* a service listens there */
	SERVER = 2, /* a NAT server answers from there */
	GUE = 4, /* a TUN server takes the box's GUE packets there */
};

/* Flags of an address. Those of three protocols stand for TCP, UDP and SCTP, upwards. */
enum {
	VIP = 1,
	BOX = 2,
	LOCAL = 4,
	NAT_SERVER = 8,
	TUNNEL_SERVER = 16,
	EVERY_PORT = 1 << 5, /* a service on port 0; three protocols */
	FROM_EVERY_PORT = 1 << 8, /* a NAT server that keeps the client's ports; three protocols */
	FTP = 1 << 11, /* a persistent service on TCP port 21 */
	EXCEPTIONS = 1 << 12, /* the service on port 0 leaves ports to the kernel */
};

enum { FTP_DATA = 20, UNPRIVILEGED = 1024 };
enum { RANGES = 16 };

struct address_facts {
	__u32 flags;
	__u16 port_low; /* of LOCAL, both inclusive, host order */
	__u16 port_high;
};

/* Ports of a VIP and protocol that stay with the kernel, both ends inclusive, host order;
 * the first range from above its end ends the list. */
struct exceptions {
	struct {
		__u16 low;
		__u16 high;
	} range[RANGES];
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

/* Of services on port 0; the key has port 0. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_TYPE(key, struct endpoint);
	MAP_TYPE(value, struct exceptions);
	MAP_NUMBER(max_entries, 1);
} excepted SECTION(".maps");

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

/* A flag of three protocols, for this one. */
INLINE __u32 of_protocol(__u32 flag, __u8 protocol)
{
	if (protocol == PROTO_TCP)
		return flag;
	if (protocol == PROTO_UDP)
		return flag << 1;
	return protocol == PROTO_SCTP ? flag << 2 : 0;
}

/* Whether a service on port 0 leaves this port to the kernel. A function of its own and not
 * static, so that the verifier walks the loop once and not once for every way that leads here. */
__attribute__((noinline)) int is_excepted(const struct endpoint *endpoint)
{
	if (!endpoint)
		return 0;
	struct endpoint every = *endpoint;
	__u16 port = NET16(endpoint->port);
	every.port = 0;
	const struct exceptions *exceptions = map_lookup(&excepted, &every);
	if (!exceptions)
		return 0;
	for (int i = 0; i < RANGES; i++) {
		if (exceptions->range[i].low > exceptions->range[i].high)
			break;
		if (exceptions->range[i].low <= port && port <= exceptions->range[i].high)
			return 1;
	}
	return 0;
}

/* Whether a service takes this endpoint that is not one of a single port: the one of FTP's
 * data connections, or one on port 0 (ip_vs_service_find asks in this order). */
INLINE _Bool to_other_port(const struct endpoint *endpoint, __u32 flags)
{
	__u16 port = NET16(endpoint->port);
	if (flags & FTP && endpoint->protocol == PROTO_TCP && (port == FTP_DATA || port >= UNPRIVILEGED))
		return 1;
	if (!(flags & of_protocol(EVERY_PORT, endpoint->protocol)))
		return 0;
	return !(flags & EXCEPTIONS) || !is_excepted(endpoint);
}
