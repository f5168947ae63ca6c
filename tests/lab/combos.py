# SPDX-License-Identifier: Apache-2.0
"""The ways in which the datapath can be set up, for suites that must hold in all of them. `make test` runs a few, in which every
pair of settings occurs (BRIEF, for long suites: each setting, and each pair of fast path and attachment); `make test-full` runs all."""

import itertools

import pytest
from labs import FULL

FACTORS = {"transport": ("vxlan", "direct", "geneve", "wireguard", "auto"), "fastPath": ("on", "off"), "attach": ("tcx", "clsact"), "encap": ("auto", "device")}
SPANNING = [("vxlan", "on", "tcx", "auto"), ("direct", "off", "tcx", "device"), ("geneve", "off", "clsact", "auto"), ("wireguard", "on", "clsact", "auto"),
            ("auto", "on", "tcx", "device"), ("vxlan", "off", "clsact", "device"), ("direct", "on", "clsact", "auto"), ("geneve", "on", "tcx", "device"),
            ("wireguard", "off", "tcx", "device"), ("auto", "off", "clsact", "auto")]
BRIEF = SPANNING[:5]
# Suites that can do with one family have an IPv6 underlay here (`family` of options()).
IPV6 = {"geneve", "wireguard"}


def pairs(combo):
    return set(itertools.combinations(zip(FACTORS, combo), 2))


# Who adds a factor or a value is told here, not by a gap in what is tested.
ALL = list(itertools.product(*FACTORS.values()))
assert set().union(*map(pairs, SPANNING)) == set().union(*map(pairs, ALL)), "SPANNING leaves out a pair of settings"
assert {c[1:3] for c in BRIEF} == {c[1:3] for c in ALL} and set().union(*BRIEF) == set().union(*ALL), "BRIEF leaves out a setting"


# For suites with transports of their own: (fast path, attachment, encapsulation), in which every pair occurs.
WAYS = [("on", "tcx", "auto"), ("off", "clsact", "auto"), ("on", "clsact", "device"), ("off", "tcx", "device")]


def family(combo):
    """Of the cluster and its underlay, for a suite that does not need both at once."""
    return "ipv6" if combo[0] in IPV6 else "dual"


def options(combo, family="dual"):
    """As Lab() takes them."""
    transport, fast_path, attach, encap = combo
    return {"transport": transport, "family": family,
            "set": ["datapath.fastPath=" + fast_path, "datapath.attach=" + attach, "datapath.encap=" + encap]}


def params(some=SPANNING, full=ALL):
    """@some: what `make test` runs; @full: `make test-full`."""
    return [pytest.param(c, id="-".join((c[0], "fast" if c[1] == "on" else "stack", *c[2:]))) for c in (full if FULL else some)]


def ways():
    """One of them in `make test`, as labs have it."""
    return [pytest.param(w, id="-".join(("fast" if w[0] == "on" else "stack", *w[1:]))) for w in (WAYS if FULL else WAYS[:1])]


def settings(way):
    """As Lab(set=...) takes them."""
    return options(("", *way))["set"]
