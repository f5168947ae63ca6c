# SPDX-License-Identifier: Apache-2.0
"""What somebody deletes or changes behind the agent's back comes back, is counted, and is shown; lost events mean listing again."""

import json
import os
import signal
import time

import pytest
from combos import ALL, BRIEF, FACTORS, SPANNING, name as name_of, options
from labs import FULL, Lab, WEFT, assert_matrix, held_still, running, spread_pods, wait_for

REST = 10  # seconds that who deletes a pod's interface twice has to wait
EVENT, TICK, AUDIT = 1, 3, 10  # seconds until it is back: at once by event, by what is looked at each second, or by an audit every 4 s
PAIRS = 2500 if FULL else 300
SETTINGS = ["repair.auditSeconds=4"]
NO_AUDIT = ["repair.auditSeconds=3600"]  # what comes back has come back by event


def count(lab, what):
    """0 while the agent cannot be asked."""
    done = lab.exec("n1", WEFT, "status", "-o", "json", check=False)
    return json.loads(done.stdout)["repairs"]["counts"][what] if done.returncode == 0 else 0


def sh(lab, command):
    return lab.exec("n1", "sh", "-ec", command).stdout


class Damage:
    """One thing to break: a command, the counter that tells of its repair, how soon that is, and in which settings there is such a thing."""

    def __init__(self, what, breaks, within=EVENT, **only):
        self.what, self.breaks, self.within, self.only = what, breaks, within, only

    def fits(self, combo):
        return all(combo[list(FACTORS).index(factor)] in values for factor, values in self.only.items())


