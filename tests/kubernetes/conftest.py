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
