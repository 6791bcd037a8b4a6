#!/bin/sh
# pktgen.sh - flood an LVS director with UDP of many connections, from a box of its own, by the
# kernel's pktgen: one thread a transmit queue, each frame of another connection than the one
# before.
#
#   pktgen.sh [options] DEV DST_MAC VIP PORT
#
#   DEV        the interface that faces the director
#   DST_MAC    the director's MAC, or that of the router towards it
#   VIP, PORT  a UDP service of the director, IPv4
#
# Options:
#   --flows N      connections in all, over all threads (1024). Up to 16381 a thread it is N, above
#                  that the next larger number that can be made; what it is, is printed.
#   --threads N    threads, each on a CPU and a transmit queue of its own (1)
#   --size N       octets of a frame on the wire, with the FCS (64)
#   --count N      frames in all, over all threads; then it ends by itself
#   --seconds N    without --count: for so long (10)
#   --rate N       frames a second in all; without it as many as the box can send
#   --source A     the first client's address (198.18.0.1); further ones follow it
#   --checksum     with UDP checksums; without, the field is 0, which says that there is none
#
# Prints what was sent and how fast. What the director did with it, it says itself (xlvs list
# --rate, its metrics) and the real servers' interfaces count. Send no faster than the director
# drops nothing, and raise the rate from there: what is beyond is lost in its NIC.
#
# Needs root and the module pktgen. It takes over the pktgen of this network namespace; only one
# can run. Never point it at a network that is not yours.

set -eu

say() { printf 'pktgen: %s\n' "$*"; }
die() { printf 'pktgen: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2; }

control=/proc/net/pktgen
# Prime, so that it and a smaller number of addresses, both counted up with each frame, meet in
# every combination.
ports=16381
first_port=20000

flows=1024 threads=1 size=64 count=0 seconds=10 rate=0 source=198.18.0.1 checksum=

number() {
    case $2 in '' | *[!0-9]*) die "$1: not a number: $2" ;; esac
    [ "$2" -ge "$3" ] || die "$1: $2: at least $3"
}

while [ $# -gt 0 ]; do
    case $1 in
        --checksum) checksum=yes; shift; continue ;;
        --flows | --threads | --size | --count | --seconds | --rate | --source) ;;
        -*) usage ;;
        *) break ;;
    esac
    [ $# -ge 2 ] || usage
    case $1 in
        --flows) flows=$2; number "$1" "$2" 1 ;;
        --threads) threads=$2; number "$1" "$2" 1 ;;
        --size) size=$2; number "$1" "$2" 64 ;;
        --count) count=$2; number "$1" "$2" 1 ;;
        --seconds) seconds=$2; number "$1" "$2" 1 ;;
        --rate) rate=$2; number "$1" "$2" 1 ;;
        --source) source=$2 ;;
    esac
    shift 2
done
[ $# = 4 ] || usage
device=$1 mac=$2 vip=$3 port=$4
number PORT "$port" 1
# Of none it would send for ever.
[ "$count" = 0 ] || [ "$count" -ge "$threads" ] || die "--count: $count: fewer than threads"

# An IPv4 address as a number, and back.
to_number() {
    (
        IFS=.
        set -f
        # shellcheck disable=SC2086
        set -- $1
        [ $# = 4 ] || die "not an IPv4 address"
        echo $((($1 << 24) + ($2 << 16) + ($3 << 8) + $4))
    )
}
to_address() { echo "$(($1 >> 24 & 255)).$(($1 >> 16 & 255)).$(($1 >> 8 & 255)).$(($1 & 255))"; }

# One word to a file of pktgen's; it tells faults by the write's error or by its Result.
order() {
    file=$control/$1
    shift
    echo "$*" >"$file" || die "$file refuses: $*"
}

[ "$(id -u)" = 0 ] || die "needs root"
[ -d "/sys/class/net/$device" ] || die "$device: no such interface"
[ -d "$control" ] || modprobe pktgen || die "this kernel has no pktgen (CONFIG_NET_PKTGEN)"
[ -e "$control/pgctrl" ] || die "no $control/pgctrl in this network namespace"

queues=0
for queue in "/sys/class/net/$device/queues"/tx-*; do
    [ -d "$queue" ] && queues=$((queues + 1))
done
[ "$threads" -le "$queues" ] || say "$threads threads share the $queues transmit queues of $device"
thread=0
while [ $thread -lt "$threads" ]; do
    [ -e "$control/kpktgend_$thread" ] || die "--threads: no CPU $thread"
    thread=$((thread + 1))
done

# Each thread has clients of its own.
each=$(((flows + threads - 1) / threads))
if [ "$each" -le $ports ]; then
    addresses=1
    ports=$each
else
    addresses=$(((each + ports - 1) / ports))
    [ "$addresses" -lt $ports ] || die "--flows: $flows: too many; at most $((ports * (ports - 1) * threads))"
fi
client=$(to_number "$source")

# Of other threads than these, too.
for thread in "$control"/kpktgend_*; do
    order "${thread##*/}" rem_device_all
done
thread=0
while [ $thread -lt "$threads" ]; do
    name=$device@$thread
    order kpktgend_$thread "add_device $name"
    first=$((client + thread * addresses))
    order "$name" "clone_skb 0"
    # pktgen counts without the FCS.
    order "$name" "pkt_size $((size - 4))"
    order "$name" "count $((count / threads + (thread < count % threads)))"
    order "$name" "delay 0"
    [ "$rate" = 0 ] || order "$name" "ratep $(((rate + threads - 1) / threads))"
    order "$name" "queue_map_min $((thread % queues))"
    order "$name" "queue_map_max $((thread % queues))"
    order "$name" "dst_mac $mac"
    order "$name" "dst $vip"
    order "$name" "udp_dst_min $port"
    order "$name" "udp_dst_max $port"
    order "$name" "src_min $(to_address $first)"
    order "$name" "src_max $(to_address $((first + addresses - 1)))"
    order "$name" "udp_src_min $first_port"
    # The largest port itself is not used, nor is that the end of a range of one.
    order "$name" "udp_src_max $((first_port + ports))"
    [ -z "$checksum" ] || order "$name" "flag UDPCSUM"
    thread=$((thread + 1))
done

say "$device: $((addresses * ports * threads)) connections to $vip:$port, $threads threads, $size octets"
timer=
# However it ends, nothing goes on sending.
trap 'order pgctrl stop; [ -z "$timer" ] || kill "$timer" 2>/dev/null || :' EXIT
trap 'exit 130' INT TERM
if [ "$count" = 0 ]; then
    (sleep "$seconds"; echo stop >$control/pgctrl) &
    timer=$!
fi
# Returns when all threads are done.
order pgctrl start
timer=

# `Result: OK: 2000123(c1999+d0) usec, 4000 (60byte,0frags)`, below it `1999pps ...`
sent=0 second=0 thread=0
while [ $thread -lt "$threads" ]; do
    file=$control/$device@$thread
    packets=$(sed -n 's/.*usec, \([0-9]*\) (.*/\1/p' "$file")
    speed=$(sed -n 's/^ *\([0-9]*\)pps.*/\1/p' "$file")
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$file")
    say "thread $thread: ${packets:-0} frames, ${speed:-0} a second, ${errors:-0} errors"
    sent=$((sent + ${packets:-0})) second=$((second + ${speed:-0}))
    thread=$((thread + 1))
done
say "sent $sent frames, $second a second"
