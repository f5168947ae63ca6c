#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes: run.py [--seconds N] [--minimize] BUILD [TARGET…]

Each target starts from corpus/TARGET of the tree, and keeps what it finds in BUILD/corpus/TARGET. An input that fails is
written to BUILD/failed/TARGET-…; it belongs into the tree's corpus together with the fix. --minimize copies the fewest
small inputs that reach what BUILD/corpus reaches beyond the tree's into the tree.
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LIMITS = ["-timeout=10", "-rss_limit_mb=1024", "-close_fd_mask=0"]
LARGEST_KEPT = 2048
MOST_KEPT = 3000


def names(build):
    return sorted(os.path.basename(p)[len("fuzz-"):] for p in glob.glob(os.path.join(build, "tests/fuzz/fuzz-*"))
                  if os.access(p, os.X_OK) and os.path.isfile(p))


def directories(build, name):
    found = os.path.join(build, "corpus", name)
    failed = os.path.join(build, "failed")
    os.makedirs(found, exist_ok=True)
    os.makedirs(failed, exist_ok=True)
    return os.path.join(HERE, "corpus", name), found, os.path.join(failed, name + "-")


def command(build, name, *more):
    args = ["nice", "-n", "19", os.path.join(build, "tests/fuzz/fuzz-" + name), *LIMITS, *more]
    words = os.path.join(HERE, "dict", name + ".dict")
    return args + (["-dict=" + words] if os.path.exists(words) else [])


def run(args):
    # what targets write to memory-backed files goes with this directory, also after a crash
    with tempfile.TemporaryDirectory(prefix="weft-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as tmp:
        return subprocess.run(args, env={**os.environ, "WEFT_FUZZ_DIR": tmp, "UBSAN_OPTIONS": "print_stacktrace=1"},
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", check=False)


def fuzz(build, name, seconds):
    seeds, found, failed = directories(build, name)
    result = run(command(build, name, "-max_total_time=%d" % seconds, "-print_final_stats=1", "-max_len=8192",
                         "-artifact_prefix=" + failed, found, seeds))
    stats = dict(line[len("stat::"):].split(":", 1) for line in result.stderr.splitlines() if line.startswith("stat::"))
    print("%-16s %s, %s runs, corpus %d" % (name, "ok" if result.returncode == 0 else "FAILED",
                                            stats.get("number_of_executed_units", "?").strip(), len(os.listdir(found))),
          flush=True)
    if result.returncode != 0:
        print(result.stderr[-6000:], flush=True)
    return result.returncode == 0


def minimize(build, name):
    seeds, found, _ = directories(build, name)
    with tempfile.TemporaryDirectory() as tmp:
        for directory in (seeds, found):
            for path in glob.glob(os.path.join(directory, "*")):
                if directory == seeds or os.path.getsize(path) <= LARGEST_KEPT:
                    shutil.copy(path, os.path.join(tmp, os.path.basename(path)))
        args = command(build, name, "-merge=1", seeds, tmp)
        before = set(os.listdir(seeds))
        run(args).check_returncode()
        new = sorted((os.path.join(seeds, n) for n in set(os.listdir(seeds)) - before), key=os.path.getsize)
        total = 0
        for path in new:
            total += os.path.getsize(path)
            if total > MOST_KEPT:
                os.unlink(path)
        kept = sum(os.path.exists(p) for p in new)
    print("%-16s %d inputs, %d of them new" % (name, len(os.listdir(seeds)), kept))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--minimize", action="store_true", help="take what was found into the tree")
    parser.add_argument("build")
    parser.add_argument("target", nargs="*", help="all when none is named")
    args = parser.parse_args()
    known = names(args.build)
    for name in args.target:
        if name not in known:
            sys.exit("run.py: no target %r; expected one of %s" % (name, ", ".join(known)))
    good = True
    for name in args.target or known:
        if args.minimize:
            minimize(args.build, name)
        else:
            good = fuzz(args.build, name, args.seconds) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
