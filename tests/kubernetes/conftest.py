# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from scripts import BINARIES, script  # noqa: E402


@pytest.fixture(scope="session")
def binaries():
    """Built once a machine, from Debian's source package."""
    done = script("build.sh", BINARIES, BINARIES + "-src", env=dict(os.environ), timeout=5000)
    assert done.returncode == 0


def pytest_collection_modifyitems(config, items):
    """Takes out what a cluster leaves out in this tier (LEFT_OUT of test_kubernetes.py)."""
    def is_left_out(item):
        left_out = getattr(item.module, "LEFT_OUT", {})
        return "cluster" in getattr(item, "fixturenames", ()) and item.originalname in left_out.get(item.callspec.params.get("cluster"), ())
    out = [i for i in items if is_left_out(i)]
    items[:] = [i for i in items if i not in out]
    if out:
        config.hook.pytest_deselected(items=out)
