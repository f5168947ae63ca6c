# SPDX-License-Identifier: Apache-2.0
# Shared settings and helpers of the Kubernetes lab.  Sourced, not run.
# Every setting can be overridden from the environment; up.sh saves them in
# $STATE/env, and the other scripts pick the saved values up again.

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=${STATE:-${TMPDIR:-/tmp}/weft-k8s}             # all files of one running cluster
STATE=$(realpath -m "$STATE")
[ -r "$STATE/env" ] && [ -z "${FRESH_ENV:-}" ] && . "$STATE/env"

K8SBIN=${K8SBIN:-/var/cache/weft-tests/k8s}           # what build.sh made
NODES=${NODES:-2}                         # number of nodes (1..9)
FABRIC=${FABRIC:-192.168.200}             # first three octets of the node network
FABRIC6=${FABRIC6:-fd00:200}              # first two groups of its IPv6 twin
CLUSTER_CIDR=${CLUSTER_CIDR:-10.244.0.0/16}
SERVICE_CIDR=${SERVICE_CIDR:-10.96.0.0/16}
NODE_MASK_FLAGS=${NODE_MASK_FLAGS:---node-cidr-mask-size=24}
CLUSTER_DNS=${CLUSTER_DNS:-10.96.0.10}    # written into pods; nothing answers there by default
FEATURE_GATES=${FEATURE_GATES:-}          # e.g. IPv6DualStack=true
RUNTIME_CONFIG=${RUNTIME_CONFIG:-}        # e.g. discovery.k8s.io/v1alpha1=true
KUBELET_ARGS=${KUBELET_ARGS:-}            # more kubelet flags
PROXY=${PROXY:-iptables}                  # kube-proxy mode, or "none" to leave kube-proxy out
PROXY_CLUSTER_CIDR=${PROXY_CLUSTER_CIDR:-$CLUSTER_CIDR}
ETCD_ARGS=${ETCD_ARGS---unsafe-no-fsync}  # more etcd flags; empty: etcd syncs to disk as usual
CNI_BIN=${CNI_BIN:-/usr/lib/cni}          # plugins copied to /opt/cni/bin of each node
CNI_SETUP=${CNI_SETUP:-$LAB/cni-weft.sh} # run once when all nodes have a podCIDR; "none" for nothing
SNAPSHOTTER=${SNAPSHOTTER:-overlayfs}     # "native" (plain copies) where overlayfs is missing
WEFT_BIN=${WEFT_BIN:-$(realpath -m "$LAB/../../build/bin")}
TRANSPORT=${TRANSPORT:-vxlan}              # Weft's
WEFT_SET=${WEFT_SET:-}                    # more of its options: "key=value key=value"
VERBOSE=${VERBOSE:-2}                     # klog -v of every component

PKI=$STATE/pki
CP_IP=$FABRIC.1                           # control plane address on the fabric
CPNS=kcp                                  # its network namespace, which also holds the bridge
SAVED="K8SBIN NODES FABRIC FABRIC6 CLUSTER_CIDR SERVICE_CIDR NODE_MASK_FLAGS CLUSTER_DNS
       FEATURE_GATES RUNTIME_CONFIG KUBELET_ARGS PROXY PROXY_CLUSTER_CIDR ETCD_ARGS CNI_BIN CNI_SETUP SNAPSHOTTER WEFT_BIN
       TRANSPORT WEFT_SET VERBOSE"

PAUSE_IMAGE=localhost/weft/pause:1
BOX_IMAGE=localhost/weft/busybox:1
ECHO_IMAGE=localhost/weft/netecho:1

die() { echo "$*" >&2; exit 1; }
save_env() { local v; for v in $SAVED; do printf '%s=%q\n' "$v" "${!v}"; done >"$STATE/env"; }

