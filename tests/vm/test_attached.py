# SPDX-License-Identifier: Apache-2.0
"""K1: what the packet tests run on Debian's kernel without a device is attached to one here, and carries packets: from_mesh and to_mesh on the kernel's
WireGuard interface, xdp_net on a veth by its driver and by the kernel's generic XDP."""

import os
import re

import guest
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.dirname(os.environ.get("WEFT_BIN", os.path.join(ROOT, "build", "bin")))
FULL = os.environ.get("WEFT_TEST_TIER") == "full"
LINES = 20

# n1 has pod a and the datapath; n2 is a node by WireGuard, or without anything in between. What a veth's driver sends for XDP the other end takes if it has
# such a program itself, so n2 has a datapath as well.
NODES = r"""
set -e
mkdir -p /run/netns
for n in n1 n2 a x; do ip netns add $n; ip -n $n link set lo up; done
at() { nsenter --net=/run/netns/"$@"; }
ip link add eth0 netns n1 type veth peer name eth0 netns n2
for i in 1 2; do
	ip -n n$i addr add 192.0.2.$i/24 dev eth0; ip -n n$i addr add fd30::$i/64 dev eth0 nodad; ip -n n$i link set eth0 up
	at n$i sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
done
ip -n n1 addr add 10.9.1.1/32 dev lo; ip -n n1 addr add fd09:0:0:1::1/128 dev lo nodad
for a in 10.9.2.7/32 10.9.5.7/32 fd09:0:0:2::7/128 fd09:0:0:5::7/128; do ip -n n2 addr add $a dev lo; done
ip -n n1 link add va address 02:57:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:01 netns a
ip -n n1 link set va up; ip -n a link set eth0 up; ip -n a addr add 10.9.1.2/32 dev eth0; ip -n a addr add fd09:0:0:1::2/128 dev eth0 nodad
for g in 169.254.1.1 fe80::1; do ip -n a neigh add $g lladdr 02:57:00:00:00:01 dev eth0 nud permanent; done
ip -n a route add 169.254.1.1 dev eth0; ip -n a route add default via 169.254.1.1 dev eth0; ip -n a route add default via fe80::1 dev eth0
for d in 10.9.1.2 fd09:0:0:1::2; do ip -n n1 route add $d dev va; ip -n n1 neigh add $d lladdr 02:00:00:00:00:01 dev va nud permanent; done
POD=pod=va,1,02:00:00:00:00:01,02:57:00:00:00:01,10.9.1.2,fd09:0:0:1::2
dp() { at n1 /t/dp_tool /sys/fs/bpf/n1 attach=clsact node=10.9.1.1 node=fd09:0:0:1::1 underlay=192.0.2.1 underlay=fd30::1 "$@"; }
"""

# n2 may speak as 10.9.5.7 for WireGuard's part, and is no such node. x, with the pod's address, is somebody's whom n1 forwards.
MESH = NODES + r"""
for i in 1 2; do wg genkey >/tmp/n$i; ip -n n$i link add wg0 type wireguard; at n$i wg set wg0 listen-port 51820 private-key /tmp/n$i; ip -n n$i link set wg0 up; done
at n1 wg set wg0 peer $(wg pubkey </tmp/n2) endpoint 192.0.2.2:51820 allowed-ips 10.9.2.0/24,10.9.5.0/24,fd09:0:0:2::/64,fd09:0:0:5::/64
at n2 wg set wg0 peer $(wg pubkey </tmp/n1) endpoint 192.0.2.1:51820 allowed-ips 10.9.1.0/24,fd09:0:0:1::/64
for d in 10.9.2.0/24 10.9.5.0/24 fd09:0:0:2::/64 fd09:0:0:5::/64; do ip -n n1 route add $d dev wg0; done
for d in 10.9.1.0/24 fd09:0:0:1::/64; do ip -n n2 route add $d dev wg0; done
dp uplink=eth0 mesh=wg0 $POD route=10.9.2.0/24,mesh,192.0.2.2,wg0,1420 route=fd09:0:0:2::/64,mesh,192.0.2.2,wg0,1420
tc -n n1 filter show dev wg0 ingress; tc -n n1 filter show dev wg0 egress
for to in 10.9.2.7,10.9.1.2,1392 fd09:0:0:2::7,fd09:0:0:1::2,1372; do
	size=${to##*,}; to=${to%,*}
	at a ping -c 3 -i 0.2 -W 5 -s $size ${to%,*}
	at n2 ping -c 3 -i 0.2 -W 5 -s $size -I ${to%,*} ${to#*,}
done
at n2 ping -c 2 -i 0.2 -W 1 -I 10.9.5.7 10.9.1.2 || true
at n2 ping -c 2 -i 0.2 -W 1 -I fd09:0:0:5::7 fd09:0:0:1::2 || true
ip link add vx netns n1 type veth peer name eth0 netns x
ip -n n1 addr add 192.168.7.1/24 dev vx; ip -n n1 link set vx up; ip -n x link set eth0 up
ip -n x addr add 192.168.7.2/24 dev eth0; ip -n x addr add 10.9.1.2/32 dev lo; ip -n x route add default via 192.168.7.1
at x ping -c 2 -i 0.2 -W 1 -I 10.9.1.2 10.9.2.7 || true
dp stats
"""

