# SPDX-License-Identifier: Apache-2.0
"""The ways in which the datapath can be set up, for suites that must hold in all of them. `make test` runs a few, in which every
pair of settings occurs; `make test-full` runs all."""

import itertools

import pytest
from labs import FULL

FACTORS = {"transport": ("vxlan", "direct"), "fastPath": ("on", "off"), "attach": ("tcx", "clsact"), "encap": ("auto", "device")}
SPANNING = [("vxlan", "on", "tcx", "auto"), ("direct", "off", "tcx", "device"), ("vxlan", "off", "clsact", "auto"), ("direct", "on", "clsact", "auto"), ("vxlan", "on", "clsact", "device")]


def pairs(combo):
    return set(itertools.combinations(zip(FACTORS, combo), 2))


# Who adds a factor or a value is told here, not by a gap in what is tested.
ALL = list(itertools.product(*FACTORS.values()))
assert set().union(*map(pairs, SPANNING)) == set().union(*map(pairs, ALL)), "SPANNING leaves out a pair of settings"


def options(combo):
    """As Lab() takes them."""
    transport, fast_path, attach, encap = combo
    return {"transport": transport, "set": ["datapath.fastPath=" + fast_path, "datapath.attach=" + attach, "datapath.encap=" + encap]}


def params():
    return [pytest.param(c, id="-".join((c[0], "fast" if c[1] == "on" else "stack", *c[2:]))) for c in (ALL if FULL else SPANNING)]
