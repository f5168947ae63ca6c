# SPDX-License-Identifier: Apache-2.0
"""Against the kernel's WireGuard, in a guest with Debian's kernel: weft-wg in either role, and the same steps between two
kernel interfaces, which shows that the steps ask for nothing of our own. And test_scenarios*.py as they are on the kernel's
interfaces, by a Python in the guest."""

import glob
import os
import sys

from nodes import BIN

FULL = os.environ.get("WEFT_TEST_TIER") == "full"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../vm"))

import guest  # noqa: E402

# Two namespaces a and b; engine_a and engine_b are "weft" or "kernel". Every step must hold for every combination.
STEPS = r"""
set -eu
umask 077
mkdir -p /run/wireguard /run/netns /run/state
[ -c /dev/net/tun ] || { mkdir -p /dev/net; mknod /dev/net/tun c 10 200; }
export LOG_LEVEL=error
die() { echo "STEP FAILED: $*"; ip netns exec a wg show; ip netns exec b wg show; exit 1; }
in_a() { ip netns exec a "$@"; }
in_b() { ip netns exec b "$@"; }
until_true() { # tries, command...
	n=$1; shift
	while ! "$@" >/dev/null 2>&1; do n=$((n-1)); [ $n -gt 0 ] || return 1; sleep 0.2; done
}
engine() { # namespace kind timers
	if [ "$2" = kernel ]; then ip -n $1 link add wg$1 type wireguard; return; fi
	WEFT_WG_TIMERS=$3 ip netns exec $1 /bin/weft-wg -f --metrics 127.0.0.1:9000 wg$1 & eval pid_$1=$!
	until_true 50 ip netns exec $1 wg show wg$1
}
events() { # namespace kind metric words: how often it has happened
	if [ "$2" = kernel ]; then dmesg | grep -c "$4"; return; fi
	ip netns exec $1 wget -qO- http://127.0.0.1:9000/metrics | grep "^weft_wg_$3{" | cut -d' ' -f2
}
happened() { [ "$(events "$@")" -gt 0 ]; }
cookies() { # a makes a new session while a flood keeps b under load: by a cookie
	ip netns add c
	ip link add vc netns c type veth peer name vbc netns b
	ip -n c addr add 192.168.7.1/24 dev vc; ip -n b addr add 192.168.7.2/24 dev vbc
	ip -n c link set lo up; ip -n c link set vc up; ip -n b link set vbc up
	ip -n c route add local 10.66.0.0/16 dev lo; ip -n b route add 10.66.0.0/16 via 192.168.7.1
	echo 'module wireguard +p' >/proc/dynamic_debug/control
	ip -n a link set wga down; dmesg -c >/dev/null
	mac=$(ip -n b link show vbc | sed -n 's/.*ether \([^ ]*\).*/\1/p')
	ip netns exec c /bin/wgflood vc $mac 192.168.7.2 51820 $(base64 -d </tmp/b.pub | od -An -v -tx1 | tr -d ' \n') 10.66.0.0 600 120 >/dev/null & flood=$!
	until_true 100 happened b $kb cookies_sent_total "Sending cookie response" || die "the flood gets no cookies"
	ip -n a link set wga up
	until_true 60 in_a ping -q -c 1 -W 1 10.9.0.2 || die "no session under load"
	happened a $ka cookies_received_total "Receiving cookie response" || die "a session without a cookie"
	kill $flood || true; echo 'module wireguard -p' >/proc/dynamic_debug/control
	ip netns del c
}
rekeyed() { # pings under which a makes new keys
	first=$(in_b wg show wgb latest-handshakes)
	in_a ping -q -c $1 -i 0.2 -W 5 10.9.0.2 | grep -q ' 0% packet loss' || die "loss while rekeying"
	[ "$(in_b wg show wgb latest-handshakes)" != "$first" ] || die "no new keys"
}
cell() {
	ka=$1; kb=$2
	ip netns add a; ip netns add b
	ip link add va netns a type veth peer name vb netns b
	ip -n a addr add 192.168.9.1/24 dev va; ip -n b addr add 192.168.9.2/24 dev vb
	ip -n a addr add fd99::1/64 dev va nodad; ip -n b addr add fd99::2/64 dev vb nodad
	for n in a b; do ip -n $n link set lo up; ip -n $n link set v$n up; wg genkey >/tmp/$n; wg pubkey </tmp/$n >/tmp/$n.pub; done
	wg genpsk >/tmp/psk
	A=$(cat /tmp/a.pub); B=$(cat /tmp/b.pub)
	engine a $ka rekey_after_time=3; engine b $kb rekey_after_time=120
	in_a wg set wga private-key /tmp/a listen-port 51820 peer $B preshared-key /tmp/psk allowed-ips 10.9.0.2/32,fd09::2/128 endpoint 192.168.9.2:51820
	in_b wg set wgb private-key /tmp/b listen-port 51820 peer $A preshared-key /tmp/psk allowed-ips 10.9.0.1/32,fd09::1/128
	ip -n a addr add 10.9.0.1/24 dev wga; ip -n b addr add 10.9.0.2/24 dev wgb
	ip -n a addr add fd09::1/64 dev wga nodad; ip -n b addr add fd09::2/64 dev wgb nodad
	ip -n a link set wga up mtu 1420; ip -n b link set wgb up mtu 1420
	in_a ping -q -c 5 -i 0.2 -W 5 10.9.0.2 >/dev/null || die "ping, IPv4 outside and inside"
	in_b ping -q -c 5 -i 0.2 -W 5 fd09::1 >/dev/null || die "ping back, IPv6 inside"
	in_a ping -q -c 3 -i 0.2 -W 5 -s 1372 10.9.0.2 >/dev/null || die "full packets"
	in_a ping -q -c 3 -i 0.2 -W 5 -s 9000 10.9.0.2 >/dev/null || die "fragments"
	in_a wg set wga peer $B endpoint '[fd99::2]:51820'
	in_a ping -q -c 3 -i 0.2 -W 5 10.9.0.2 >/dev/null || die "ping, IPv6 outside"
	in_b wg show wgb endpoints | grep -q 'fd99::1' || die "roaming to the other family"
	in_a wg set wga listen-port 5555
	in_a ping -q -c 3 -i 0.2 -W 5 fd09::2 >/dev/null || die "ping after the port changed"
	in_b wg show wgb endpoints | grep -q ':5555' || die "roaming to the other port"
	in_b ping -q -c 3 -i 0.2 -W 5 10.9.0.1 >/dev/null || die "ping back after roaming"
	if [ $ka = weft ]; then rekeyed 60; elif [ $long = 1 ]; then rekeyed 620; fi # the kernel's two minutes
	before=$(in_b wg show wgb transfer | cut -f2)
	in_a wg set wga peer $B persistent-keepalive 1
	sleep 3
	[ "$(in_b wg show wgb transfer | cut -f2)" -gt "$before" ] || die "persistent keepalive"
	in_b wg set wgb peer $A allowed-ips 10.9.0.77/32
	! in_a ping -q -c 1 -W 2 10.9.0.2 >/dev/null || die "a source that is not the peer's was accepted"
	in_b wg set wgb peer $A allowed-ips 10.9.0.1/32
	in_a ping -q -c 2 -i 0.2 -W 5 10.9.0.2 >/dev/null || die "ping after the source was allowed again"
	in_b wg set wgb peer $A preshared-key /dev/null
	ip -n a link set wga down; ip -n a link set wga up
	! in_a ping -q -c 1 -W 3 10.9.0.2 >/dev/null || die "a session without the same preshared key"
	in_b wg set wgb peer $A preshared-key /tmp/psk
	until_true 40 in_a ping -q -c 1 -W 1 10.9.0.2 || die "no session with the preshared key again"
	[ $ka = $kb ] || [ $long = 0 ] || cookies
	for n in a b; do eval "p=\${pid_$n:-}"; [ -z "$p" ] || kill $p; eval "pid_$n="; done
	sleep 0.5
	ip netns del a; ip netns del b
	echo "CELL $ka-$kb ok"
}
"""


