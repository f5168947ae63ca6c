# SPDX-License-Identifier: Apache-2.0
"""SVC-4, SVC-44 for SCTP with the kernel's own sockets, which the kernel outside may not have: whole associations through cluster addresses,
node ports and host ports, both families, with checksums that are unfinished on the way and with finished ones (all of it in the full tier; else
a sample)."""

import os

import guest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FULL = os.environ.get("WEFT_TEST_TIER") == "full"
BUILD = os.path.dirname(os.environ.get("WEFT_BIN", os.path.join(ROOT, "build", "bin")))

# n1 has the datapath and pods a and b; n2 is another node, without one: it has an endpoint, 10.9.2.7, and its own address is a client's outside.
SCRIPT = r"""
set -e
echo
mkdir -p /run/netns
for n in n1 n2 a b; do ip netns add $n; ip -n $n link set lo up; done
at() { nsenter --net=/run/netns/"$@"; }
ip link add eth0 netns n1 type veth peer name eth0 netns n2
for i in 1 2; do ip -n n$i addr add 192.0.2.$i/24 dev eth0; ip -n n$i addr add fd30::$i/64 dev eth0 nodad; ip -n n$i link set eth0 up; done
at n1 sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
ip -n n1 addr add 10.9.1.1/32 dev lo; ip -n n1 addr add fd09:0:0:1::1/128 dev lo nodad
ip -n n2 addr add 10.9.2.7/32 dev lo; ip -n n2 addr add fd09:0:0:2::7/128 dev lo nodad
ip -n n2 route add 10.9.1.0/24 via 192.0.2.1; ip -n n2 route add fd09:0:0:1::/64 via fd30::1
i=1
for p in a b; do
	i=$((i + 1))
	ip -n n1 link add v$p address 02:57:00:00:00:0$i type veth peer name eth0 address 02:00:00:00:00:0$i netns $p
	ip -n n1 link set v$p up; ip -n $p link set eth0 up
	ip -n $p addr add 10.9.1.$i/32 dev eth0; ip -n $p addr add fd09:0:0:1::$i/128 dev eth0 nodad
	ip -n $p neigh add 169.254.1.1 lladdr 02:57:00:00:00:0$i dev eth0 nud permanent
	ip -n $p neigh add fe80::1 lladdr 02:57:00:00:00:0$i dev eth0 nud permanent
	ip -n $p route add 169.254.1.1 dev eth0; ip -n $p route add default via 169.254.1.1 dev eth0
	ip -n $p route add default via fe80::1 dev eth0
	ip -n n1 route add 10.9.1.$i dev v$p; ip -n n1 neigh add 10.9.1.$i lladdr 02:00:00:00:00:0$i dev v$p nud permanent
	ip -n n1 route add fd09:0:0:1::$i dev v$p; ip -n n1 neigh add fd09:0:0:1::$i lladdr 02:00:00:00:00:0$i dev v$p nud permanent
done
at n1 /t/dp_tool /sys/fs/bpf/n1 attach=clsact uplink=eth0 node=10.9.1.1 node=fd09:0:0:1::1 underlay=192.0.2.1 underlay=fd30::1 \
	pod=va,1,02:00:00:00:00:02,02:57:00:00:00:02,10.9.1.2,fd09:0:0:1::2 pod=vb,2,02:00:00:00:00:03,02:57:00:00:00:03,10.9.1.3,fd09:0:0:1::3 \
	route=10.9.2.0/24,direct,192.0.2.2,eth0,1500 route=fd09:0:0:2::/64,direct,fd30::2,eth0,1500 \
	service=132,10.96.0.1,5000,10.9.1.3,5001,here service=132,fd96::1,5000,fd09:0:0:1::3,5001,here \
	service=132,10.96.0.2,5000,10.9.2.7,5001 service=132,fd96::2,5000,fd09:0:0:2::7,5001 \
	service=132,0.0.0.0,30500,10.9.1.3,5001,here service=132,::,30500,fd09:0:0:1::3,5001,here \
	service=132,0.0.0.0,30501,10.9.2.7,5001 service=132,::,30501,fd09:0:0:2::7,5001 \
	service=132,192.0.2.1,500,10.9.1.3,5001,here service=132,fd30::1,500,fd09:0:0:1::3,5001,here
for s in b,10.9.1.3 b,fd09:0:0:1::3 n2,10.9.2.7 n2,fd09:0:0:2::7; do
	at ${s%,*} /t/sctp_talk serve ${s#*,} 5001 >/tmp/$s & 
done
for s in b,10.9.1.3 b,fd09:0:0:1::3 n2,10.9.2.7 n2,fd09:0:0:2::7; do until grep -q ready /tmp/$s; do sleep 0.1; done; done
ask() { # row, client, its address, address, port, server, whom the server sees; of the rows that are due
	case " $rows " in *" $1 "*) ;; *) return 0 ;; esac
	got="$(at $2 /t/sctp_talk ask $4 $5 $3 SIZES 2>&1)" || true
	sleep 0.1
	echo "ASKED $sums $1 $2 $4: $got, $(tail -n 1 /tmp/$6), wanted $7"
}
all4() {
	ask cluster-ip a 10.9.1.2 10.96.0.1 5000 b,10.9.1.3 10.9.1.2
	ask cluster-ip-elsewhere a 10.9.1.2 10.96.0.2 5000 n2,10.9.2.7 10.9.1.2
	ask node-port n2 192.0.2.2 192.0.2.1 30500 b,10.9.1.3 192.0.2.2
	ask node-port-elsewhere n2 192.0.2.2 192.0.2.1 30501 n2,10.9.2.7 10.9.1.1
	ask host-port n2 192.0.2.2 192.0.2.1 500 b,10.9.1.3 192.0.2.2
	ask host-port a 10.9.1.2 192.0.2.1 500 b,10.9.1.3 10.9.1.2
}
all6() {
	ask cluster-ip a fd09:0:0:1::2 fd96::1 5000 b,fd09:0:0:1::3 fd09:0:0:1::2
	ask cluster-ip-elsewhere a fd09:0:0:1::2 fd96::2 5000 n2,fd09:0:0:2::7 fd09:0:0:1::2
	ask node-port n2 fd30::2 fd30::1 30500 b,fd09:0:0:1::3 fd30::2
	ask node-port-elsewhere n2 fd30::2 fd30::1 30501 n2,fd09:0:0:2::7 fd09:0:0:1::1
	ask host-port n2 fd30::2 fd30::1 500 b,fd09:0:0:1::3 fd30::2
	ask host-port a fd09:0:0:1::2 fd30::1 500 b,fd09:0:0:1::3 fd09:0:0:1::2
}
sums=unfinished
rows="FIRST"
all4
if full; then all6; fi
sums=finished
for l in n1,eth0 n2,eth0 n1,va n1,vb a,eth0 b,eth0; do at ${l%,*} /t/sctp_talk sums ${l#*,}; done
rows="SECOND"
if full; then all4; fi
all6
"""


def test_SVC_4_44_real_sctp_associations():
    put = [(os.path.join(BUILD, "tests/bpf/dp_tool"), "/t/dp_tool"), (os.path.join(BUILD, "tests/sctp_talk"), "/t/sctp_talk")]
    everything = "cluster-ip cluster-ip-elsewhere node-port node-port-elsewhere host-port"
    first, second, sizes = (everything, everything, "10 1000 20000 1") if FULL else ("cluster-ip node-port", "node-port-elsewhere host-port", "10 1000")
    script = SCRIPT.replace("FIRST", first).replace("SECOND", second).replace("SIZES", sizes).replace("full;", "true;" if FULL else "false;")
    status, out = guest.run(script, put=put, binaries=["nsenter", "grep", "tail", "sleep"], modules=["sctp"])
    assert status == 0, out
    asked = [line for line in out.splitlines() if line.startswith("ASKED ")]
    assert len(asked) == (24 if FULL else 5), out
    for line in asked:
        got, seen, wanted = line.split(": ", 1)[1].split(", ")
        assert got == "answered %d" % len(sizes.split()) and seen == "from " + wanted.split()[1], line + "\n" + out
