#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stop the cluster: only processes that up.sh started (by pid file), then the
# namespaces and cgroups.  down.sh --purge also removes $STATE.
. "$(dirname "$0")/lib.sh"
lock
owner=$(cat "$LOCK")
[ ! -e /run/netns/$CPNS ] || [ -z "$owner" ] || [ "$owner" = "$STATE" ] ||
    die "the cluster that is up is not this one: run down.sh with STATE=$owner"
# By namespace name as well as by pid file: an up.sh that failed half-way may have
# left only the namespace.
nodes=$({ ls "$STATE/run" 2>/dev/null; ip netns list; } | sed -n 's/^knode\([1-9]\)\b.*/\1/p' | sort -u)
# A node's init takes every process of its pid namespace with it: containerd,
# kubelet, shims, pods.
for n in $nodes; do
    stop "knode$n-init" KILL
    for d in containerd kubelet proxy unshare; do stop "knode$n-$d" KILL; done
done
for d in scheduler controller-manager apiserver etcd; do stop $d KILL; done    # nothing is kept: no need to wait
for n in $nodes; do
    ip netns del "knode$n" 2>/dev/null
    rm_cgroups "$n"
done
ip netns del $CPNS 2>/dev/null
rm -f "$STATE"/run/*.pid
: >"$LOCK"
[ "${1:-}" != --purge ] || rm -rf "$STATE"
exit 0
