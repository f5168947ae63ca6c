#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# First process of a node, already in its own mount, uts, net and pid namespace:
# give the node private copies of all the directories that a kubelet, containerd
# and a CNI plugin use at their usual paths, then become the node's init.
#   node-init.sh NAME NODEDIR INIT
set -eu
name=$1 dir=$2 init=$3
hostname "$name"

# Nothing mounted from here on is seen outside.
mount --make-rprivate /
umount -R -l /run/netns 2>/dev/null || :      # do not hold on to namespaces of others

# /proc of this pid namespace.  kubelet writes a few machine-wide sysctls when it
# starts (overcommit, panic, key quotas): let it write to plain files instead.
mount -t proc proc /proc
for s in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
         kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    f=$dir/sysctl/$s
    mkdir -p "${f%/*}"; cat "/proc/sys/$s" >"$f"
    mount --bind "$f" "/proc/sys/$s"
done

# /sys of this network namespace, with the cgroup hierarchies put back, and a
# BPF file system of the node's own.
mkdir -p "$dir/cg"
mount --rbind /sys/fs/cgroup "$dir/cg"
mount -t sysfs sysfs /sys
mount --rbind "$dir/cg" /sys/fs/cgroup
umount -l "$dir/cg"
mount -t bpf bpf /sys/fs/bpf

# From here on mounts propagate inside the node, as kubelet and containers need.
# (Not earlier: the umount above would then reach the new /sys/fs/cgroup too.)
mount --make-rshared /

# Private directories at the standard paths.
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/netns /run/lock /run/containerd
for d in var/lib/kubelet var/lib/containerd var/lib/cni etc/cni opt/cni var/log/pods var/log/containers etc/kubernetes; do
    mkdir -p "$dir/fs/$d" "/$d"
    mount --bind "$dir/fs/$d" "/$d"
done
mkdir -p /etc/cni/net.d /opt/cni/bin
: >"$dir/resolv.conf"; mount --bind "$dir/resolv.conf" /etc/resolv.conf 2>/dev/null || :

ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 \
    net.ipv4.conf.default.rp_filter=0 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
exec "$init"
