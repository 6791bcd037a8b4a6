#!/bin/dash
# The guest's first process: a bare system, and then a shell that takes its orders from the
# second serial port. The first one has the kernel's words, so that they never mix.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
hostname guest
modprobe virtio_pci
modprobe virtio_net
ip link set dev lo up
# However it goes, and whoever has forgotten it: no guest outlives this. `lifetime` comes
# from the kernel's command line, in seconds.
(sleep "$lifetime"; poweroff -f) &
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo
echo ready
# As a script, not as a terminal: no prompt.
exec dash /dev/ttyS1
