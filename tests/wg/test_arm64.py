# SPDX-License-Identifier: Apache-2.0
"""The list of system calls is one for all architectures that have a filter: here it is compiled for the one that no test runs on."""

import os
import subprocess

from nodes import ROOT


def test_system_calls_are_restricted_on_arm64():
    compiler = ["clang", "--target=aarch64-linux-gnu", "-isystem", "/usr/aarch64-linux-gnu/include", "-std=gnu17", "-D_GNU_SOURCE",
                "-I" + os.path.join(ROOT, "src"), "-Wall", "-Wextra", "-Werror"]
    source = os.path.join(ROOT, "src/wg/harden.c")
    subprocess.run([*compiler, "-fsyntax-only", source], check=True)
    seen = subprocess.run([*compiler, "-E", "-P", source], check=True, capture_output=True, text=True).stdout
    assert "allowed_calls[]" in seen and "OUR_ARCH" in seen, "there is no filter"
