/* Takes off the outer header of a director's TUN mode on a real server's interface, where
 * the kernel has no ipip, sit or ip6_tunnel: IPv4 or IPv6 in IPv4 or IPv6.
 *
 * It sees single frames, so an outer packet that was fragmented on its way cannot be put
 * together again here and goes to the kernel as it is; fragments of the inner packet pass
 * like any others. That is enough for a lab; a real server uses tunl0 and its kin.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAGMENT 0x3fff /* more fragments, or an offset */

/* What is inside: an Ethernet type, or 0 when it is no tunnel. */
static __always_inline __u16 inner_type(__u8 protocol)
{
	if (protocol == IPPROTO_IPIP)
		return bpf_htons(ETH_P_IP);
	if (protocol == IPPROTO_IPV6)
		return bpf_htons(ETH_P_IPV6);
	return 0;
}

SEC("xdp")
int decapsulate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ethhdr header;
	__u16 type = 0;
	int length = 0;

	if (data + sizeof(*eth) + sizeof(struct iphdr) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + sizeof(*eth);

		if (ip->ihl != 5 || (ip->frag_off & bpf_htons(FRAGMENT)))
			return XDP_PASS;
		type = inner_type(ip->protocol);
		length = sizeof(*ip);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = data + sizeof(*eth);

		if ((void *)(ip6 + 1) > end)
			return XDP_PASS;
		type = inner_type(ip6->nexthdr);
		length = sizeof(*ip6);
	}
	if (!type)
		return XDP_PASS;

	header = *eth;
	header.h_proto = type;
	if (bpf_xdp_adjust_head(ctx, length))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(header) > end)
		return XDP_DROP;
	*(struct ethhdr *)data = header;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