# One guest for all: its start takes as long as half a cell. Those without the kernel or without us show only that the steps ask for nothing special.
CELLS = ["weft kernel", "kernel weft"] + (["kernel kernel", "weft weft"] if FULL else [])


def test_W_1_cells():
    flood = os.path.join(os.path.dirname(BIN.rstrip("/")), "tests/wgflood")
    script = STEPS + "long=%d\n" % FULL + "".join("echo CELL %s begins; cell %s\n" % (cell, cell) for cell in CELLS)
    status, out = guest.run(script, put=[(os.path.join(BIN, "weft-wg"), "/bin/weft-wg"), (flood, "/bin/wgflood")],
                            binaries=["wg", "ping", "grep", "cut", "cat", "sed", "sleep", "mknod", "dmesg", "base64", "od", "tr"], modules=["wireguard"],
                            timeout=500 * len(CELLS))
    assert status == 0 and all("CELL %s ok" % cell.replace(" ", "-") in out for cell in CELLS), out[-3000:]


def python_files():
    """Debian's Python with pytest, without the parts that no test needs."""
    library = "/usr/lib/python%d.%d" % sys.version_info[:2]
    useless = {"test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "distutils"}
    for entry in os.scandir(library):
        if entry.name not in useless and not entry.name.startswith("config-"):
            yield entry.path, entry.path
    for name in ("pytest", "_pytest", "pytest-*", "pluggy*", "iniconfig*", "packaging*", "attr", "attrs*", "py.py"):
        for path in glob.glob("/usr/lib/python3/dist-packages/" + name):
            yield path, path
    yield "/usr/bin/python3", "/usr/bin/python3"


SCENARIOS = ["test_scenarios.py", "test_scenarios_routes.py", "test_scenarios_config.py"]
# Under emulation the whole of them takes minutes.
SOME = os.environ.get("WEFT_WG_SCENARIOS", "counters or must_be_allowed")
CHOSEN = "" if FULL else "-k '%s'" % SOME


def test_W_11_scenarios_on_the_kernel():
    here = os.path.dirname(os.path.abspath(__file__))
    put = [(os.path.join(here, name), "/tests/wg/" + name) for name in ("conftest.py", "nodes.py", *SCENARIOS)]
    put += [*python_files(), (glob.glob("/usr/lib/*/xtables")[0],) * 2]
    script = ("echo root:x:0:0::/:/bin/sh >/etc/passwd; echo root:x:0: >/etc/group; cd /tests/wg\n"
              "WEFT_WG_ENGINE=kernel /usr/bin/python3 -m pytest -v -p no:cacheprovider %s %s\n" % (CHOSEN, " ".join(SCENARIOS)))
    status, out = guest.run(script, put=put,
                            binaries=["wg", "ping", "nsenter", "unshare", "sysctl", "iptables", "tcpdump", "ss", "cat", "mount"],
                            modules=["wireguard", "nf_tables", "nft_compat", "nft_chain_nat", "xt_MASQUERADE", "xt_mark"], cpus=2, timeout=1200)
    print(out)
    assert status == 0, out[-6000:]
