# SPDX-License-Identifier: Apache-2.0
"""The ways in which the datapath can be set up, for suites that must hold in all of them. `make test` runs a few, in which every
pair of settings occurs (BRIEF, for long suites: each setting, and each pair of fast path and attachment); `make test-full` runs all."""

import itertools

import pytest
from labs import FULL

FACTORS = {"transport": ("vxlan", "direct", "geneve", "wireguard", "auto"), "fastPath": ("on", "off"), "attach": ("tcx", "clsact"), "encap": ("auto", "device"),
           "underlay": ("ipv4", "ipv6")}
SPANNING = [("vxlan", "on", "tcx", "auto", "ipv4"), ("direct", "off", "tcx", "device", "ipv6"), ("geneve", "off", "clsact", "auto", "ipv6"),
            ("wireguard", "on", "clsact", "auto", "ipv6"), ("auto", "on", "tcx", "device", "ipv4"), ("vxlan", "off", "clsact", "device", "ipv6"),
            ("direct", "on", "clsact", "auto", "ipv4"), ("geneve", "on", "tcx", "device", "ipv4"), ("wireguard", "off", "tcx", "device", "ipv4"),
            ("auto", "off", "clsact", "auto", "ipv6")]
BRIEF = SPANNING[:5]


def pairs(combo):
    return set(itertools.combinations(zip(FACTORS, combo), 2))


# Who adds a factor or a value is told here, not by a gap in what is tested.
ALL = list(itertools.product(*FACTORS.values()))
assert set().union(*map(pairs, SPANNING)) == set().union(*map(pairs, ALL)), "SPANNING leaves out a pair of settings"
assert {c[1:3] for c in BRIEF} == {c[1:3] for c in ALL} and set().union(*BRIEF) == set().union(*ALL), "BRIEF leaves out a setting"


# For suites with transports of their own: (fast path, attachment, encapsulation), in which every pair occurs.
WAYS = [("on", "tcx", "auto"), ("off", "clsact", "auto"), ("on", "clsact", "device"), ("off", "tcx", "device")]
OPPOSITES = [("on", "tcx", "device"), ("off", "clsact", "auto")]  # for those of two labs: each setting
assert [set(s) for s in zip(*OPPOSITES)] == [set(FACTORS[f]) for f in ("fastPath", "attach", "encap")], "OPPOSITES leave out a setting"


def family(combo):
    """Of the cluster and so of its underlay: with both the nodes speak by IPv4."""
    return "ipv6" if combo[4] == "ipv6" else "dual"


def options(combo, family):
    """As Lab() takes them. @family: family(combo), or "dual" for a suite that needs both at once."""
    transport, fast_path, attach, encap = combo[:4]
    return {"transport": transport, "family": family,
            "set": ["datapath.fastPath=" + fast_path, "datapath.attach=" + attach, "datapath.encap=" + encap]}


def name(combo):
    return "-".join((combo[0], "fast" if combo[1] == "on" else "stack", *combo[2:]))


def params(some=SPANNING, full=ALL):
    """@some: what `make test` runs; @full: `make test-full`. The suite takes options(combo, family(combo))."""
    return [pytest.param(c, id=name(c)) for c in (full if FULL else some)]


def params_of_both(some=SPANNING):
    """For a suite whose pods need both families, and so nodes with both: options(combo, "dual")."""
    return [pytest.param(c, id=name(c[:4])) for c in ([c for c in ALL if c[4] == "ipv4"] if FULL else some)]


def params_by_transport(*transports):
    """Each of them in another way in `make test`, in every one in `make test-full`. The suite takes options(combo, "dual")."""
    some = itertools.product(transports, WAYS) if FULL else zip(transports, itertools.cycle(OPPOSITES))
    return [pytest.param((t, *w), id=name((t, *w))) for t, w in some]


def settings(way):
    """As Lab(set=...) takes them."""
    return options(("", *way), "dual")["set"]
