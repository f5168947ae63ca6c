# SPDX-License-Identifier: Apache-2.0
"""ENC-1 and ENC-2 against the kernel's own devices, in the guest: what the datapath makes is VXLAN, or Geneve, to them, and it takes what they send."""

import os

import guest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.dirname(os.environ.get("WEFT_BIN", os.path.join(ROOT, "build", "bin")))

# n1 has pod a and the datapath; n2 has nothing but a tunnel device, whose MAC is the peer's VTEP MAC, and 10.9.2.7 on it.
SCRIPT = r"""
set -e
mkdir -p /run/netns
for n in n1 n2 a; do ip netns add $n; ip -n $n link set lo up; done
in1() { nsenter --net=/run/netns/n1 "$@"; }
ip link add eth0 netns n1 type veth peer name eth0 netns n2
for i in 1 2; do ip -n n$i addr add 192.0.2.$i/24 dev eth0; ip -n n$i addr add fd30::$i/64 dev eth0 nodad; ip -n n$i link set eth0 up; done
in1 sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
ip -n n1 addr add 10.9.1.1/32 dev lo
ip -n n1 link add vx0 address 02:57:0a:09:01:01 type vxlan external dstport PORT nolearning udp6zerocsumtx udp6zerocsumrx
ip -n n1 link set vx0 arp off; ip -n n1 link set vx0 mtu 1430 up
ip -n n1 link add va address 02:57:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:01 netns a
ip -n n1 link set va up; ip -n a link set eth0 up; ip -n a addr add 10.9.1.2/32 dev eth0
ip -n a neigh add 169.254.1.1 lladdr 02:57:00:00:00:01 dev eth0 nud permanent
ip -n a route add 169.254.1.1 dev eth0; ip -n a route add default via 169.254.1.1 dev eth0
ip -n n1 route add 10.9.1.2 dev va; ip -n n1 neigh add 10.9.1.2 lladdr 02:00:00:00:00:01 dev va nud permanent
for outer in 192.0.2 fd30::; do
	sep=.; csum=noudpcsum; [ $outer = fd30:: ] && sep= && csum="udp6zerocsumrx"
	ip -n n2 link add tun0 address 02:57:0a:09:02:01 type KIND id 7 remote $outer${sep}1 dstport PORT $csum
	ip -n n2 link set tun0 arp off; ip -n n2 link set tun0 mtu 1430 up
	ip -n n2 addr add 10.9.2.7/24 dev tun0
	ip -n n2 neigh add 10.9.2.1 lladdr 02:57:0a:09:01:01 dev tun0 nud permanent
	ip -n n2 route add 10.9.1.0/24 via 10.9.2.1 dev tun0 onlink
	in1 /t/dp_tool /sys/fs/bpf/n1 attach=clsact vni=7 KIND=PORT uplink=eth0 tunnel=vx0 node=10.9.1.1 underlay=192.0.2.1 underlay=fd30::1 \
		pod=va,1,02:00:00:00:00:01,02:57:00:00:00:01,10.9.1.2 route=10.9.2.0/24,vxlan,$outer${sep}2,vx0,1430,02:57:0a:09:02:01
	for size in 56 1402; do
		nsenter --net=/run/netns/a ping -c 3 -i 0.2 -W 5 -M do -s $size 10.9.2.7
		nsenter --net=/run/netns/n2 ping -c 3 -i 0.2 -W 5 -M do -s $size 10.9.1.2
	done
	ip -n n2 link del tun0
done
in1 /t/dp_tool /sys/fs/bpf/n1 attach=clsact vni=7 KIND=PORT stats
"""


def pings(kind, port):
    status, out = guest.run(SCRIPT.replace("KIND", kind).replace("PORT", str(port)), put=[(os.path.join(BUILD, "tests/bpf/dp_tool"), "/t/dp_tool")],
                            binaries=["nsenter", "ping"], modules=["geneve"])
    assert status == 0, out
    assert out.count(" 0% packet loss") == 8, out
    # what its device says of its own accord, by IPv6 link-local, is no peer's packet: drop_tunnel_source
    assert "drop_%s" % kind not in out and "forward_tunnel 24\n" in out and "forward_local 24\n" in out, out


def test_ENC_1_the_kernels_vxlan_device_at_the_other_end():
    pings("vxlan", 4789)


def test_ENC_2_the_kernels_geneve_device_at_the_other_end():
    pings("geneve", 6081)
