#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The demo: a three-node cluster in namespaces, first with VXLAN across two IP networks, then with plain routes; sample pods,
# who reaches whom, by which path and how fast. `demo.sh up` leaves the second one up, `demo.sh down` removes every trace.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=${WEFT_BIN:-$here/../../build/bin}
lab=demo
PATH=$bin:$PATH
failures=0

bold= plain=
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
step() { printf '  %s\n' "$*"; }
inside() { weft lab exec --name "$lab" "$@"; }
addresses() { kubectl -n shop get pod "$1" -o 'jsonpath={.status.podIPs[*].ip}'; }
node_of() { kubectl -n shop get pod "$1" -o 'jsonpath={.spec.nodeName}'; }
address() { # POD 4|6
	for a in $(addresses "$1"); do
		case $2$a in 6*:* | 4*.*) echo "$a"; return ;; esac
	done
}
url() { case $1 in *:*) echo "http://[$1]:$2/" ;; *) echo "http://$1:$2/" ;; esac; }

port_of() { case $1 in host-*) echo 8081 ;; *) echo 8080 ;; esac; }

# FROM TO: TCP (curl), UDP (one datagram, by weft-echo's answer) and ICMP (ping) for each family; the client must be seen as itself.
reach() {
	line=$(printf '%-7s (%s) -> %-7s (%s)' "$1" "$(node_of "$1")" "$2" "$(node_of "$2")")
	for family in 4 6; do
		target=$(address "$2" $family) source=$(address "$1" $family)
		for what in tcp udp icmp; do
			if check $what "$1" "$source" "$2" "$target" "$(port_of "$2")"; then
				line="$line  $what/v$family ok"
			else
				line="$line  $what/v$family FAILED"
				failures=$((failures + 1))
			fi
		done
	done
	step "$line"
}
check() { # tcp|udp|icmp SOURCE FROM TARGET TO PORT
	case $1 in
	tcp) answer=$(inside "shop/$2" -- curl -sg -m 5 "$(url "$5" "$6")") || return 1 ;;
	udp) answer=$(inside "shop/$2" -- timeout 5 bash -c 'exec 3<>"/dev/udp/$0/$1"; echo hello >&3; head -n 1 <&3' "$5" "$6") || return 1 ;;
	icmp) inside "shop/$2" -- ping -q -c 1 -W 5 "$5" >/dev/null; return ;;
	esac
	case $2 in host-*) return 0 ;; esac # a node speaks to pods from its address in the pod range
	case $answer in *"\"pod\":\"$4\""*"\"client\":\"$3:"* | *"\"pod\":\"$4\""*"\"client\":\"[$3]:"*) return 0 ;; *) return 1 ;; esac
}

gbits() { # POD TO-ADDRESS [iperf3 options]
	iperf_pod=$1 iperf_to=$2
	shift 2
	inside "shop/$iperf_pod" -- iperf3 -c "$iperf_to" -t 2 -f g "$@" 2>&1 |
		awk '/receiver/ { for (i = 1; i < NF; i++) if ($(i + 1) ~ /bits\/sec/) r = $i " " $(i + 1) } END { print (r ? r : "failed") }'
}
rtt() { inside "shop/$1" -- ping -q -c 200 -i 0.002 -W 5 "$2" | awk -F/ '/^rtt/ { print $5 " ms" }'; }

show() { # TITLE, then options of `weft lab up`
	say "$1"
	shift
	weft lab down --name "$lab" >/dev/null
	weft lab up --name "$lab" --nodes 3 "$@" | sed '/^Lab "demo" is up/,$d'
	KUBECONFIG=$(weft lab kubeconfig --name "$lab")
	export KUBECONFIG
	say "kubectl apply -f deploy/demo/pods.yaml"
	kubectl apply -f "$here/pods.yaml" | sed 's/^/  /'
	kubectl -n shop wait --for=condition=Ready pods --all --timeout=120s >/dev/null
	kubectl -n shop get pods -o wide
	say "The nodes' paths to each other (weft status on n1)"
	inside n1 -- weft status | sed -n '/^Network/p;/^MTU/p;/^Datapath/p;/^Peers/,/^Endpoints/p' | sed 's/^/  /'
	say "Who reaches whom: curl, a datagram and ping, IPv4 and IPv6; each client is seen with its own address"
	for from in web-1 web-2 web-3 host-3; do
		for to in web-1 web-2 web-3 host-3; do reach $from $to; done
	done
	step "an answer: $(inside shop/web-1 -- curl -sg "$(url "$(address web-2 6)" 8080)")"
	say "How fast: n1 to n2, both ends on this machine"
	for family in 4 6; do
		to=$(address speed-2 $family)
		step "IPv$family  TCP $(gbits speed-1 "$to")   UDP $(gbits speed-1 "$to" -u -b 1G)   ping $(rtt speed-1 "$to")"
	done
}

up() {
	show "1. VXLAN: three nodes in two IP networks, a router between them" --transport vxlan --subnets 2
	show "2. direct: three nodes in one IP network, plain routes" --transport direct
	[ "$failures" -eq 0 ] || { say "$failures checks failed"; exit 1; }
	say "Every pod reached every other. The second lab is still up. Try:"
	cat <<-EOF_NEXT
	  export PATH=\$PATH:$bin KUBECONFIG=$KUBECONFIG
	  kubectl get pods -A -o wide
	  weft lab status --name $lab
	  weft lab exec --name $lab n1 -- weft status
	  weft lab exec --name $lab shop/web-1 -- ping $(address web-2 4)
	  weft lab node stop n3 --name $lab        # power off, then: node start n3
	  sudo make demo-down                      # removes every trace
	EOF_NEXT
}

case ${1:-} in
up) up ;;
down) weft lab down --name "$lab" ;;
*) echo "usage: demo.sh up|down" >&2; exit 2 ;;
esac