PEER4, PEER6 = "$(ip route show proto 87 | sed -n 's,^\\(10.244[^ ]*/24\\) .*,\\1,p')", "$(ip -6 route show proto 87 | sed -n 's,^\\(fd00:[^ ]*/64\\) .*,\\1,p')"
NEIGH4, NEIGH6 = ("$(ip -%d neigh show dev weft-vxlan | sed -n 's/^\\(%s[^ ]*\\) .*/\\1/p' | head -n 1)" % of for of in ((4, "10"), (6, "fe80")))
BPF = "/sys/fs/bpf/weft/v*"
BRIDGE = "ip link show foreign0 > /dev/null 2>&1 || ip link add foreign0 up type bridge; "  # stays: that it goes would free what is in it
DEVICE = {"transport": ("vxlan", "geneve", "wireguard", "auto")}
VXLAN = {"transport": ("vxlan", "geneve", "auto")}
TCX, CLSACT = {"attach": ("tcx",)}, {"attach": ("clsact",)}
DAMAGES = {
    "route": Damage("route", "ip route del %s" % PEER4),
    "route-v6": Damage("route", "ip -6 route del %s" % PEER6),
    "route-changed": Damage("route", "ip route replace %s dev lo" % PEER4),
    "pod-route": Damage("route", "ip route del $IP4 dev $LINK"),
    "pod-route-v6": Damage("route", "ip -6 route del $IP6 dev $LINK"),
    "rule": Damage("rule", "ip rule del table 5757", **DEVICE),
    "rule-v6": Damage("rule", "ip -6 rule del table 5757", **DEVICE),
    "neighbour": Damage("neighbour", "ip neigh del %s dev weft-vxlan" % NEIGH4, **VXLAN),
    "neighbour-v6": Damage("neighbour", "ip neigh del %s dev weft-vxlan" % NEIGH6, **VXLAN),
    "neighbour-changed": Damage("neighbour", "ip neigh replace %s lladdr 02:00:00:00:00:99 dev weft-vxlan nud permanent" % NEIGH4, **VXLAN),
    "pod-neighbour": Damage("route", "ip neigh del $IP4 dev $LINK"),
    "pod-link-down": Damage("link", "ip link set $LINK down"),
    "pod-link-mac": Damage("link", "ip link set $LINK address 02:00:00:00:00:98"),
    "pod-link-mtu": Damage("link", "ip link set $LINK mtu 1290"),
    "pod-link-alias": Damage("link", "ip link set $LINK alias 'weft: pod of-another eth0'"),
    "pod-link-name": Damage("link", "ip link set $LINK down; ip link set $LINK name other0"),
    "pod-link-under-another": Damage("link", BRIDGE + "ip link set $LINK master foreign0"),
    "pod-link-sysctl": Damage("link", "echo 0 > /proc/sys/net/ipv4/conf/$LINK/forwarding", AUDIT),
    "pod-link-gone": Damage("link", "ip link del $LINK"),
    "pod-qdisc": Damage("program", "tc qdisc del dev $LINK clsact"),
    "pod-qdisc-other": Damage("program", "tc qdisc del dev $LINK clsact; tc qdisc add dev $LINK ingress"),
    "pod-filter": Damage("program", "tc filter del dev $LINK ingress"),
    "pod-filter-egress": Damage("program", "tc filter del dev $LINK egress"),
    "device-gone": Damage("device", "ip link del $DEVICE", **DEVICE),
    "device-renamed": Damage("device", "ip link set weft-vxlan down; ip link set weft-vxlan name other", **VXLAN),
    "device-under-another": Damage("device", BRIDGE + "ip link set weft-vxlan master foreign0", **VXLAN),
    "device-down": Damage("device", "ip link set $DEVICE down", **DEVICE),
    "device-mtu": Damage("device", "ip link set $DEVICE mtu 1300", **DEVICE),
    "device-mac": Damage("device", "ip link set weft-vxlan address 02:00:00:00:00:97", **VXLAN),
    "link-unlinked": Damage("program", "rm %s/links/*" % BPF, **TCX),
    "link-detached": Damage("program", "for l in %s/links/*; do bpftool link detach pinned $l; done" % BPF, AUDIT, **TCX),
    "uplink-qdisc": Damage("program", "tc qdisc del dev $UPLINK clsact", **CLSACT),
    "uplink-qdisc-other": Damage("program", "tc qdisc del dev $UPLINK clsact; tc qdisc add dev $UPLINK ingress", **CLSACT),
    "uplink-filter": Damage("program", "tc filter del dev $UPLINK ingress", **CLSACT),
    "tunnel-filter": Damage("program", "tc filter del dev $DEVICE ingress", **CLSACT, **DEVICE),
    "address": Damage("address", "ip addr del $OWN4/32 dev lo"),
    "address-v6": Damage("address", "ip addr del $OWN6/128 dev lo"),
    "conflist": Damage("file", "rm /etc/cni/net.d/10-weft.conflist", AUDIT),
    "socket": Damage("socket", "rm /run/weft/weftd.sock", TICK),
    "run-directory": Damage("socket", "rm -r /run/weft", TICK),
    "sysctl": Damage("sysctl", "echo 0 > /proc/sys/net/ipv4/ip_forward"),
    "sysctl-v6": Damage("sysctl", "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"),
    "sysctl-uplink": Damage("sysctl", "echo 0 > /proc/sys/net/ipv4/conf/$UPLINK/forwarding"),
    "sysctl-rp-filter": Damage("sysctl", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter"),
    "sysctl-v6-of-device": Damage("sysctl", "echo 1 > /proc/sys/net/ipv6/conf/$DEVICE/disable_ipv6", **DEVICE),
    "sysctl-v6-of-lo": Damage("sysctl", "echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6"),
    "map-unlinked": Damage("pin", "rm %s/maps/endpoints" % BPF),
    "program-unlinked": Damage("pin", "rm %s/programs/from_pod" % BPF),
    "pins-unlinked": Damage("pin", "rm -r %s" % BPF),
    "bpffs-unmounted": Damage("pin", "while umount -l /sys/fs/bpf 2>/dev/null; do :; done", AUDIT),  # the node's own, and one below it
    "map-entry": Damage("map_entry", "bpftool map delete pinned $(echo %s)/maps/pod_ifaces key $KEY" % BPF, AUDIT),
    "counters": Damage("map_entry", "for m in nat_shares endpoint_flows; do bpftool -j map dump pinned $(echo %s)/maps/$m | "
                       "python3 -c 'import json,sys; [print(*e[\"key\"]) for e in json.load(sys.stdin)]' | "
                       "while read k; do bpftool map delete pinned $(echo %s)/maps/$m key $k; done; done" % (BPF, BPF), AUDIT),
    "sockets-detached": Damage("program", "for l in %s/cgroup/*; do bpftool link detach pinned $l; done" % BPF, AUDIT),
    "node-route-entry": Damage("map_entry", "K=$(bpftool -j map dump pinned $(echo %s)/maps/node_routes | "
                               "python3 -c 'import json,sys; print(*json.load(sys.stdin)[0][\"key\"])'); "
                               "bpftool map delete pinned $(echo %s)/maps/node_routes key $K" % (BPF, BPF), AUDIT),
}
AUDITED = ("vxlan", "off", "tcx", "auto", "ipv4")  # without the fast path, so that a missing route is felt


TURNS = 7


def settings_for(damage, turn):
    """One of BRIEF; in `make test-full` all of SPANNING, and of the others those whose turn it is."""
    if FULL:
        return [c for i, c in enumerate(ALL) if damage.fits(c) and (c in SPANNING or (i + turn) % TURNS == 0)]
    fitting = [c for c in BRIEF if damage.fits(c)]
    return [fitting[turn % len(fitting)]]


def cases(names):
    """Those of one lab beside each other."""
    found = [(c, n) for i, n in enumerate(names) for c in settings_for(DAMAGES[n], i)]
    return [pytest.param(c, n, id="%s-%s" % (name_of(c), n)) for c, n in sorted(found, key=lambda f: SETTINGS_IN_ORDER.index(f[0]))]


SETTINGS_IN_ORDER = BRIEF + [c for c in ALL if c not in BRIEF]
BY_EVENT = cases([n for n, d in DAMAGES.items() if d.within != AUDIT])
BY_AUDIT = [n for n, d in DAMAGES.items() if d.within == AUDIT and d.fits(AUDITED)]
assert {p.values[0] for p in BY_EVENT} == set(ALL) if FULL else set().union(*(p.values[0] for p in BY_EVENT)) == set().union(*BRIEF), "settings in which nothing is broken"


def made(combo, settings):
    with Lab(nodes=2, **{**options(combo, "dual"), "set": options(combo, "dual")["set"] + settings}) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        if combo[0] == "auto":  # then nothing changes by itself
            wait_for("the plain way is proven", lambda: {p["transport"] for n in ("n1", "n2") for p in lab.node_status(n)["peers"]} == {"direct"})
        yield lab


@pytest.fixture(scope="module")
def eventful(request):
    yield from made(request.param, NO_AUDIT)


@pytest.fixture(scope="module")
def audited():
    yield from made(AUDITED, SETTINGS)


def variables(lab):
    status = lab.node_status("n1")
    pod = next(e for e in status["endpoints"] if e["pod"] == "p1-0")
    own = status["nodeAddresses"]
    index = int(lab.exec("n1", "cat", "/sys/class/net/%s/ifindex" % pod["hostInterface"]).stdout)
    return {"LINK": pod["hostInterface"], "IP4": pod["addresses"][0], "IP6": pod["addresses"][1], "OWN4": own[0], "OWN6": own[1],
            "UPLINK": status["uplinks"][0], "DEVICE": "weft-wg" if lab.options.get("transport") == "wireguard" else "weft-vxlan",
            "KEY": " ".join(str(b) for b in index.to_bytes(4, "little"))}


LINKS = "ls /sys/fs/bpf/weft/v*/links | wc -l"
LOOKS = ["ls -l /run/weft /run/weft/state | cut -d ' ' -f 1", "ip -d route show table all proto 87", "ip -6 route show table all proto 87", "ip rule", "ip -6 rule", "ip neigh show nud permanent",
         "ip -6 neigh show nud permanent", "ip -br addr show dev lo", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
         "ip -o link | sed -n 's/^[0-9]*: \\([^:@]*\\).* master \\([^ ]*\\) .*/\\1 under \\2/p'",
         "ip -br link | sed '/^foreign/d; s/@[^ ]*//; s/<.*>//; s/  */ /g'", "ip -o link | sed -n 's/^[0-9]*: \\(weft[^:@]*\\).* \\(mtu [0-9]*\\) .*\\(alias .*\\)/\\1 \\2 \\3/p'", "ls /sys/fs/bpf/weft/v*/maps /sys/fs/bpf/weft/v*/programs",
         "for d in $(ls /sys/class/net); do for w in ingress egress; do tc filter show dev $d $w | sed -n \"s/.* \\(handle 0x[^ ]* [^ :]*\\).*/$d $w \\1/p\"; done; done", LINKS,
         "for m in nat_shares endpoint_flows; do bpftool map dump pinned $(echo /sys/fs/bpf/weft/v*)/maps/$m | sed -n \"s/.*\\(key[^0-9a-f]*[0-9a-f ]*\\).*/$m \\1/p\"; done",
         "for l in /sys/fs/bpf/weft/v*/cgroup/*; do bpftool link show pinned $l | sed -n 's/.*\\(cgroup_id [0-9]*\\).*/\\1/p'; done"]


def state(lab):
    """What can be compared before and after, in any order; interface numbers may change."""
    return {c: sorted(sh(lab, c).split("\n")) for c in LOOKS}


def settings_of(lab):
    """As the shell's variables."""
    return "".join("%s='%s'; " % kv for kv in variables(lab).items())


def kept_waiting(lab):
    """Milliseconds for which the agent could have run, had there been a CPU for it."""
    with open("/proc/%d/schedstat" % lab.agents("n1")[0]) as f:
        return int(f.read().split()[1]) / 1e6


def break_and_wait(lab, damage):
    """How long it took, the agent's own list of repairs tells."""
    before, counted, waited = state(lab), count(lab, damage.what), kept_waiting(lab)
    broken = int(sh(lab, settings_of(lab) + damage.breaks + "\ndate +%s%3N").split()[-1])
    wait_for("a repair of kind " + damage.what, lambda: count(lab, damage.what) > counted, timeout=10 * damage.within)
    wait_for("the state of before", lambda: state(lab) == before, timeout=10 * damage.within)
    waited = kept_waiting(lab) - waited
    repairs = lab.node_status("n1")["repairs"]
    assert all(r["atMs"] and r["where"] for r in repairs["recent"])
    took = next(r["atMs"] for r in repairs["recent"] if r["what"] == damage.what) - broken
    print("%s: %d ms, for %d of which it had no CPU" % (damage.what, took, waited))
    assert took - waited <= 1000 * damage.within
    assert_matrix(lab, 1)
    assert "Repairs" in lab.exec("n1", "weft", "status").stdout
    assert "put back what somebody else" in lab.logs_of("n1")


@pytest.mark.parametrize("eventful, name", BY_EVENT, indirect=["eventful"], scope="module")
def test_damage_is_mended_by_event(eventful, name):
    break_and_wait(eventful, DAMAGES[name])


@pytest.mark.parametrize("name", BY_AUDIT)
def test_damage_is_mended_by_audit(audited, name):
    break_and_wait(audited, DAMAGES[name])


def while_nobody_looks(lab, command):
    """The agent that finds what the command does is another one."""
    with held_still(lab, "n1/weftd"):
        sh(lab, command)
        old = lab.agents("n1")
        for pid in old:
            os.kill(pid, signal.SIGKILL)
    wait_for("a new agent", lambda: lab.agents("n1") and not set(old) & set(lab.agents("n1")))


def error_of(lab, part):
    """While the agent answers; else, and while the part is well, nothing."""
    done = lab.exec("n1", WEFT, "status", "-o", "json", check=False)
    return json.loads(done.stdout)["health"][part].get("error", "") if done.returncode == 0 else ""


def test_all_else_is_mended_while_the_kernel_refuses_an_entry(audited):
    """No IPv6 by the tunnel's device, and the agent may not change that: whatever is not of IPv6 there comes back, and it is told what does not."""
    lab = audited
    before, env = state(lab), settings_of(lab)
    knob = "/proc/sys/net/ipv6/conf/weft-vxlan/disable_ipv6"
    damages = [DAMAGES[d] for d in ("neighbour", "route", "pod-route", "pod-route-v6", "address", "rule", "rule-v6", "sysctl")]
    counted = {d.what: count(lab, d.what) for d in damages}
    with held_still(lab, "n1/weftd"):
        sh(lab, env + "; ".join(d.breaks for d in damages) + "; echo 1 > %s; mount --bind -o ro %s %s" % (knob, knob, knob))
    try:
        wait_for("each repair", lambda: all(count(lab, d) > counted[d] for d in counted), timeout=AUDIT)
        lost = lambda: {line for c, now in state(lab).items() for line in set(before[c]) - set(now)}
        wait_for("all but IPv6 by the tunnel", lambda: lost() and all("dev weft-vxlan" in line and ("fd00" in line or "fe80" in line) for line in lost()), timeout=AUDIT)
        routes = lab.node_status("n1")["health"]["routes"]
        assert not routes["ok"] and "disable_ipv6" in routes["error"], routes
        counted = count(lab, "rule")
        sh(lab, DAMAGES["rule"].breaks)  # while it is so, by event
        wait_for("the rule", lambda: count(lab, "rule") > counted and "5757" in sh(lab, "ip rule"), timeout=10 * EVENT)
    finally:
        sh(lab, "umount " + knob)
    wait_for("the state of before", lambda: state(lab) == before and lab.is_well("n1"), timeout=AUDIT)
    assert_matrix(lab, 1)


def made_read_only(knob, value):
    return "echo %s > %s; mount --bind -o ro %s %s; " % (value, knob, knob, knob)


def test_what_is_refused_from_the_start_hides_nothing_and_keeps_nothing_from_being_mended(audited):
    """A sysctl that a new agent finds wrong and may not write: repairs are made and counted, somebody's route in the place of ours included, and what else is refused is told as well."""
    lab = audited
    before = state(lab)
    knob, v6 = "/proc/sys/net/ipv4/conf/all/rp_filter", "/proc/sys/net/ipv6/conf/weft-vxlan/disable_ipv6"
    while_nobody_looks(lab, made_read_only(knob, 1))
    try:
        wait_for("it is told", lambda: "rp_filter" in error_of(lab, "routes"), timeout=AUDIT)
        for damage in (DAMAGES[d] for d in ("route-changed", "address", "rule", "neighbour")):
            counted = count(lab, damage.what)
            sh(lab, settings_of(lab) + damage.breaks)
            wait_for("a repair of kind " + damage.what, lambda: count(lab, damage.what) > counted and state(lab) == before, timeout=AUDIT)
        sh(lab, made_read_only(v6, 1))
        try:
            wait_for("both are told", lambda: all(w in error_of(lab, "routes") for w in ("sysctls: ", "rp_filter", "; neighbours: ", "; routes: ")), timeout=AUDIT)
        finally:
            sh(lab, "umount " + v6)
    finally:
        sh(lab, "umount " + knob)
    wait_for("the state of before", lambda: state(lab) == before and lab.is_well("n1"), timeout=AUDIT)
    assert_matrix(lab, 1)


def test_a_node_that_cannot_forward_is_not_made_ready(audited):
    """As its packets would go nowhere: pods wait, and why is told. A node that was ready before stays so."""
    lab = audited
    before = state(lab)
    knob = "/proc/sys/net/ipv4/conf/all/forwarding"
    try:
        while_nobody_looks(lab, made_read_only(knob, 0) + "rm /run/weft/state/node.json")
        wait_for("it is told", lambda: "forwarding" in error_of(lab, "cni"), timeout=AUDIT)
        assert not lab.node_status("n1")["ready"] and "forwarding" in error_of(lab, "routes")
        sh(lab, "umount " + knob)
        wait_for("the state of before", lambda: state(lab) == before and lab.is_well("n1"), timeout=2 * AUDIT)
        while_nobody_looks(lab, made_read_only(knob, 0))
        wait_for("it is told", lambda: "forwarding" in error_of(lab, "routes"), timeout=AUDIT)
        assert lab.node_status("n1")["ready"] and not error_of(lab, "cni")
    finally:
        sh(lab, "umount %s || true" % knob)
    wait_for("the state of before", lambda: state(lab) == before and lab.is_well("n1"), timeout=2 * AUDIT)
    assert_matrix(lab, 1)


def test_a_node_whose_new_interfaces_have_no_ipv6_carries_it(audited):
    lab = audited
    before = state(lab)
    default = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
    sh(lab, "echo 1 > " + default)
    try:
        sh(lab, "ip link del weft-vxlan")
        wait_for("the state of before", lambda: state(lab) == before and lab.is_well("n1"), timeout=AUDIT)
        assert sh(lab, "cat " + default).strip() == "1"  # that is not the agent's
        assert_matrix(lab, 1)
    finally:
        sh(lab, "echo 0 > " + default)


def test_somebody_elses_ingress_qdisc_is_left_and_told():
    """It lies where clsact has to be on an uplink, and is in use: nothing of ours is put into it, which would be at the wrong side."""
    with Lab(nodes=2, transport="vxlan", set=["datapath.attach=clsact"]) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        named = settings_of(lab)
        with held_still(lab, "n1/weftd"):
            sh(lab, named + "tc qdisc del dev $UPLINK clsact; tc qdisc add dev $UPLINK ingress; "
                            "tc filter add dev $UPLINK ingress pref 5 protocol ip u32 match ip dst 203.0.113.1/32 flowid 1:1")
        problem = wait_for("it is told", lambda: not lab.node_status("n1")["health"]["datapath"]["ok"] and lab.node_status("n1")["health"]["datapath"])
        assert "busy" in str(problem)
        assert "u32" in sh(lab, named + "tc filter show dev $UPLINK ingress") and "from_net" not in sh(lab, named + "tc filter show dev $UPLINK ingress")
        sh(lab, named + "tc qdisc del dev $UPLINK ingress")
        wait_for("all is well", lambda: lab.node_status("n1")["health"]["datapath"]["ok"])
        assert "from_net" in sh(lab, named + "tc filter show dev $UPLINK ingress")
        assert_matrix(lab, 1)


def test_all_else_is_mended_while_the_tunnel_cannot_be(audited):
    """Somebody's device has the tunnel's port: what does not need ours comes back; and ours, when the other goes."""
    lab = audited
    before, env = state(lab), settings_of(lab)
    damages = [DAMAGES[d] for d in ("pod-route", "address", "rule", "pod-filter", "map-unlinked", "sysctl")]
    counted = {d.what: count(lab, d.what) for d in damages}
    with held_still(lab, "n1/weftd"):
        sh(lab, env + "ip link del weft-vxlan; ip link add other type vxlan external dstport 4789; ip link set other up; " + "; ".join(d.breaks for d in damages))
    wait_for("each repair", lambda: all(count(lab, d) > counted[d] for d in counted), timeout=AUDIT)
    routes = lab.node_status("n1")["health"]["routes"]
    assert not routes["ok"] and "4789" in routes["error"], routes
    assert "weft-vxlan" not in sh(lab, "ip link")
    missing = {c: set(before[c]) - set(now) for c, now in state(lab).items() if c != LINKS}  # a number: without the tunnel's
    assert all("weft-vxlan" in line for lines in missing.values() for line in lines), missing
    sh(lab, "ip link del other")
    wait_for("the state of before", lambda: state(lab) == before, timeout=AUDIT)
    assert_matrix(lab, 1)


ECHO = "import socket; s=socket.create_server(('::', 7777), family=socket.AF_INET6, dualstack_ipv6=True); print('listening', flush=True); c=s.accept()[0]\nwhile 1: c.sendall(c.recv(99))"
TALK = "import socket, sys; s=socket.create_connection((sys.argv[1], 7777)); print('connected', flush=True)\nfor l in sys.stdin: s.sendall(l.encode()); print(s.recv(99).decode(), end='', flush=True)"


def problem(lab, name):
    return next(e.get("problem", "") for e in lab.node_status("n1")["endpoints"] if e["pod"] == name)


def gone_again(lab, inside):
    """Waits out the rest that follows a repair, with another's interface in the place of ours."""
    with held_still(lab, "n1/weftd"):
        inside("ip link del eth0; ip link add eth0 type veth peer name other")
    wait_for("it says that it waits", lambda: "again soon" in problem(lab, "p1-0"), timeout=10 * EVENT)
    wait_for("it says what is in the way", lambda: "eth0 or weft" in problem(lab, "p1-0"), timeout=REST + AUDIT)
    cni = lab.node_status("n1")["health"]["cni"]
    assert not cni["ok"] and "default/p1-0" in cni["error"], cni
    assert "delete that, or the pod" in lab.exec("n1", "weft", "status", check=False).stdout and "a pod has no network" in lab.logs_of("n1")
    inside("ip link del eth0")
    wait_for("all is well", lambda: lab.is_well("n1") and not problem(lab, "p1-0"), timeout=AUDIT)


def test_an_interface_renamed_while_nobody_looks_is_the_pods_all_the_same(audited):
    """The agent that finds it is another one; what is changed later comes back as well."""
    lab = audited
    before, env = state(lab), settings_of(lab)
    lost = lambda: lab.logs_of("n1").count("has lost its interface")
    losses = lost()
    while_nobody_looks(lab, env + "ip link set $LINK down; ip link set $LINK name other0; ip link set other0 up mtu 1290")
    wait_for("the state of before", lambda: lab.is_well("n1") and state(lab) == before, timeout=AUDIT)
    assert "put a pod's interface right" in lab.logs_of("n1") and lost() == losses
    assert_matrix(lab, 1)
    break_and_wait(lab, DAMAGES["pod-link-mtu"])


def test_a_name_that_another_interface_has_by_now_is_left_to_it(audited):
    """The pod's interface keeps the one that it was given, and carries the pod's packets; it is told, and comes right when the name is free."""
    lab = audited
    before, counted, named, env = state(lab), count(lab, "link"), variables(lab), settings_of(lab)
    with held_still(lab, "n1/weftd"):
        sh(lab, env + "ip link set $LINK down; ip link set $LINK name other0; ip link set other0 up; ip link add $LINK type bridge")
        downs = sh(lab, "cat /sys/class/net/other0/carrier_down_count")
    wait_for("it is told", lambda: "default/p1-0" in error_of(lab, "cni") and "other0" in error_of(lab, "cni"), timeout=AUDIT)
    assert named["LINK"] in problem(lab, "p1-0") and not error_of(lab, "datapath")
    assert "a pod's interface has another name" in lab.logs_of("n1")
    assert_matrix(lab, 1)
    passes = lambda: int(sh(lab, "curl -sf -m 20 http://127.0.0.1:10287/metrics | sed -n 's/^weft_passes_total //p'"))
    before_audits = passes()
    wait_for("two audits", lambda: passes() >= before_audits + 2, timeout=3 * AUDIT)
    assert sh(lab, "cat /sys/class/net/other0/carrier_down_count") == downs
    sh(lab, "ip link del " + named["LINK"])
    wait_for("a repair", lambda: count(lab, "link") > counted, timeout=AUDIT)
    wait_for("the state of before", lambda: lab.is_well("n1") and state(lab) == before and not problem(lab, "p1-0"), timeout=AUDIT)
    assert_matrix(lab, 1)


def test_an_interface_moved_to_another_namespace_is_made_again(audited):
    lab = audited
    before, counted = state(lab), count(lab, "link")
    sh(lab, settings_of(lab) + "unshare -n sleep 60 > /dev/null 2>&1 & P=$!; "
       "while [ $(readlink /proc/$P/ns/net) = $(readlink /proc/self/ns/net) ]; do sleep 0.05; done; ip link set $LINK netns $P")
    wait_for("a repair", lambda: count(lab, "link") > counted, timeout=REST + AUDIT)  # another test may have deleted it a moment ago
    wait_for("the state of before", lambda: state(lab) == before and lab.is_well("n1"), timeout=10 * EVENT)
    assert_matrix(lab, 1)


def gone_while_nobody_looks(lab, inside):
    """The agent that finds it is another one."""
    with held_still(lab, "n1/weftd"):
        inside("ip link del eth0")
        old = lab.agents("n1")
        for pid in old:
            os.kill(pid, signal.SIGKILL)
    wait_for("a new agent", lambda: lab.agents("n1") and not set(old) & set(lab.agents("n1")))
    wait_for("the interface", lambda: lab.is_well("n1") and "169.254.1.1" in inside("ip route show default").stdout)


def test_a_pods_deleted_interface_is_made_again(audited):
    """From inside as well; a connection goes on; what cannot be made again is reported, with what to do."""
    lab = audited
    server = next(p for p in lab.status()["pods"] if p["name"] == "p2-0")["ips"][0]
    looks = "ip -br addr show dev eth0 | sed 's/@[^ ]*//; s/  */ /g'; ip route; ip -6 route show default; ip neigh show nud permanent; ip -6 neigh show nud permanent; cat /sys/class/net/eth0/mtu"

    def inside(command):
        return lab.exec("default/p1-0", "sh", "-ec", command)

    def says(p, word):
        p.stdin.write(word + "\n")
        p.stdin.flush()
        assert p.stdout.readline() == word + "\n"

    with running(lab, "default/p2-0", "/usr/bin/python3", "-c", ECHO, says="listening"), \
            running(lab, "default/p1-0", "/usr/bin/python3", "-c", TALK, server, says="connected") as p:
        before, counted = inside(looks).stdout, count(lab, "link")
        says(p, "before")
        inside("ip link del eth0")
        wait_for("a repair", lambda: count(lab, "link") > counted, timeout=REST + AUDIT)  # another test may have deleted it a moment ago
        wait_for("what was there before", lambda: inside(looks).stdout == before and not problem(lab, "p1-0"), timeout=10 * EVENT)
        says(p, "after")
        gone_again(lab, inside)
        says(p, "after another's interface")
        gone_while_nobody_looks(lab, inside)
        assert inside(looks).stdout == before
        says(p, "after another agent's work")
    assert_matrix(lab, 1)


def test_an_entry_of_the_guard_comes_back_and_is_told():
    """While it was gone plaintext could leave: who took it away, and when, must not stay unknown."""
    with Lab(nodes=2, transport="wireguard", set=SETTINGS) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        dump = "bpftool -j map dump pinned $(echo %s)/maps/guard" % BPF
        before = sorted(json.dumps(e) for e in json.loads(sh(lab, dump)))
        sh(lab, "bpftool map delete pinned $(echo %s)/maps/guard key %s" % (BPF, " ".join(json.loads(before[0])["key"])))
        wait_for("a repair", lambda: count(lab, "map_entry") > 0, timeout=AUDIT)
        assert sorted(json.dumps(e) for e in json.loads(sh(lab, dump))) == before
        assert "guard" in lab.node_status("n1")["repairs"]["recent"][0]["where"] and "put back what somebody else" in lab.logs_of("n1")


def test_wireguard_peers_that_somebody_removes_or_changes_are_put_back_and_it_is_told():
    """Removed: one of two, then both. That an interface goes is another thing, and so is a node that goes."""
    with Lab(nodes=3, transport="wireguard", set=SETTINGS) as lab:
        lab.apply(*spread_pods(3, each=1))
        lab.wait_ready()
        assert_matrix(lab, 1)
        peers = lambda: sh(lab, "wg show weft-wg peers").split()
        before = sorted(peers())
        assert len(before) == 2 and count(lab, "peer") == 0
        dump = lambda: sorted(l.split("\t")[0:2] + l.split("\t")[7:] for l in sh(lab, "wg show weft-wg dump").splitlines()[1:])
        assert all(psk == "(none)" for _, psk, _ in dump())
        whole, device = dump(), count(lab, "device")
        key = sh(lab, "wg genpsk").strip()
        sh(lab, "echo '%s' | wg set weft-wg fwmark 9 peer '%s' preshared-key /dev/stdin peer '%s' persistent-keepalive 7" % (key, *before))
        wait_for("two repairs", lambda: count(lab, "peer") == 2, timeout=AUDIT)
        wait_for("both as they were", lambda: dump() == whole and sh(lab, "wg show weft-wg fwmark").strip() == "off", timeout=AUDIT)
        wait_for("the mark is told", lambda: count(lab, "device") == device + 1, timeout=AUDIT)
        wait_for("all is well", lambda: lab.node_status("n1")["mesh"]["settled"], timeout=AUDIT)
        assert key not in lab.logs_of("n1") and key not in json.dumps(lab.node_status("n1"))
        sh(lab, "wg set weft-wg peer '%s' remove" % before[0])
        wait_for("another", lambda: count(lab, "peer") == 3, timeout=AUDIT)
        wait_for("the peer", lambda: sorted(peers()) == before, timeout=AUDIT)
        sh(lab, "; ".join("wg set weft-wg peer '%s' remove" % p for p in before))
        wait_for("two more", lambda: count(lab, "peer") == 5, timeout=AUDIT)
        assert lab.node_status("n1")["repairs"]["recent"][0]["what"] == "peer" and "a WireGuard peer was gone" in lab.logs_of("n1")
        sh(lab, "ip link del weft-wg")
        wait_for("the interface with its peers", lambda: sh(lab, "wg show weft-wg peers || true").split() and sorted(peers()) == before, timeout=AUDIT)
        assert_matrix(lab, 1)
        assert count(lab, "peer") == 5


def test_repairs_stay_zero_when_nobody_interferes():
    with Lab(nodes=2, set=["repair.auditSeconds=1"]) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        lab.apply(*({**p, "metadata": {**p["metadata"], "name": "more-" + p["metadata"]["name"]}} for p in spread_pods(1, each=5)
                    if not p["spec"]["hostNetwork"]))
        lab.wait_ready()
        lab.weft("node", "add")
        lab.delete_pods()
        for pid in lab.pids("n1/weftd"):
            os.kill(pid, signal.SIGKILL)
        wait_for("a new agent", lambda: lab.exec("n1", "weft", "status", check=False).returncode == 0)
        time.sleep(4)  # audits
        for node in ("n1", "n2"):
            repairs = lab.node_status(node)["repairs"]
            assert not any(repairs["counts"].values()) and not repairs["recent"] and repairs["eventsLost"] == 0, json.dumps(repairs)


def test_lost_events_mean_listing_again():
    """A queue of 4 KiB, an agent that is held still during a storm: what was deleted in it comes back all the same."""
    with Lab(nodes=2, set=["repair.eventBufferBytes=4096", "repair.auditSeconds=3600"]) as lab:
        lab.apply(*spread_pods(2, each=1))
        lab.wait_ready()
        assert_matrix(lab, 1)
        before = state(lab)
        env = settings_of(lab)
        with held_still(lab, "n1/weftd"):
            storm = "".join("link add name storm%d group 4711 type veth peer name other%d\n" % (i, i) for i in range(PAIRS))
            lab.exec("n1", "ip", "-batch", "-", input=storm)
            sh(lab, env + "ip route del $IP4 dev $LINK; ip rule del table 5757; ip route flush proto 87 dev weft-vxlan")
        wait_for("events lost", lambda: lab.node_status("n1")["repairs"]["eventsLost"] > 0, timeout=10 * EVENT)
        wait_for("a link of the storm", lambda: "storm0" in sh(lab, "ip link show group 4711"))
        sh(lab, "ip link del group 4711")
        wait_for("the state of before", lambda: state(lab) == before, timeout=10 * EVENT)
        assert_matrix(lab, 1)
