#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stop, start or add a part, to test what a network agent does meanwhile:
#   ctl.sh stop|kill|start|restart N containerd|kubelet|proxy|weftd
#   ctl.sh crash N     power off: every process and the network namespace vanish
#   ctl.sh boot N      start it again with the files it had
#   ctl.sh join N      one more node (N is the number of nodes plus one)
#   ctl.sh services kube-proxy|weft    who serves Services from now on, on every node
#   ctl.sh kill|start|restart|stop|cont etcd|apiserver|controller-manager|scheduler
#                      kill is SIGKILL, restart a clean end and a start, stop and cont SIGSTOP and SIGCONT
set -eu
. "$(dirname "$0")/lib.sh"
. "$LAB/control-plane.sh"
. "$LAB/start-node.sh"
. "$LAB/pki.sh"
verb=${1:-} what=${2:-}
[ -e /run/netns/$CPNS ] || die "no cluster is up"
lock

idle() { ! alive_pid "$1" >/dev/null || die "$1 is running already"; }
pid_of() { alive_pid "$1" || die "$1 is not running"; }
network() { # N: kube-proxy and pod network of a new or rebooted node
    [ "$PROXY" = none ] || start_proxy "$1"
    [ "$CNI_SETUP" = none ] || "$CNI_SETUP" 9>&-
}

# Who hands over leaves nothing behind: rules in the one case, programs and maps in the other.
hand_over() { # N
    stop "knode$1-weftd"
    if [ "$PROXY" = none ]; then
        stop "knode$1-proxy"
        # It ends badly for want of ipset, after it has done the rest.
        in_node "$1" "$K8SBIN/kube-proxy" --cleanup >>"$STATE/log/knode$1-proxy.log" 2>&1 || :
        ! in_node "$1" iptables-save | grep -q KUBE-SERVICES || die "kube-proxy left rules on knode$1"
    else
        start_proxy "$1"
    fi
    start_weftd "$1"
}

case "$verb $what" in
"services kube-proxy"|"services weft")
    if [ "$what" = weft ]; then to=none; else to=iptables; fi
    [ "$PROXY" != "$to" ] || exit 0
    PROXY=$to
    save_env
    for n in $(seq "$NODES"); do hand_over "$n"; done ;;
"crash "[1-9])
    stop "knode$what-init" KILL
    for d in containerd kubelet proxy unshare; do stop "knode$what-$d" KILL; done
    ip netns del "knode$what"
    rm_cgroups "$what" ;;
"boot "[1-9])
    idle "knode$what-init"
    start_node "$what"
    network "$what" ;;
"join "[1-9])
    [ "$what" = $((NODES + 1)) ] || die "there are $NODES nodes: the next one is $((NODES + 1))"
    pki_node "$what"
    start_node "$what"
    wait_for 60 "podCIDR of knode$what" have_cidr "$what"
    NODES=$what; save_env
    network "$what"
    [ "$CNI_SETUP" = none ] || kc wait --for=condition=Ready "node/knode$what" --timeout=60s ;;
*" "[1-9])
    case ${3:-} in containerd|kubelet|proxy|weftd) ;; *) die "no such daemon: ${3:-}" ;; esac
    case $verb in
    stop|restart) stop "knode$what-$3" ;;
    kill) stop "knode$what-$3" KILL ;;
    start) ;;
    *) die "usage: see the head of $0" ;;
    esac
    case $verb in start|restart) idle "knode$what-$3"; "start_$3" "$what" ;; esac ;;
*" etcd"|*" apiserver"|*" controller-manager"|*" scheduler")
    case $verb in
    stop) kill -STOP "$(pid_of "$what")" ;;
    cont) kill -CONT "$(pid_of "$what")" ;;
    kill) pid_of "$what" >/dev/null; stop "$what" KILL ;;
    start|restart)
        [ "$verb" = start ] || stop "$what"
        idle "$what"
        "start_${what//-/_}"
        case $what in etcd|apiserver) wait_for 60 "the API server" api_ready ;; esac ;;
    *) die "usage: see the head of $0" ;;
    esac ;;
*) die "usage: see the head of $0" ;;
esac
