# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import nodes  # noqa: E402


@pytest.fixture
def world():
    w = nodes.World()
    yield w
    leaks = w.leaks()
    w.close()
    assert not leaks, "W9: not encrypted on a wire: %s" % leaks[:3]
