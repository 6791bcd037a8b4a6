/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* A packet generator: run by BPF_PROG_RUN with live frames, it makes each frame anew from a
 * template and sends it out of a device. The kernel recycles the frames as whoever got them
 * left them, so the whole header is written every time. */
#include "kernel.h"

const char terms[] SECTION("license") = "Dual MIT/GPL";

enum { HEADER_WORDS = 12 };

/* Written before loading, then frozen: the verifier takes these for constants. Offsets are
 * in octets from the start of the frame; 0 is none. */
struct {
	__u64 header[HEADER_WORDS];
	__u32 words; /* of the header that are written */
	__u32 flow_mask;
	__u32 address; /* the low 16 bits of the source address */
	__u32 port; /* the source port */
	__u32 ip_checksum;
	__u32 checksum; /* TCP's or UDP's */
} const volatile build SECTION(".rodata.build") = {};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_DEVMAP);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u32);
	MAP_NUMBER(max_entries, 1);
} out SECTION(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u64);
	MAP_NUMBER(max_entries, 1);
} sent SECTION(".maps");

/* RFC 1624 equation 3, for a sum that may be off by several words. */
INLINE void add_to_checksum(__u16 *checksum, __u32 difference)
{
	__u32 sum = (__u16)~*checksum + difference;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*checksum = ~sum;
}

/* Adds to a 16-bit word in network order; returns what the sum of all words grew by. */
INLINE __u32 add_to_word(__u16 *word, __u16 more)
{
	__u16 before = *word;
	*word = NET16((__u16)(NET16(before) + more));
	return (__u16)~before + *word;
}

SECTION("xdp") int generate(struct xdp_md *ctx)
{
	void *start = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	__u64 *number = map_lookup(&sent, &zero);
	if (!number || start + build.words * 8 > end)
		return XDP_ABORTED;
#pragma unroll
	for (__u32 i = 0; i < HEADER_WORDS; i++)
		if (i < build.words)
			((__u64 *)start)[i] = build.header[i];
	__u32 flow = (*number)++ & build.flow_mask;
	__u32 address = add_to_word(start + build.address, flow >> 14);
	__u32 port = add_to_word(start + build.port, flow & 0x3fff);
	if (build.ip_checksum)
		add_to_checksum(start + build.ip_checksum, address);
	if (build.checksum)
		add_to_checksum(start + build.checksum, address + port);
	return redirect_map(&out, 0, XDP_ABORTED);
}
