#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the suites of a tier, shows their progress, and ends with one line: N passed, N failed.

Tiers: check (unit, property, corpora), test (everything CI runs), full (the same at full sizes).
Each suite is a command whose result is read from the JUnit file that it writes; a suite that ends badly without
having said so in that file counts as one failure, so nothing can vanish.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTEST_SUITES = ["policy", "cni", "hub", "lab", "wg", "docs", "install", "kubernetes"]
# The guest is one emulated CPU: it runs beside the first of those, which leave one idle.
BESIDE = "vm"
BESIDE_UNTIL = "lab"
MESSAGE_MAX = 600  # of a failure, in the summary at the end
# Suites whose tests marked `sanitizers` (in test-full: all of them) run once more against the build with sanitizers.
SANITIZED_SUITES = ["cni", "hub", "lab"]


class Total:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.bad = []

    def add_junit(self, suite, path):
        """Adds a JUnit file; returns whether it was there and held any case."""
        try:
            root = ET.parse(path).getroot()
        except (OSError, ET.ParseError):
            return False
        cases = list(root.iter("testcase"))
        for case in cases:
            name = "%s: %s %s" % (suite, case.get("classname", ""), case.get("name", ""))
            bad = next((b for b in (case.find("failure"), case.find("error")) if b is not None), None)
            if bad is not None:
                self.failed += 1
                self.bad.append("%s: %s" % (name, " ".join(bad.get("message", "").split())[:MESSAGE_MAX]))
            elif case.find("skipped") is not None:
                self.skipped += 1
                print("skipped: %s: %s" % (name, case.find("skipped").get("message", "")))
            else:
                self.passed += 1
        return bool(cases)

    def fail(self, what):
        self.failed += 1
        self.bad.append(what)


def run(name, command, env=None):
    print("== %s" % name, flush=True)
    start = time.monotonic()
    code = subprocess.call(command, cwd=ROOT, env={**os.environ, **(env or {})})
    print("== %s: %s in %.0f s" % (name, "ok" if code == 0 else "exit %d" % code, time.monotonic() - start), flush=True)
    return code


def suite(total, name, command, junit, env=None):
    if os.path.exists(junit):
        os.unlink(junit)
    judge(total, name, run(name, command, env), junit)


def judge(total, name, code, junit):
    failed_before = total.failed
    if not total.add_junit(name, junit):
        total.fail("%s: ended with exit code %d and no result" % (name, code))
    elif code != 0 and total.failed == failed_before:
        total.fail("%s: exit code %d though no test failed" % (name, code))


def meson(total, build, suites):
    args = ["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs"]
    for s in suites:
        args += ["--suite", s]
    env = {"ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    suite(total, "%s %s" % (build, "+".join(suites)), args, os.path.join(ROOT, build, "meson-logs/testlog.junit.xml"), env)


def pytest_command(name, where, tmp, marks=None):
    junit = os.path.join(tmp, name.replace("/", "-").replace(" ", "-") + ".xml")
    args = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", "--junitxml", junit,
            os.path.join("tests", where)]
    return args + (["-m", marks] if marks else []), junit


def pytest(total, name, where, tmp, marks=None, env=None):
    args, junit = pytest_command(name, where, tmp, marks)
    suite(total, name, args, junit, env)


class Beside:
    """A suite that runs beside others; what it prints is shown when it has ended."""

    def __init__(self, name, tmp):
        command, self.junit = pytest_command(name, name, tmp)
        self.name, self.start = name, time.monotonic()
        self.out = open(os.path.join(tmp, name + ".out"), "w+", encoding="utf-8", errors="replace")
        print("== %s begins, beside what follows" % name, flush=True)
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self.out, stderr=subprocess.STDOUT)

    def finish(self, total):
        code = self.process.wait()
        self.out.seek(0)
        print("== %s\n%s== %s: %s in %.0f s" % (self.name, self.out.read(), self.name, "ok" if code == 0 else "exit %d" % code,
                                               time.monotonic() - self.start), flush=True)
        self.out.close()
        judge(total, self.name, code, self.junit)


def pytest_suites(total, tmp):
    beside = Beside(BESIDE, tmp)
    try:
        for name in PYTEST_SUITES:
            if name == BESIDE_UNTIL:
                beside.finish(total)
            pytest(total, name, name, tmp)
    finally:
        if beside.process.poll() is None:
            beside.process.send_signal(signal.SIGINT)  # so that its guest ends, too
            beside.process.wait()


def adopt_orphans():
    """Goes on in a child; this process buries what the labs leave behind (their daemons have no other parent).

    Init would do it, but some look once a second only, and `weft lab down` waits until its dead are buried."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("run.py: cannot adopt orphans: %s" % os.strerror(ctypes.get_errno()))
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the child as well, and its end is waited for
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, number))
    while True:
        pid, status = os.wait()
        if pid == child:
            sys.exit(os.waitstatus_to_exitcode(status))


def main():
    tier = sys.argv[1] if len(sys.argv) > 1 else "test"
    if tier not in ("check", "test", "full"):
        sys.exit("run.py: tier %r: expected check, test or full" % tier)
    if tier != "check" and os.geteuid() != 0:
        sys.exit("run.py: the lab needs namespaces: run as root (sudo make test)")
    adopt_orphans()
    total = Total()
    os.environ["WEFT_TEST_TIER"] = tier
    with tempfile.TemporaryDirectory(prefix="weft-tests-") as tmp:
        meson(total, "build", ["unit"])
        if tier != "check":
            meson(total, "build-asan", ["unit"])
            meson(total, "build", ["bpf"])
            pytest_suites(total, tmp)
            for name in SANITIZED_SUITES:
                pytest(total, name + " under sanitizers", name, tmp, marks=None if tier == "full" else "sanitizers",
                       env={"WEFT_BIN": os.path.join(ROOT, "build-asan/bin")})
    for name in total.bad:
        print("FAILED %s" % name)
    print("%d passed, %d failed, %d skipped" % (total.passed, total.failed, total.skipped)
          if total.skipped else "%d passed, %d failed" % (total.passed, total.failed))
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
