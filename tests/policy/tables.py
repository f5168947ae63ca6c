# SPDX-License-Identifier: Apache-2.0
"""Truth tables that others computed.

WEFT_VECTORS names their directory (netpol/, cnp/); by default it lies beside the tree. Without them the tests are skipped,
except where CI is "true": there it is an error.
"""

import json
import os

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VECTORS = os.environ.get("WEFT_VECTORS") or os.path.join(os.path.dirname(ROOT), "shared", "vectors")


def load(name):
    """A file of the tables: a list of its lines if it ends in "l"."""
    path = os.path.join(VECTORS, name)
    if not os.path.exists(path):
        missing = "truth tables not found: %s (WEFT_VECTORS names their directory)" % path
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f] if name.endswith("l") else json.load(f)
