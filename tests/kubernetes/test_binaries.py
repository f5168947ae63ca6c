# SPDX-License-Identifier: Apache-2.0
"""By itself, so that the minutes of building can pass beside other suites (tests/run.py)."""

import os

from scripts import BINARIES


def test_kubernetes_is_built(binaries):
    assert os.access(os.path.join(BINARIES, "kube-apiserver"), os.X_OK)