XDP = NODES + r"""
ip -n n2 route add 10.9.1.0/24 via 192.0.2.1; ip -n n2 route add fd09:0:0:1::/64 via fd30::1
for n in n1 n2; do at $n /t/sctp_talk sums eth0; at $n /t/sctp_talk tags eth0; done
dp xdp=MODE uplink=eth0 route=10.9.2.0/24,direct,192.0.2.2,eth0,1500 route=fd09:0:0:2::/64,direct,fd30::2,eth0,1500 \
	service=6,0.0.0.0,30500,10.9.2.7,5001 service=6,::,30500,fd09:0:0:2::7,5001
at n2 /t/dp_tool /sys/fs/bpf/n2 attach=clsact xdp=MODE uplink=eth0
for n in n1 n2; do ip -n $n link show eth0; done
at n2 busybox nc -ll -p 5001 -e /bin/cat &
until at n2 busybox netstat -ltn | grep -q :5001; do sleep 0.1; done
for to in 192.0.2.1 fd30::1; do
	{ i=0; while [ $i -lt LINES ]; do echo "said to $to"; i=$((i + 1)); sleep 0.05; done; } | at n2 busybox nc -w 30 $to 30500
done
dp stats
"""


def run(script, **kw):
    put = [(os.path.join(BUILD, "tests/bpf/dp_tool"), "/t/dp_tool"), (os.path.join(BUILD, "tests/sctp_talk"), "/t/sctp_talk")]
    status, out = guest.run(script, put=put, binaries=["nsenter", "ping", "wg", "cat", "grep", "sleep"], **kw)
    assert status == 0, out
    return out, {m[0]: int(m[1]) for m in re.findall(r"^(\w+) (\d+)$", out, re.M)}


def test_K1_the_mesh_programs_on_debians_wireguard_interface():
    out, counts = run(MESH, modules=["wireguard"])
    assert "from_mesh" in out and "to_mesh" in out, out
    assert out.count(" 0% packet loss") == 4, out
    assert counts["forward_mesh"] >= 12 and counts["forward_local"] >= 12, out
    # each program says no for itself: who is no such node, and who is no such pod
    assert counts["drop_tunnel_source"] == 4, out
    assert counts["drop_net_source"] == 2, out


@pytest.mark.parametrize("mode", ["native"] + ["generic"] * FULL)
def test_K1_xdp_on_a_veth_of_debians_kernel(mode):
    out, counts = run(XDP.replace("MODE", mode).replace("LINES", str(LINES)))
    assert len(re.findall(r"eth0@.* xdp%s" % ("generic" if mode == "generic" else ""), out)) == 2, out
    assert [out.count("said to %s\n" % to) for to in ("192.0.2.1", "fd30::1")] == [LINES, LINES], out
    assert counts["xdp"] >= 2 * LINES, out
