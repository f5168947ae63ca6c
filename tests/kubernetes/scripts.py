# SPDX-License-Identifier: Apache-2.0
"""The shell scripts of this directory, as its tests call them."""

import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
BINARIES = os.environ.get("K8SBIN", "/var/cache/weft-tests/k8s")


def script(name, *args, env, timeout):
    done = subprocess.run([os.path.join(HERE, name), *args], env=env, timeout=timeout, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    return done
