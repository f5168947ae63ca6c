#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Weft as the pod network: an agent on each node with a kubeconfig of its own user, weft-cni as the plugin, portmap
# behind it for hostPort. Runs when every node has its podCIDR, and again after "ctl.sh boot" and "join".
set -eu
. "$(dirname "$0")/lib.sh"
. "$LAB/pki.sh"
[ -e "$PKI/weft.kubeconfig" ] || { cert weft /CN=weft; kubeconfig weft; }
cat "$LAB/../../deploy/kubernetes/rbac.yaml" <(echo ---) "$LAB/../../deploy/kubernetes/pod-addresses.yaml" | kc apply -f - >/dev/null

for n in $(seq "$NODES"); do
	alive_pid "knode$n-init" >/dev/null || continue
	install -m600 "$PKI/weft.kubeconfig" "$STATE/knode$n/fs/etc/kubernetes/weft.kubeconfig"
	install -m755 "$WEFT_BIN/weft-cni" "$STATE/knode$n/fs/opt/cni/bin/weft-cni"
	alive_pid "knode$n-weftd" >/dev/null || start_weftd "$n"
done
# The agent writes /etc/cni/net.d/10-weft.conflist when its node can take pods.
for n in $(seq "$NODES"); do
	alive_pid "knode$n-init" >/dev/null || continue
	wait_for 60 "Weft on knode$n" in_node "$n" test -s /etc/cni/net.d/10-weft.conflist
done
