#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Prove the running cluster: pods, pod network, Services, exec/logs.  Prints one
# line per check and ends with status 0 when all pass.
#   smoke.sh [--keep]      --keep leaves the objects (namespace "smoke-PID") in place until the next run
# The last check waits for up to a minute for kubelet, which collects containers that often. It holds no lock and is in
# nobody's way: who reads the line "the rest is done" may go on with the cluster meanwhile.
. "$(dirname "$0")/lib.sh"
lock
ok=0 bad=0
dual=
case $FEATURE_GATES in *IPv6DualStack=true*) dual=1 ;; esac
NS=smoke-$$          # a new one each time: a namespace takes minutes to go away
k() { kc -n $NS "$@"; }
check() { # NAME CMD...
    local name=$1 out; shift
    if out=$("$@" 2>&1); then ok=$((ok + 1)); echo "ok    $name"
    else bad=$((bad + 1)); echo "FAIL  $name: $(echo "$out" | tail -3 | tr '\n' ' ')"; fi
}
pods()  { k get pod -l "app=$1" --field-selector=status.phase=Running -o "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.podIP}{\"\n\"}{end}"; }
t0=$SECONDS
until_ok() { local end=$((SECONDS + $1)); shift; until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.5; done; }
nets() { local n t=0; for n in $(seq "$NODES"); do t=$((t + $(in_node "$n" sh -c 'ls /run/netns' | wc -l))); done; echo $t; }

