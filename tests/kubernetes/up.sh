#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Start the cluster: a control plane in network namespace "kcp", and NODES nodes
# "knode1".. in namespaces of their own, joined by the bridge "kfabric" (in kcp).
# Settings: see lib.sh.  Nothing listens outside these namespaces.
set -eu
FRESH_ENV=1 . "$(dirname "$0")/lib.sh"
. "$LAB/pki.sh"
. "$LAB/start-node.sh"
. "$LAB/control-plane.sh"
t0=$SECONDS

for c in etcd containerd runc ctr jq openssl iptables conntrack ip nsenter unshare busybox; do
    command -v $c >/dev/null || die "$c is missing"
done
for c in kube-apiserver kube-controller-manager kube-scheduler kubelet; do
    [ -x "$K8SBIN/$c" ] || die "$K8SBIN/$c is missing: run build.sh"
done
[ "$NODES" -ge 1 ] && [ "$NODES" -le 9 ] || die "NODES must be 1..9"
mkdir -p "$STATE"
lock
[ ! -e /run/netns/$CPNS ] || die "a cluster is up already, with STATE=$(cat "$LOCK"): run down.sh with that STATE first"
echo "$STATE" >"$LOCK"

# Every start is a new cluster.
rm -rf "$STATE"/{pki,log,run,etcd,conf,knode*}
mkdir -p "$STATE"/{log,run,conf}
save_env
[ -s "$STATE/images.tar" ] || "$LAB/mkimage.sh" >/dev/null
pki_all

# ---- fabric
ip netns add $CPNS
in_cp ip link set lo up
in_cp ip link add kfabric type bridge
in_cp sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.ipv4.ip_forward=0
in_cp ip addr add "$CP_IP/24" dev kfabric
in_cp ip addr add "$FABRIC6::1/64" dev kfabric nodad
in_cp ip link set kfabric up

# ---- control plane
start_etcd
start_apiserver
wait_for 60 "the API server" api_ready
echo "API server ready after $((SECONDS - t0)) s"
start_controller_manager
start_scheduler

# ---- nodes
jobs=
for n in $(seq "$NODES"); do start_node "$n" & jobs="$jobs $!"; done
for j in $jobs; do wait "$j" || die "a node did not start"; done
echo "kubelets started after $((SECONDS - t0)) s"
for n in $(seq "$NODES"); do
    wait_for 60 "podCIDR of knode$n" have_cidr "$n"
    # kube-proxy looks its node up when it starts, and backs off for long when it is missing
    [ "$PROXY" = none ] || start_proxy "$n"
done
echo "nodes registered after $((SECONDS - t0)) s"

# ---- pod network
if [ "$CNI_SETUP" != none ]; then
    "$CNI_SETUP" 9>&-
    kc wait --for=condition=Ready node --all --timeout=60s >/dev/null || die "nodes are not Ready"
    echo "nodes Ready after $((SECONDS - t0)) s"
fi
echo "kubectl: $LAB/kc.sh get nodes      node shell: $LAB/node.sh 1 bash"
