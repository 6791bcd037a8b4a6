/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* What a BPF program needs to know of the kernel, beyond linux/bpf.h: sections, the form
 * of map definitions that libbpf reads from BTF, and the helpers by their numbers. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* A map attribute is a pointer type: to an array of so many ints, or to the type itself. */
#define MAP_NUMBER(name, value) int(*name)[value]
#define MAP_TYPE(name, type) __typeof__(type) *name

static void *(*const map_lookup)(const void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const map_update)(const void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static long (*const map_delete)(const void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static long (*const redirect_map)(const void *map, __u64 index, __u64 fallback) = (void *)BPF_FUNC_redirect_map;
static __u64 (*const nanoseconds)(void) = (void *)BPF_FUNC_ktime_get_ns;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) ((__u16)__builtin_bswap16(x))
#define NET32(x) ((__u32)__builtin_bswap32(x))
#else
#define NET16(x) ((__u16)(x))
#define NET32(x) ((__u32)(x))
#endif