# A namespace without what is in others' way; the pods of "web" go as pods go.
empty() { # NAMESPACE
    kc -n "$1" delete svc,ds --all --wait=false >/dev/null 2>&1
    kc -n "$1" delete pod -l app!=web --grace-period=0 --force >/dev/null 2>&1
}
clean() { # NAMESPACE: its objects now, itself in its own time
    kc -n "$1" delete deploy --all --wait=false >/dev/null 2>&1
    empty "$1"
    kc -n "$1" delete pod --all --grace-period=0 --force >/dev/null 2>&1
    kc delete ns "$1" --wait=false >/dev/null 2>&1
}
# What an earlier run kept would be in the way (fixed node and host ports); the label says it is ours.
for old in $(kc get ns -l made-by=weft-smoke -o 'jsonpath={.items[*].metadata.name}'); do clean "$old"; done
before=$(nets)
kc apply -f - >/dev/null <<END || exit 1
apiVersion: v1
kind: Namespace
metadata: {name: $NS, labels: {made-by: weft-smoke}}
END
k apply -f - >/dev/null <<END || exit 1
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: httpd
        image: $BOX_IMAGE
        imagePullPolicy: Never
        command: [sh, -c, 'hostname >/www/index.html; echo serving; exec httpd -f -p 80 -h /www']
        ports: [{containerPort: 80}]
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 2}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 80, nodePort: 30080}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: $ECHO_IMAGE
        imagePullPolicy: Never
        ports: [{containerPort: 8080, hostPort: 18080}, {containerPort: 8080, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  ${dual:+ipFamilyPolicy: RequireDualStack}
  selector: {app: echo}
  ports: [{name: t, port: 8080}, {name: u, port: 8080, protocol: UDP}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers:
      - name: agent
        image: $BOX_IMAGE
        imagePullPolicy: Never
        command: [sleep, "100000"]
        securityContext: {privileged: true}
        volumeMounts: [{name: cni, mountPath: /etc/cni/net.d}, {name: bpf, mountPath: /sys/fs/bpf, mountPropagation: Bidirectional}]
      volumes: [{name: cni, hostPath: {path: /etc/cni/net.d}}, {name: bpf, hostPath: {path: /sys/fs/bpf}}]
END
check "deployment of 4 pods available" k rollout status deploy/web --timeout=240s
check "daemonset available" k rollout status ds/echo --timeout=240s
check "privileged host-network daemonset available" k rollout status ds/agent --timeout=240s
echo "      pods up after $((SECONDS - t0)) s"

declare -A ip node
webs=$(pods web) echos=$(pods echo)
while read -r p n a; do ip[$p]=$a node[$p]=$n; done <<<"$webs"$'\n'"$echos"
web=($(cut -d' ' -f1 <<<"$webs")); echos=($(cut -d' ' -f1 <<<"$echos"))
svc=$(k get svc web -o 'jsonpath={.spec.clusterIP}'); esvc=$(k get svc echo -o 'jsonpath={.spec.clusterIP}')

onnodes() { [ "$(cut -d' ' -f2 <<<"$webs" | sort -u | wc -l)" -eq "$([ "$NODES" -lt 4 ] && echo "$NODES" || echo 4)" ]; }
check "pods are spread over the nodes" onnodes
slices() { [ "$(k get endpointslices -l kubernetes.io/service-name=web -o json | jq '[.items[].endpoints[].addresses[]]|length')" = 4 ]; }
check "EndpointSlice holds 4 addresses" slices
check "logs" sh -c '"$@" | grep -q serving' - "$LAB/kc.sh" -n $NS logs "${web[0]}"
check "exec" sh -c '"$@" | grep -qx '"${web[0]}" - "$LAB/kc.sh" -n $NS exec "${web[0]}" -- hostname
privcap() { k exec ds/agent -- sh -c 'touch /etc/cni/net.d/.t && rm /etc/cni/net.d/.t && ip link add d0 type bridge && ip link del d0 && mkdir /sys/fs/bpf/t && rmdir /sys/fs/bpf/t'; }
check "agent pod: host CNI directory, links, bpffs" privcap

from() { k exec "$1" -- sh -c "$2"; }
# ask POD NAME COMMAND: a check from inside a pod. answers makes those that were asked for: by one exec a pod, as each takes a while.
declare -A asked wanted
ask() {
    asked[$1]+="if o=\$( { $3; } 2>&1); then echo 'ok    $2'; else echo 'FAIL  $2:' \$(echo \"\$o\" | tail -3); fi"$'\n'
    wanted[$1]=$((${wanted[$1]:-0} + 1))
}
answers() {
    local a said good
    for a in "${!asked[@]}"; do
        said=$(from "$a" "${asked[$a]}" 2>&1)
        good=$(grep -c '^ok ' <<<"$said")
        echo "$said"
        [ "$(grep -cE '^(ok|FAIL) ' <<<"$said")" = "${wanted[$a]}" ] || echo "FAIL  pod $a: not all checks were made"
        ok=$((ok + good)) bad=$((bad + ${wanted[$a]} - good))
    done
    asked=() wanted=()
}
here() { in_node "${node[$1]#knode}" "$STATE/bin/netecho" -c http "$2" "$3"; }
world() { in_cp "$STATE/bin/netecho" -c http "$(node_ip "${node[$1]#knode}")" "$2"; }
# Who serves learns of a ready pod a while after its Deployment is said to be available: kube-proxy writes its rules once a second, and
# later on a machine that is busy.
reaches_all() { # ADDRESS: a command for a pod
    echo "for t in \$(seq 0 20); do set -- \$(netecho -c http $1 80 3 40 | sort -u); [ \$# != 4 ] || break; sleep 1; done
        echo \"after \$t s: \$*\"; [ \$# = 4 ]"
}
services=1
[ "$PROXY" != none ] || [ -n "${EXPECT_SERVICES:-}" ] || services=

# ---- what asks "web"
for a in "${echos[@]}"; do
    for b in "${web[@]}"; do
        kind=cross-node; [ "${node[$a]}" = "${node[$b]}" ] && kind=same-node
        ask "$a" "$kind TCP ${node[$a]} -> $b" "[ \$(netecho -c http ${ip[$b]} 80) = $b ]"
    done
    [ -n "$services" ] || continue
    ask "$a" "ClusterIP TCP reaches all 4 pods from ${node[$a]}" "$(reaches_all "$svc")"
    check "ClusterIP from the host network of ${node[$a]}" until_ok 20 here "$a" "$svc" 80
    check "NodePort on ${node[$a]} from outside" until_ok 20 world "$a" 30080
done
answers

# ---- Deleting pods: endpoints go at once, then the interfaces (CNI DEL), and last,
# 10 to 70 seconds later with this kubelet, the pod objects.
n0=$(nets)
k scale deploy/web --replicas=0 >/dev/null
noaddr() { [ "$(k get endpointslices -l kubernetes.io/service-name=web -o json | jq '[.items[].endpoints[]?.addresses[]]|length')" = 0 ]; }
check "scaled to 0: endpoints gone" until_ok 50 noaddr
refused() { [ "$(from "${echos[0]}" "if netecho -c http $svc 80 2; then echo answered; else echo refused; fi" 2>/dev/null)" = refused ]; }
[ -z "$services" ] || check "Service without endpoints refuses" until_ok 50 refused
fewer() { [ "$(nets)" -le $((n0 - 4)) ]; }
check "pod network namespaces gone" until_ok 120 fewer

# ---- what asks "echo", while kubelet takes its time
for a in "${echos[@]}"; do
    for b in "${echos[@]}"; do
        [ "$a" = "$b" ] && continue
        ask "$a" "source address kept ${node[$a]} -> ${node[$b]}" "netecho -c http ${ip[$b]} 8080 | grep -w peer=${ip[$a]}"
        ask "$a" "ping ${node[$a]} -> ${node[$b]}" "ping -c1 -W2 ${ip[$b]}"
        ask "$a" "large ping ${node[$a]} -> ${node[$b]}" "ping -c1 -W2 -s 4000 ${ip[$b]}"
    done
    check "kubelet's node reaches its pod ${node[$a]}" here "$a" "${ip[$a]}" 8080
    check "hostPort on ${node[$a]} from outside" world "$a" 18080
    [ -n "$services" ] || continue
    ask "$a" "ClusterIP UDP from ${node[$a]}" "netecho -c udp $esvc 8080 3 10"
    ask "$a" "own Service (hairpin) from ${node[$a]}" "netecho -c tcp $esvc 8080 3 10"
    ask "$a" "API server through its ClusterIP from ${node[$a]}" "nc -w2 ${SERVICE_CIDR%.*}.1 443 </dev/null"
done
if [ -n "$dual" ]; then
    second() { k get "$1" -o "jsonpath={$2[1]$3}"; }
    esvc6=$(second svc/echo .spec.clusterIPs)
    declare -A ip6
    for a in "${echos[@]}"; do ip6[$a]=$(second "pod/$a" .status.podIPs .ip); done
    for a in "${echos[@]}"; do
        for b in "${echos[@]}"; do
            [ "$a" = "$b" ] && continue
            ask "$a" "IPv6 source address kept ${node[$a]} -> ${node[$b]}" "netecho -c http ${ip6[$b]} 8080 | grep -w peer=${ip6[$a]}"
        done
        [ -n "$services" ] || continue
        ask "$a" "IPv6 ClusterIP TCP from ${node[$a]}" "netecho -c tcp $esvc6 8080 3 10"
        ask "$a" "IPv6 ClusterIP UDP from ${node[$a]}" "netecho -c udp $esvc6 8080 3 10"
    done
fi
answers
# Six DELs a pod, two of them at once, leave the agent with the endpoints of the pods that are there.
endpoints() { local n; for n in $(seq "$NODES"); do
    [ "$(in_node "$n" "$WEFT_BIN/weft" status -o json | jq '.endpoints|length')" = "$(in_node "$n" sh -c 'ls /run/netns | wc -l')" ] || return 1
done; }
check "the agents have no endpoint without a pod" until_ok 120 endpoints

# ---- the next run finds its ports free, and leaves our namespace alone
if [ "${1:-}" != --keep ]; then
    empty "$NS"
    kc label ns $NS made-by- >/dev/null
    left() { [ "$(nets)" -le "$before" ]; }
    check "nothing is left of the pods' networks" until_ok 120 left
fi
echo "      the rest is done after $((SECONDS - t0)) s"
exec 9>&-
nopods() { [ -z "$(k get pod -l app=web -o name)" ]; }
check "pod objects gone" until_ok 300 nopods
[ "${1:-}" = --keep ] || kc delete ns $NS --wait=false >/dev/null
echo "$ok ok, $bad failed, $((SECONDS - t0)) s"
[ $bad = 0 ] && exit 0
for n in $(seq "$NODES"); do in_node "$n" "$WEFT_BIN/weft" status; done
exit 1
