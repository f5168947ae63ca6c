#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Prove the running cluster: pods, pod network, Services, exec/logs.  Prints one
# line per check and ends with status 0 when all pass.  Needs no particular CNI.
#   smoke.sh [--keep]      --keep leaves the objects (namespace "smoke-PID") in place until the next run
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

clean() { # NAMESPACE: its objects now, itself in its own time
    kc -n "$1" delete svc,deploy,ds --all --wait=false >/dev/null 2>&1
    kc -n "$1" delete pod --all --grace-period=0 --force >/dev/null 2>&1
    kc delete ns "$1" --wait=false >/dev/null 2>&1
}
# What an earlier run kept would be in the way (fixed node and host ports); the label says it is ours.
for old in $(kc get ns -l made-by=weft-smoke -o 'jsonpath={.items[*].metadata.name}'); do clean "$old"; done
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
check "deployment of 4 pods available" k rollout status deploy/web --timeout=90s
check "daemonset available" k rollout status ds/echo --timeout=60s
check "privileged host-network daemonset available" k rollout status ds/agent --timeout=60s
echo "      pods up after $((SECONDS - t0)) s"

declare -A ip node
while read -r p n a; do ip[$p]=$a node[$p]=$n; done < <(pods web; pods echo)
web=($(pods web | cut -d' ' -f1)); echos=($(pods echo | cut -d' ' -f1))
svc=$(k get svc web -o 'jsonpath={.spec.clusterIP}'); esvc=$(k get svc echo -o 'jsonpath={.spec.clusterIP}')

onnodes() { [ "$(pods web | cut -d' ' -f2 | sort -u | wc -l)" -eq "$([ "$NODES" -lt 4 ] && echo "$NODES" || echo 4)" ]; }
check "pods are spread over the nodes" onnodes
slices() { [ "$(k get endpointslices -l kubernetes.io/service-name=web -o json | jq '[.items[].endpoints[].addresses[]]|length')" = 4 ]; }
check "EndpointSlice holds 4 addresses" slices
check "logs" sh -c '"$@" | grep -q serving' - "$LAB/kc.sh" -n $NS logs "${web[0]}"
check "exec" sh -c '"$@" | grep -qx '"${web[0]}" - "$LAB/kc.sh" -n $NS exec "${web[0]}" -- hostname
privcap() { k exec ds/agent -- sh -c 'touch /etc/cni/net.d/.t && rm /etc/cni/net.d/.t && ip link add d0 type bridge && ip link del d0 && mkdir /sys/fs/bpf/t && rmdir /sys/fs/bpf/t'; }
check "agent pod: host CNI directory, links, bpffs" privcap

from() { k exec "$1" -- sh -c "$2"; }
for a in "${echos[@]}"; do
    for b in "${web[@]}"; do
        kind=cross-node; [ "${node[$a]}" = "${node[$b]}" ] && kind=same-node
        check "$kind TCP ${node[$a]} -> $b" from "$a" "[ \$(netecho -c http ${ip[$b]} 80) = $b ]"
    done
    for b in "${echos[@]}"; do
        [ "$a" = "$b" ] && continue
        check "source address kept ${node[$a]} -> ${node[$b]}" from "$a" "netecho -c http ${ip[$b]} 8080 | grep -w peer=${ip[$a]}"
        check "ping ${node[$a]} -> ${node[$b]}" from "$a" "ping -c1 -W2 ${ip[$b]}"
        check "large ping ${node[$a]} -> ${node[$b]}" from "$a" "ping -c1 -W2 -s 4000 ${ip[$b]}"
    done
    check "kubelet's node reaches its pod ${node[$a]}" in_node "${node[$a]#knode}" "$STATE/bin/netecho" -c http "${ip[$a]}" 8080
