# SPDX-License-Identifier: Apache-2.0
"""Would a fault be found? Each of mutants.py is built into a policy_eval of its own and must differ from the naive
evaluator within a bounded number of verdicts. test-full takes all of them, otherwise a sample of five."""

import os
import random
import subprocess
import threading

import pytest

import test_differential as differential
from compiled import ROOT
from mutants import MUTANTS

SRC = os.path.join(ROOT, "src/policy")
CC = ["cc", "-std=gnu17", "-O1", "-D_GNU_SOURCE", "-fno-strict-aliasing", "-w", "-I" + os.path.join(ROOT, "src"),
      "-I" + os.path.join(ROOT, "bpf/abi")]
LIMIT = 1_500_000
SECONDS = 600  # for one answer: who takes longer hangs, and is found as well. How long all of them take says nothing
FULL = os.environ.get("WEFT_TEST_TIER") == "full"
CHOSEN = range(len(MUTANTS)) if FULL else sorted(random.Random(os.urandom(4)).sample(range(len(MUTANTS)), 5))


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Every source of the compiler, of what it stands on, and of policy_eval, compiled once."""
    out = tmp_path_factory.mktemp("objects")
    base = [os.path.join(ROOT, "src", d, f) for d, names in (
        ("base", ("alloc", "buf", "file", "htab", "json", "log", "str")), ("net", ("addr",))) for f in (n + ".c" for n in names)]
    mine = [os.path.join(SRC, f) for f in os.listdir(SRC) if f.endswith(".c") and not f.endswith("_test.c")]
    made = {}
    for source in base + mine + [os.path.join(ROOT, "tests/policy/policy_eval.c")]:
        made[source] = str(out / (os.path.basename(source) + ".o"))
        run(CC + ["-c", source, "-o", made[source]])
    return made


def planted(mutant):
    """The source with the fault."""
    name, old, new = mutant
    with open(os.path.join(SRC, name), encoding="utf-8") as f:
        text = f.read()
    assert text.count(old) == 1, "mutants.py: %s: %r is there %d times" % (name, old, text.count(old))
    return text.replace(old, new)


def build(objects, tmp_path, mutant=None):
    """A policy_eval, with one source replaced."""
    objects, exe = dict(objects), str(tmp_path / "policy_eval")
    if mutant:
        source = os.path.join(SRC, mutant[0])
        changed = tmp_path / mutant[0]
        changed.write_text(planted(mutant))
        objects[source] = str(tmp_path / "mutant.o")
        run(CC + ["-c", str(changed), "-o", objects[source]])
    run(["cc", "-o", exe, *objects.values(), "-ljansson"])
    return exe


def ask(compiled, **request):
    watchdog = threading.Timer(SECONDS, compiled.process.kill)
    watchdog.start()
    try:
        return compiled.ask(**request)["verdicts"]
    finally:
        watchdog.cancel()


def found(exe, limit=LIMIT):
    """The number of verdicts until a difference, or None. A mutant that dies, or does not answer, is found as well; one that is slow is asked on."""
    compiled, done, seed = differential.Eval(exe), 0, 1
    try:
        while done < limit:
            rnd = differential.Round(seed)
            seed += 1
            if not differential.whole(rnd.objects):
                continue
            expected = rnd.expected()
            for how in ({"events": rnd.history}, {"objects": rnd.objects}):
                got = ask(compiled, **rnd.request(**how))
                if any(g != e and "?" not in (g, e) for g, e in zip(got, expected)):
                    return done
            done += len(expected)
    except (RuntimeError, BrokenPipeError):
        return done
    finally:
        if compiled.process.poll() is None:
            compiled.close()
    return None


def test_there_are_thirty():
    """All of them, also those that this run does not try."""
    assert len([planted(m) for m in MUTANTS]) >= 30


def test_the_compiler_itself_does_not_differ(objects, tmp_path):
    assert found(build(objects, tmp_path), 50_000) is None, "the compiler as it is differs, or hangs"


@pytest.mark.parametrize("index", CHOSEN)
def test_the_fault_is_found(objects, tmp_path, index):
    assert found(build(objects, tmp_path, MUTANTS[index])) is not None, MUTANTS[index]
