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
import threading
import time
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTEST_SUITES = ["cni", "hub", "lab", "wg", "docs", "install"]  # kubernetes comes after them, when its binaries are built
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


def meson_command(build, suites, patience=1):
    args = ["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", "-t", str(patience)]
    for s in suites:
        args += ["--suite", s]
    env = {"ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    return args, os.path.join(ROOT, build, "meson-logs/testlog.junit.xml"), env


def meson(total, build, suites):
    suite(total, "%s %s" % (build, "+".join(suites)), *meson_command(build, suites))


def pytest_command(name, where, tmp, marks=None):
    junit = os.path.join(tmp, name.replace("/", "-").replace(" ", "-") + ".xml")
    args = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", "--junitxml", junit,
            os.path.join("tests", where)]
    return args + (["-m", marks] if marks else []), junit


def pytest(total, name, where, tmp, marks=None, env=None):
    args, junit = pytest_command(name, where, tmp, marks)
    suite(total, name, args, junit, env)


class Lane(threading.Thread):
    """Steps one after the other, beside the suites; @spare: in the CPU time that nobody else wants.

    What a step prints is shown by finish(), which also says how the steps ended."""

    def __init__(self, tmp, steps, spare):
        super().__init__(daemon=True)
        self.tmp, self.steps, self.spare, self.ended = tmp, steps, spare, []
        self.process, self.stopped = None, threading.Event()

    def run(self):
        for name, command, junit, env in self.steps:
            if self.stopped.is_set():
                return
            out = os.path.join(self.tmp, name.replace("/", "-").replace(" ", "-") + ".out")
            start = time.monotonic()
            with open(out, "w", encoding="utf-8") as f:
                self.process = subprocess.Popen(command, cwd=ROOT, stdout=f, stderr=subprocess.STDOUT, env={**os.environ, **env},
                                                start_new_session=True)
                if self.spare:
                    self.yield_to_others(self.process.pid)
                code = self.process.wait()
            self.ended.append((name, code, junit, out, time.monotonic() - start))

    @staticmethod
    def yield_to_others(pid):
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        try:  # where sessions share the CPU evenly, idle counts inside its session only: this one has the least share
            with open("/proc/%d/autogroup" % pid, "w", encoding="ascii") as f:
                f.write("19")
        except OSError:
            pass  # there are no such shares, or it is over already

    def finish(self, total):
        self.join()
        for name, *_ in self.steps[len(self.ended):]:
            total.fail("%s: was not begun" % name)
        for name, code, junit, out, seconds in self.ended:
            with open(out, encoding="utf-8", errors="replace") as f:
                print("== %s\n%s== %s: %s in %.0f s, beside others" % (name, f.read(), name, "ok" if code == 0 else "exit %d" % code,
                                                                    seconds), flush=True)
            if junit:
                judge(total, name, code, junit)
            elif code != 0:
                total.fail("%s: exit code %d" % (name, code))

    def stop(self):
        self.stopped.set()
        if self.is_alive() and self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)  # so that a guest ends, too
        self.join()


def make_step(target):
    return target, ["make", "--no-print-directory", target], None, {}


def tests_step(name, where, tmp):
    return (name, *pytest_command(name, where, tmp), {})


def spare_lane(tmp):
    """Builds, and tests without a clock."""
    return Lane(tmp, [make_step("build-asan"), ("build-asan unit", *meson_command("build-asan", ["unit"], patience=20)), tests_step("policy", "policy", tmp),
                      tests_step("kubernetes binaries", "kubernetes/test_binaries.py", tmp), make_step("build-clang")], spare=True)


def guest_lane(tmp):
    """The guest is one emulated CPU. It has a clock, so it needs one of ours, which the first suites leave idle."""
    return Lane(tmp, [tests_step("vm", "vm", tmp)], spare=False)


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


def run_all(total, tier, tmp):
    spare, guest = spare_lane(tmp), guest_lane(tmp)
    spare.start()
    try:
        meson(total, "build", ["unit"])
        meson(total, "build", ["bpf"])
        guest.start()
        for name in PYTEST_SUITES:
            if name == "lab":
                guest.finish(total)
            pytest(total, name, name, tmp)
        spare.finish(total)
        pytest(total, "kubernetes", "kubernetes", tmp)
        for name in SANITIZED_SUITES:
            pytest(total, name + " under sanitizers", name, tmp, marks=None if tier == "full" else "sanitizers",
                   env={"WEFT_BIN": os.path.join(ROOT, "build-asan/bin")})
    finally:
        for lane in (guest, spare):
            if lane.is_alive():
                lane.stop()


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
        if tier == "check":
            meson(total, "build", ["unit"])
        else:
            run_all(total, tier, tmp)
    for name in total.bad:
        print("FAILED %s" % name)
    print("%d passed, %d failed, %d skipped" % (total.passed, total.failed, total.skipped)
          if total.skipped else "%d passed, %d failed" % (total.passed, total.failed))
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
