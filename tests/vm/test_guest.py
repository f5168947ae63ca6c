# SPDX-License-Identifier: Apache-2.0
"""The guest itself: it runs the second kernel, and a failure inside is seen outside."""

import guest


def test_guest_runs_debians_kernel():
    status, out = guest.run("uname -r; ip -br link; exit 0")
    assert status == 0 and "6.1.0-" in out and "lo" in out


def test_a_failure_inside_is_seen_outside():
    status, _ = guest.run("exit 3")
    assert status == 3
