/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* Mark rules: what `iptables -t mangle -A PREROUTING ... -j MARK` does for LVS. A packet is
 * taken if a mark that the rules give it has a service. */
#pragma once

#include "packet.h"

enum { MARK_SLOTS = 256 };

/* A flag of rules and questions. */
enum { OF_IPV6 = 1 };

/* One rule with one range of ports; a rule with several has a slot for each, as the same
 * bits may be set twice. A mask of zeroes leaves its field out. */
struct mark_rule {
	struct address destination;
	struct address destination_mask;
	struct address source;
	struct address source_mask;
	__u32 keep; /* the bits that stay */
	__u32 set;
	__u32 named; /* those not kept, if the destination is a single address, else none */
	__u32 interface; /* its index */
	__u32 interface_mask;
	__u16 port_low; /* both inclusive, host order; 0 and 65535: any */
	__u16 port_high;
	__u8 protocol;
	__u8 protocol_mask;
	__u8 flags;
	__u8 zero;
};

/* Two halves: one counts, the other is written. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct mark_rule);
	MAP_NUMBER(max_entries, 2 * MARK_SLOTS);
} mark_rules SECTION(".maps");

/* Which rules count: the first slot, and how many (32 bits up). One word, so that new rules
 * take effect at once. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u64);
	MAP_NUMBER(max_entries, 1);
} mark_extent SECTION(".maps");

struct mark_service {
	__u32 mark;
	__u32 ipv6;
};

/* Marks that have a service. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_TYPE(key, struct mark_service);
	MAP_TYPE(value, __u32);
	MAP_NUMBER(max_entries, 1);
} mark_services SECTION(".maps");

/* A flag of questions: the destination is an address of the box. */
enum { TO_BOX = 2 };

struct mark_question {
	struct address source;
	struct address destination;
	__u32 interface;
	__u32 interface_mask; /* zero: it does not count */
	__u32 port_mask; /* zero: there is no port to be seen */
	__u16 port; /* host order */
	__u8 protocol;
	__u8 flags;
};

/* The bits of an address that are not the network's. */
INLINE __u32 outside(const struct address *address, const struct address *network, const struct address *mask)
{
	return ((address->word[0] & mask->word[0]) ^ network->word[0]) |
	       ((address->word[1] & mask->word[1]) ^ network->word[1]) |
	       ((address->word[2] & mask->word[2]) ^ network->word[2]) |
	       ((address->word[3] & mask->word[3]) ^ network->word[3]);
}

/* Without branches, of which the verifier would follow each, 256 times. */
INLINE _Bool rule_matches(const struct mark_rule *rule, const struct mark_question *question)
{
	__u32 port = question->port;
	__u32 outside_range = (((__u32)rule->port_high - port) | (port - rule->port_low)) >> 31;
	__u32 differs = (rule->flags ^ question->flags) & OF_IPV6;
	differs |= (rule->protocol ^ question->protocol) & rule->protocol_mask;
	differs |= (rule->interface ^ question->interface) & rule->interface_mask & question->interface_mask;
	differs |= outside_range & question->port_mask;
	differs |= outside(&question->destination, &rule->destination, &rule->destination_mask);
	differs |= outside(&question->source, &rule->source, &rule->source_mask);
	return !differs;
}

/* Whether the mark that all rules give, one after the other (MARK does not end a chain), has
 * a service. What goes to the box itself must have got a bit of it from a rule that names the
 * address alone: 0.0.0.0/0 on an interface is not to take ssh. Without a port to be seen, a
 * rule that may match is enough.
 *
 * A function of its own and not static, so that the verifier walks the loop once and not
 * once for every way that leads here. */
__attribute__((noinline)) int mark_taken(const struct mark_question *question)
{
	__u32 zero = 0;
	__u32 mark = 0;
	__u32 named = 0;
	__u32 touched = 0;
	if (!question)
		return 0;
	__u32 transit = question->flags & TO_BOX ? 0 : ~0u;
	const volatile __u64 *extent = map_lookup(&mark_extent, &zero);
	if (!extent)
		return 0;
	__u64 word = *extent;
	__u32 first = word;
	__u32 count = word >> 32;
	for (__u32 i = 0; i < MARK_SLOTS; i++) {
		__u32 slot = first + i;
		if (i >= count)
			break;
		const struct mark_rule *rule = map_lookup(&mark_rules, &slot);
		if (!rule)
			break;
		if (!rule_matches(rule, question))
			continue;
		__u32 keep = rule->keep;
		mark = (mark & keep) | rule->set;
		named = (named & keep) | rule->named;
		touched |= rule->named | transit;
	}
	if (!question->port_mask)
		return touched != 0;
	if (!mark || !(named | transit))
		return 0;
	struct mark_service key = {mark, question->flags & OF_IPV6};
	return map_lookup(&mark_services, &key) != 0;
}

/* Asks about a packet from `source` to `destination`, whichever way it went. Interface 0 is
 * none, and none is looked at. */
INLINE _Bool marked(const struct packet *packet, const struct endpoint *source,
		    const struct endpoint *destination, __u32 interface, _Bool to_box)
{
	__u32 zero = 0;
	const volatile __u64 *extent = map_lookup(&mark_extent, &zero);
	if (!extent || !(*extent >> 32))
		return 0;
	struct mark_question question = {
		.source = source->address,
		.destination = destination->address,
		.interface = interface,
		.interface_mask = interface ? ~0u : 0,
		.port_mask = packet->piece == LATER ? 0 : ~0u,
		.port = packet->piece == LATER ? 0 : NET16(destination->port),
		.protocol = packet->protocol,
		.flags = (packet->ipv6 ? OF_IPV6 : 0) | (to_box ? TO_BOX : 0),
	};
	return mark_taken(&question);
}
