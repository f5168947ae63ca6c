# SPDX-License-Identifier: Apache-2.0
"""The agent's side of WireGuard over both engines, in a guest whose kernel has one: the same steps for either, and one against
the other."""

import os
import sys

import pytest

from nodes import BIN

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../vm"))

import guest  # noqa: E402

STEPS = r"""
set -eu
umask 077
mkdir -p /run/wireguard /run/netns /var; ln -sfn /run /var/run
[ -c /dev/net/tun ] || { mkdir -p /dev/net; mknod /dev/net/tun c 10 200; }
die() { echo "STEP FAILED: $*"; ip netns exec a wg show; ip netns exec b wg show; exit 1; }
in_a() { ip netns exec a "$@"; }
in_b() { ip netns exec b "$@"; }
allowed() { in_a wg show wga allowed-ips | grep "$1" | cut -f2; }
ka=$1; kb=$2
ip netns add a; ip netns add b
ip link add va netns a type veth peer name vb netns b
ip -n a addr add 192.168.9.1/24 dev va; ip -n b addr add 192.168.9.2/24 dev vb
for n in a b; do ip -n $n link set lo up; ip -n $n link set v$n up; wg genkey >/tmp/$n; wg pubkey </tmp/$n >/tmp/$n.pub; done
A=$(cat /tmp/a.pub); B=$(cat /tmp/b.pub); C=$(wg genkey | wg pubkey)
a() { in_a meshctl wga $ka /bin/weft-wg /run/sa $(cat /tmp/a) 51820 "$@"; }
b() { in_b meshctl wgb $kb /bin/weft-wg /run/sb $(cat /tmp/b) 51820 "$@"; }
[ "$(a "$B/192.168.9.2:51820/10.9.0.2/32,fd09::2/128")" = $ka ] || die "another engine than asked for"
b "$A/192.168.9.1:51820/10.9.0.1/32,fd09::1/128" >/dev/null || die "not in force"
ip -n a addr add 10.9.0.1/24 dev wga; ip -n b addr add 10.9.0.2/24 dev wgb
ip -n a addr add fd09::1/64 dev wga nodad; ip -n b addr add fd09::2/64 dev wgb nodad
in_a ping -q -c 3 -i 0.2 -W 5 10.9.0.2 >/dev/null || die "ping, IPv4"
in_b ping -q -c 3 -i 0.2 -W 5 fd09::1 >/dev/null || die "ping, IPv6"
shake=$(in_a wg show wga latest-handshakes)
# a second peer, a prefix more, one less, one that moves: under traffic that must not notice
in_a ping -q -c 100 -i 0.02 -W 5 10.9.0.2 >/tmp/ping & ping=$!
a "$B/192.168.9.2:51820/10.9.0.2/32,fd09::2/128,10.8.0.0/24" "$C//10.7.0.0/24" >/dev/null || die "a prefix more"
[ "$(allowed $C)" = 10.7.0.0/24 ] || die "the second peer"
a "$B/192.168.9.2:51820/10.9.0.2/32,fd09::2/128,10.7.0.0/24" "$C//" >/dev/null || die "a prefix moves"
[ "$(allowed $C)" = "(none)" ] || die "the prefix is where it was: $(allowed $C)"
allowed $B | grep -q 10.7.0.0/24 || die "the prefix is nowhere"
! allowed $B | grep -q 10.8.0.0/24 || die "the prefix is still there"
a "$B/192.168.9.2:51820/10.9.0.2/32,fd09::2/128" >/dev/null || die "a peer less"
[ "$(in_a wg show wga peers)" = "$B" ] || die "a peer too many"
wait $ping || die "traffic while it was changed"
grep -q ' 0% packet loss' /tmp/ping || die "loss while it was changed: $(cat /tmp/ping)"
[ "$(in_a wg show wga latest-handshakes)" = "$shake" ] || die "the session was thrown away"
echo "MESH $ka-$kb ok"
"""


CELLS = ["kernel userspace", "userspace kernel"] + (["kernel kernel", "userspace userspace"] if os.environ.get("WEFT_TEST_TIER") == "full" else [])


@pytest.mark.parametrize("cell", CELLS)
def test_both_engines_are_driven_alike(cell):
    tool = os.path.join(os.path.dirname(BIN.rstrip("/")), "tests/meshctl")
    status, out = guest.run("set -- %s\n" % cell + STEPS, put=[(os.path.join(BIN, "weft-wg"), "/bin/weft-wg"), (tool, "/bin/meshctl")],
                            binaries=["wg", "ping", "grep", "cut", "cat", "sleep", "mknod"], modules=["wireguard"], timeout=300)
    assert status == 0 and "MESH %s ok" % cell.replace(" ", "-") in out, out[-3000:]
