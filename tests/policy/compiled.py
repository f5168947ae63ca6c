# SPDX-License-Identifier: Apache-2.0
"""The compiler and the look-up in its maps (build/tests/policy/policy_eval), for tests in Python."""

import json
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("WEFT_BIN", os.path.join(ROOT, "build/bin"))
EVAL = os.path.join(os.path.dirname(BIN), "tests/policy/policy_eval")


class Eval:
    """The compiled side: a process that answers one line for each line."""

    def __init__(self, path=EVAL):
        self.path = path
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("%s ended with %s" % (self.path, self.process.wait()))
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()