# lock: up, down, ctl and smoke run one at a time.  A suite that wants the cluster to
# itself from up to down sources lib.sh and calls lock: what it starts knows (LAB_LOCKED).
# File descriptor 9 holds the lock, so nothing that stays behind may inherit it.
# up.sh writes its $STATE into the file.
LOCK=${STATE%/*}/weft-k8s.lock
lock() {
    [ -z "${LAB_LOCKED:-}" ] || return 0
    exec 9<>"$LOCK"
    flock -n 9 || {
        echo "$LOCK is held by another run: waiting" >&2
        flock -w "${LOCK_WAIT:-900}" 9 || die "$LOCK is still held: giving up"
    }
    export LAB_LOCKED=1
}
node_ip()  { echo "$FABRIC.1$1"; }
node_ip6() { echo "$FABRIC6::1$1"; }

# A pid file holds "pid starttime", so that a reused pid is never mistaken for ours.
# A zombie counts as gone.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" && $1 != "X" { print $20 }'; }
write_pid()  { echo "$2 $(start_time "$2")" >"$STATE/run/$1.pid"; }
alive_pid()  { # name -> prints the pid when that very process still runs
    local p t
    read -r p t 2>/dev/null <"$STATE/run/$1.pid" || return 1
    [ -n "$t" ] && [ "$(start_time "$p")" = "$t" ] && echo "$p"
}

# spawn NAME CMD...: in the background, own session, log file and pid file, and
# nothing of the caller's environment.
spawn() {
    local name=$1; shift
    setsid env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        "$@" >>"$STATE/log/$name.log" 2>&1 </dev/null 9>&- &
    write_pid "$name" $!
}

# A node's processes have a cgroup2 of their own, as those of a machine have: Weft's socket programs hang there and
# serve this node only.  The cgroups of pods are below it (kubelet's cgroupRoot has the same name in every hierarchy).
CGROUP2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
JOIN='echo 0 >"$0" && exec "$@"'          # sh -c "$JOIN" CGROUP.PROCS CMD...
procs_of() { echo "$CGROUP2/knode$1/cgroup.procs"; }

# spawn_node N DAEMON CMD...: the same inside node N.  The pid file names the
# daemon itself, not the nsenter that waits for it.
spawn_node() {
    local n=$1 d=knode$1-$2 p c= i; shift 2
    p=$(alive_pid "knode$n-init") || die "knode$n is not running"
    spawn "$d" sh -c "$JOIN" "$(procs_of "$n")" nsenter -t "$p" -m -u -n -p -- "$@"
    p=$(alive_pid "$d")
    for i in $(seq 100); do
        read -r c 2>/dev/null <"/proc/$p/task/$p/children" && break
        sleep 0.02
    done
    [ -z "$c" ] || write_pid "$d" "${c% }"
}

# stop NAME [SIGNAL]: end what the pid file names, and wait until it is gone.
stop() {
    local p i
    p=$(alive_pid "$1") || { rm -f "$STATE/run/$1.pid"; return 0; }
    kill -"${2:-TERM}" "$p" 2>/dev/null || :
    for i in $(seq 120); do
        alive_pid "$1" >/dev/null || break
        [ "$i" != 100 ] || kill -KILL "$p" 2>/dev/null || :
        sleep 0.1
    done
    rm -f "$STATE/run/$1.pid"
}

rm_cgroups() { # N
    local h
    for h in /sys/fs/cgroup/*/knode$1; do
        [ ! -d "$h" ] || find "$h" -depth -type d -exec rmdir {} + 2>/dev/null || :
    done
}
in_cp()   { nsenter --net=/run/netns/$CPNS -- "$@"; }
# in_node N CMD...: inside the cgroup and all the namespaces of node N (mount, uts, net, pid).
in_node() {
    local n=$1 p
    p=$(alive_pid "knode$n-init") || { echo "knode$n is not running" >&2; return 1; }
    shift
    sh -c "$JOIN" "$(procs_of "$n")" nsenter -t "$p" -m -u -n -p -- "$@"
}

# The daemons of node N; their configuration files are written by start-node.sh and cni-weft.sh.
start_containerd() {
    spawn_node "$1" containerd containerd --config /etc/kubernetes/containerd.toml
    wait_for 30 "containerd of knode$1" in_node "$1" ctr version
}
start_kubelet() {
    local ip; ip=$(node_ip "$1")
    case $FEATURE_GATES in *IPv6DualStack=true*) ip=$ip,$(node_ip6 "$1") ;; esac
    spawn_node "$1" kubelet "$K8SBIN/kubelet" --v="$VERBOSE" \
        --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.kubeconfig \
        --hostname-override="knode$1" --node-ip="$ip" --root-dir=/var/lib/kubelet \
        --volume-plugin-dir=/var/lib/kubelet/volumeplugins \
        --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock \
        --pod-infra-container-image="$PAUSE_IMAGE" ${FEATURE_GATES:+--feature-gates=$FEATURE_GATES} ${KUBELET_ARGS:-}
}
# The conntrack limits are left alone: they belong to the first network namespace.
start_proxy() {
    spawn_node "$1" proxy "$K8SBIN/kube-proxy" --v="$VERBOSE" \
        --kubeconfig=/etc/kubernetes/kube-proxy.kubeconfig --proxy-mode="$PROXY" \
        --hostname-override="knode$1" --cluster-cidr="$PROXY_CLUSTER_CIDR" --bind-address=0.0.0.0 \
        --healthz-bind-address="$(node_ip "$1"):10256" \
        --conntrack-max-per-core=0 --conntrack-min=0 \
        --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s \
        ${FEATURE_GATES:+--feature-gates=$FEATURE_GATES}
}
# Services are Weft's where there is no kube-proxy, and only there: a test of the one must not be helped by the other.
start_weftd() {
    local s sets= services=off
    [ "$PROXY" != none ] || services=on
    for s in "transport=$TRANSPORT" "node.name=knode$1" "service.enabled=$services" "service.inbound=$services" \
             "service.cgroup=$CGROUP2/knode$1" $WEFT_SET; do
        sets="$sets --set $s"
    done
    spawn_node "$1" weftd "$WEFT_BIN/weftd" --set kubeconfig=/etc/kubernetes/weft.kubeconfig $sets
}
have_cidr() { [ -n "$(kc get node "knode$1" -o 'jsonpath={.spec.podCIDR}')" ]; }
api_ready() { kc get --raw /readyz --request-timeout=2s; }
kc() { in_cp "${KUBECTL:-kubectl}" --kubeconfig "$STATE/pki/admin.kubeconfig" "$@"; }
wait_for() { # SECONDS WHAT CMD...
    local end=$((SECONDS + $1)) what=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "timed out waiting for $what"
        sleep 0.3
    done
}
