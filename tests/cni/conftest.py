# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cninode import CniNode  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitizers: runs also against the build with sanitizers")


@pytest.fixture
def node():
    n = CniNode()
    try:
        yield n.start()
    finally:
        n.stop()


@pytest.fixture
def make_node():
    made = []

    def make(**kw):
        made.append(CniNode(**kw))
        return made[-1]
    try:
        yield make
    finally:
        for n in made:
            n.stop()
