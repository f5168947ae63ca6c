# SPDX-License-Identifier: Apache-2.0
# start_node N: bring up node N (all but kube-proxy and the pod network).
# Sourced by up.sh and ctl.sh after lib.sh.  Files that a former life of the node
# left under $STATE/knodeN/fs stay, as on a machine that reboots.

start_node() {
    local n=$1 name=knode$1 dir=$STATE/knode$1 ip p i h
    ip=$(node_ip "$n")
    mkdir -p "$dir"

    # network: eth0 on the fabric, default route to the control plane address
    # (which forwards nothing: there is no way out)
    ip netns add "$name"
    ip link add kf$n netns $CPNS type veth peer name eth0 netns "$name"
    in_cp ip link set kf$n master kfabric up
    nsenter --net=/run/netns/$name -- sh -c "ip link set eth0 up && ip addr add $ip/24 dev eth0 &&
        ip addr add $(node_ip6 "$n")/64 dev eth0 nodad && ip route add default via $CP_IP &&
        ip -6 route add default via $FABRIC6::1 &&
        ip route add unreachable 169.254.169.254"    # kubelet asks for a cloud's metadata: no, at once

    # cgroup root of the node, in every v1 hierarchy (cpuset needs its values copied)
    for h in /sys/fs/cgroup/*/; do
        [ -w "$h/cgroup.procs" ] && mkdir -p "$h/$name"
        for i in cpuset.cpus cpuset.mems; do
            [ -e "$h/$name/$i" ] && cat "$h/$i" >"$h/$name/$i"
        done
    done 2>/dev/null || :

    # the other namespaces, held by an init that reaps orphans
    spawn "$name-unshare" nsenter --net=/run/netns/$name -- \
        unshare --mount --uts --pid --fork --kill-child -- bash "$LAB/node-init.sh" "$name" "$dir" "$STATE/bin/pause"
    p=$(alive_pid "$name-unshare")
    for i in $(seq 100); do
        h=$(cat "/proc/$p/task/$p/children" 2>/dev/null)
        [ -n "$h" ] && [ "$(cat "/proc/${h% }/comm" 2>/dev/null)" = pause ] && break
        sleep 0.05
    done
    [ -n "$h" ] && [ "$(cat "/proc/${h% }/comm")" = pause ] || die "$name did not start: see $STATE/log/$name-unshare.log"
    write_pid "$name-init" "${h% }"

    # files of the node, at their usual paths inside it
    local fs=$dir/fs
    mkdir -p "$fs/etc/kubernetes" "$fs/opt/cni/bin"
    install -m600 "$PKI/$name.kubeconfig" "$fs/etc/kubernetes/kubelet.kubeconfig"
    install -m600 "$PKI/kube-proxy.kubeconfig" "$fs/etc/kubernetes/kube-proxy.kubeconfig"
    install -m600 "$PKI/$name.key" "$fs/etc/kubernetes/kubelet.key"
    install -m644 "$PKI/$name.crt" "$fs/etc/kubernetes/kubelet.crt"
    install -m644 "$PKI/ca.crt" "$fs/etc/kubernetes/ca.crt"
    cp "$CNI_BIN"/* "$fs/opt/cni/bin/"
    cat >"$fs/etc/kubernetes/containerd.toml" <<END
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  disable_apparmor = true
  # without CAP_SYS_RESOURCE the sandbox's score of -998 cannot be set
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$SNAPSHOTTER"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
END
    cat >"$fs/etc/kubernetes/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: /etc/kubernetes/kubelet.crt
tlsPrivateKeyFile: /etc/kubernetes/kubelet.key
healthzBindAddress: 127.0.0.1
cgroupDriver: cgroupfs
cgroupRoot: /$name
failSwapOn: false
clusterDNS: ["$CLUSTER_DNS"]
clusterDomain: cluster.local
resolvConf: ""
maxPods: 110
serializeImagePulls: false
# images cannot be pulled again: never collect them, and do not evict for disk
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
nodeStatusUpdateFrequency: 5s
shutdownGracePeriod: 0s
END
    start_containerd "$n"
    "$LAB/mkimage.sh" import "$n"
    start_kubelet "$n"
}