done
if [ "$PROXY" != none ] || [ -n "${EXPECT_SERVICES:-}" ]; then
    for a in "${echos[@]}"; do
        spread() { [ "$(from "$a" "netecho -c http $svc 80 3 40" | sort -u | wc -l)" = 4 ]; }
        check "ClusterIP TCP reaches all 4 pods from ${node[$a]}" spread
        check "ClusterIP UDP from ${node[$a]}" from "$a" "netecho -c udp $esvc 8080 3 10"
        check "own Service (hairpin) from ${node[$a]}" from "$a" "netecho -c tcp $esvc 8080 3 10"
        check "API server through its ClusterIP from ${node[$a]}" from "$a" "nc -w2 ${SERVICE_CIDR%.*}.1 443 </dev/null"
        check "ClusterIP from the host network of ${node[$a]}" in_node "${node[$a]#knode}" "$STATE/bin/netecho" -c http "$svc" 80
        check "NodePort on ${node[$a]} from outside" in_cp "$STATE/bin/netecho" -c http "$(node_ip "${node[$a]#knode}")" 30080
    done
fi
if [ -n "$dual" ]; then
    second() { k get "$1" -o "jsonpath={$2[1]$3}"; }
    esvc6=$(second svc/echo .spec.clusterIPs)
    for a in "${echos[@]}"; do
        mine=$(second "pod/$a" .status.podIPs .ip)
        for b in "${echos[@]}"; do
            [ "$a" = "$b" ] && continue
            other=$(second "pod/$b" .status.podIPs .ip)
            check "IPv6 source address kept ${node[$a]} -> ${node[$b]}" from "$a" "netecho -c http $other 8080 | grep -w peer=$mine"
        done
        [ "$PROXY" != none ] || [ -n "${EXPECT_SERVICES:-}" ] || continue
        check "IPv6 ClusterIP TCP from ${node[$a]}" from "$a" "netecho -c tcp $esvc6 8080 3 10"
        check "IPv6 ClusterIP UDP from ${node[$a]}" from "$a" "netecho -c udp $esvc6 8080 3 10"
    done
fi
for a in "${echos[@]}"; do
    check "hostPort on ${node[$a]} from outside" in_cp "$STATE/bin/netecho" -c http "$(node_ip "${node[$a]#knode}")" 18080
done

# Deleting pods: endpoints go at once, then the interfaces (CNI DEL), and last,
# 10 to 70 seconds later with this kubelet, the pod objects.
until_ok() { local end=$((SECONDS + $1)); shift; until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.5; done; }
veths() { local n t=0; for n in $(seq "$NODES"); do t=$((t + $(in_node "$n" sh -c 'ls /run/netns' | wc -l))); done; echo $t; }
v0=$(veths)
k scale deploy/web --replicas=0 >/dev/null
noaddr() { [ "$(k get endpointslices -l kubernetes.io/service-name=web -o json | jq '[.items[].endpoints[]?.addresses[]]|length')" = 0 ]; }
check "scaled to 0: endpoints gone within 5 s" until_ok 5 noaddr
refused() { [ "$(from "${echos[0]}" "if netecho -c http $svc 80 2; then echo answered; else echo refused; fi" 2>/dev/null)" = refused ]; }
[ "$PROXY" = none ] && [ -z "${EXPECT_SERVICES:-}" ] || check "Service without endpoints refuses" until_ok 5 refused
fewer() { [ "$(veths)" -le $((v0 - 4)) ]; }
check "pod network namespaces gone within 20 s" until_ok 20 fewer
# Six DELs a pod, two of them at once, leave the agent with the endpoints of the pods that are there.
endpoints() { local n; for n in $(seq "$NODES"); do
    [ "$(in_node "$n" "$WEFT_BIN/weft" status -o json | jq '.endpoints|length')" = "$(in_node "$n" sh -c 'ls /run/netns | wc -l')" ] || return 1
done; }
check "the agents have no endpoint without a pod" until_ok 20 endpoints
nopods() { [ -z "$(k get pod -l app=web -o name)" ]; }
[ -n "${QUICK:-}" ] || check "pod objects gone within 90 s" until_ok 90 nopods

[ "${1:-}" = --keep ] || clean $NS
echo "$ok ok, $bad failed, $((SECONDS - t0)) s"
[ $bad = 0 ] && exit 0
for n in $(seq "$NODES"); do in_node "$n" "$WEFT_BIN/weft" status; done
exit 1
