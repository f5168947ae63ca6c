# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitizers: runs also against the build with sanitizers")


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0 and items:
        raise pytest.UsageError("labs need root")
