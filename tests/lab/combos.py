# SPDX-License-Identifier: Apache-2.0
"""The ways in which the datapath can be set up, for suites that must hold in all of them. `make test` runs a few: in BRIEF, and in REST, every pair of
settings that are not the transport occurs, and each transport; in both together, SPANNING, every pair. Long suites run one half or the other.
`make test-full` runs all. What takes very long is there at its full size in a few, and smaller in the others; what does not depend on these settings says so where
it takes fewer of them."""

import itertools

import pytest
from labs import FULL

FACTORS = {"transport": ("vxlan", "direct", "geneve", "wireguard", "auto"), "fastPath": ("on", "off"), "attach": ("tcx", "clsact"), "encap": ("auto", "device"),
           "underlay": ("ipv4", "ipv6")}
BRIEF = [("vxlan", "on", "tcx", "auto", "ipv4"), ("direct", "off", "tcx", "device", "ipv6"), ("geneve", "off", "clsact", "auto", "ipv6"),
         ("wireguard", "on", "clsact", "device", "ipv6"), ("auto", "off", "clsact", "device", "ipv4")]
# Each transport with the opposites of what it has there.
REST = [(c[0], *(next(v for v in values if v != c[i]) for i, values in enumerate(list(FACTORS.values())[1:], 1))) for c in BRIEF]
SPANNING = BRIEF + REST


def pairs(combo):
    return set(itertools.combinations(zip(FACTORS, combo), 2))


# Who adds a factor or a value is told here, not by a gap in what is tested.
ALL = list(itertools.product(*FACTORS.values()))
assert set().union(*map(pairs, SPANNING)) == set().union(*map(pairs, ALL)), "SPANNING leaves out a pair of settings"
for half in (BRIEF, REST):
    assert set().union(*(pairs(("", *c[1:])) for c in half)) == set().union(*(pairs(("", *c[1:])) for c in ALL)), "a half leaves out a pair of settings"
    assert {c[0] for c in half} == set(FACTORS["transport"]), "a half leaves out a transport"


# For suites with transports of their own: (fast path, attachment, encapsulation), in which every pair occurs.
WAYS = [("on", "tcx", "auto"), ("off", "clsact", "auto"), ("on", "clsact", "device"), ("off", "tcx", "device")]
OPPOSITES = [("on", "tcx", "device", "ipv4"), ("off", "clsact", "auto", "ipv6")]  # for those of two labs: each setting
assert [set(s) for s in zip(*OPPOSITES)] == [set(v) for v in list(FACTORS.values())[1:]], "OPPOSITES leave out a setting"


def family(combo):
    """Of the cluster and so of its underlay: with both the nodes speak by IPv4."""
    return "ipv6" if combo[4] == "ipv6" else "dual"


def options(combo, family):
    """As Lab() takes them. @family: family(combo), or "dual" for a suite whose pods and nodes need both at once: then the nodes speak with each other by the underlay's."""
    transport, fast_path, attach, encap, underlay = combo
    return {"transport": transport, "family": "dual6" if (family, underlay) == ("dual", "ipv6") else family,
            "set": ["datapath.fastPath=" + fast_path, "datapath.attach=" + attach, "datapath.encap=" + encap]}


def assert_underlay(lab, combo):
    """The outer packets of tunnels are of the family that the combination says, whatever the pods speak."""
    peers = [p for n in ("n1", "n2") for p in lab.node_status(n)["peers"] if p["transport"] in ("vxlan", "geneve")]
    assert {"ipv6" if ":" in p["address"] else "ipv4" for p in peers} <= {combo[4]}, peers
    assert peers or combo[0] in ("direct", "wireguard", "auto")


def name(combo):
    return "-".join((combo[0], "fast" if combo[1] == "on" else "stack", *combo[2:]))


def params(some=SPANNING, full=ALL):
    """@some: what `make test` runs; @full: `make test-full`. The suite takes options(combo, family(combo)), or options(combo, "dual")."""
    return [pytest.param(c, id=name(c)) for c in (full if FULL else some)]


def params_by_transport(*transports, full=ALL):
    """`make test` runs these transports, each in another way; `make test-full` @full. The suite takes options(combo, "dual")."""
    return params([(t, *w) for t, w in zip(transports, itertools.cycle(OPPOSITES))], full)


def params_of_wireguard():
    """The first in `make test`. It makes its outer packets itself, whatever datapath.encap says."""
    return params([("wireguard", *WAYS[0], "ipv4")], [c for c in ALL if c[0] == "wireguard" and c[3] == "auto"])


def settings(way):
    """As Lab(set=...) takes them; the underlay is the suite's affair."""
    return options(("", *way[:3], ""), "dual")["set"]
