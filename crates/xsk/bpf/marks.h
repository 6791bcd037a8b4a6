/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* Mark rules: what `iptables -t mangle -A PREROUTING ... -j MARK` does for LVS. A packet is
 * taken if a mark that the rules give it has a service. */
#pragma once

#include "packet.h"

enum { MARK_SLOTS = 256 };

/* Flags of a rule. */
enum {
	RULE_IPV6 = 1,
	RULE_HOST = 2, /* the destination is one address */
	RULE_PORTS = 4, /* the range counts */
};

/* One rule with one range of ports; a rule with several has a slot for each, as the same
 * bits may be set twice. */
struct mark_rule {
	struct address destination;
	struct address destination_mask;
	struct address source;
	struct address source_mask;
	__u32 keep; /* the bits that stay */
	__u32 set;
	__u32 interface; /* its index; 0: any */
	__u16 port_low; /* both inclusive, host order */
	__u16 port_high;
	__u8 protocol; /* 0: any that has ports */
	__u8 flags;
	__u16 zero;
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

/* Flags of a question. */
enum {
	ABOUT_IPV6 = RULE_IPV6,
	ABOUT_BOX = 2, /* the destination is an address of the box */
	ABOUT_FRAGMENT = 4, /* there is no port to be seen */
};

struct mark_question {
	struct address source;
	struct address destination;
	__u32 interface; /* 0: the packet came by another one than its answer's error */
	__u16 port; /* host order */
	__u8 protocol;
	__u8 flags;
};

INLINE _Bool within(const struct address *address, const struct address *network, const struct address *mask)
{
	return !(((address->word[3] & mask->word[3]) ^ network->word[3]) |
		 ((address->word[2] & mask->word[2]) ^ network->word[2]) |
		 ((address->word[1] & mask->word[1]) ^ network->word[1]) |
		 ((address->word[0] & mask->word[0]) ^ network->word[0]));
}

INLINE _Bool rule_matches(const struct mark_rule *rule, const struct mark_question *question)
{
	if ((rule->flags ^ question->flags) & RULE_IPV6)
		return 0;
	if (rule->protocol && rule->protocol != question->protocol)
		return 0;
	if (rule->interface && question->interface && rule->interface != question->interface)
		return 0;
	if (rule->flags & RULE_PORTS && !(question->flags & ABOUT_FRAGMENT) &&
	    (question->port < rule->port_low || question->port > rule->port_high))
		return 0;
	return within(&question->destination, &rule->destination, &rule->destination_mask) &&
	       within(&question->source, &rule->source, &rule->source_mask);
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
		_Bool host = rule->flags & RULE_HOST;
		mark = (mark & keep) | rule->set;
		named = (named & keep) | (host ? ~keep : 0);
		touched |= host || !(question->flags & ABOUT_BOX);
	}
	if (question->flags & ABOUT_FRAGMENT)
		return touched;
	if (!mark || (question->flags & ABOUT_BOX && !named))
		return 0;
	struct mark_service key = {mark, question->flags & ABOUT_IPV6};
	return map_lookup(&mark_services, &key) != 0;
}

/* Asks about a packet from `source` to `destination`, whichever way it went. */
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
		.port = packet->piece == LATER ? 0 : NET16(destination->port),
		.protocol = packet->protocol,
		.flags = (packet->ipv6 ? ABOUT_IPV6 : 0) | (to_box ? ABOUT_BOX : 0) |
			 (packet->piece == LATER ? ABOUT_FRAGMENT : 0),
	};
	return mark_taken(&question);
}
