# SPDX-License-Identifier: Apache-2.0
"""Truth tables that are not ours, and how real packets are held against them."""

import contextlib
import os
import sys

from labs import HELPERS, ROOT, running

sys.path.append(os.path.join(ROOT, "tests", "policy"))
from tables import load  # noqa: E402, F401: for those that use this file

NO_ANSWER_MS = 700
NO_ANSWER = "no answer"


@contextlib.contextmanager
def serving_sctp(lab, ports):
    """{"NAMESPACE/POD": [port, …]}: they answer INITs while this lasts."""
    with contextlib.ExitStack() as stack:
        for where, numbers in ports.items():
            stack.enter_context(running(lab, where, os.path.join(HELPERS, "lab-sctp"), *numbers, says="ready"))
        yield


def ask(lab, source, lines, patience_ms=NO_ANSWER_MS):
    """All lines (as lab-probe takes them) from one pod at once. Return: {line: None if it was answered, else why not}"""
    done = lab.exec(source, os.path.join(HELPERS, "lab-probe"), patience_ms, input="\n".join(lines) + "\n", check=False)
    assert done.returncode in (0, 1) and "\nok " in "\n" + done.stdout, done.stdout + done.stderr
    found = dict.fromkeys(lines)
    for failure in (line[5:] for line in done.stdout.splitlines() if line.startswith("fail ")):
        line, _, why = failure.partition(": ")
        assert line in found, failure
        found[line] = why
    return found
