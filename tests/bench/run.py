#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: paths side by side in one run. Rounds are interleaved and every second one goes backwards; the figures
that count are medians of per-round ratios to the bare veth pair. Pinned: servers and ping-pong clients on CPU 1 (the
path's cost without wake-ups between cores), the stream's client on CPU 0. Prints a Markdown table for docs/performance.md.

Then bulk, two paths at a time in many short turns: megabytes that are answered one by one, both ends on CPU 1, where what a path costs
a byte is all there is, as it is with exchanges; and streams, which swing with where their softirqs come to run, how often a CPU has to be
woken and how much is on the way, by far more than paths differ.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import paths

CLIENT_CPU = {"rr": "1", "crr": "1", "bulk": "1", "stream": "0"}
# A path, what it is compared with in many short turns, and the wanted ratio.
PAIRS = [("weft-node", "veth", 0.95), ("weft-direct", "veth", 0.88), ("weft-vxlan", "veth", 0.52), ("weft-wireguard", "weft-wg", 0.9)]
# Of the bare veth pair's rate in the same round.
GOALS = {("weft-node", "rr"): 0.90, ("weft-direct", "rr"): 0.80, ("weft-vxlan", "rr"): 0.56, ("weft-node", "crr"): 0.87, ("weft-direct", "crr"): 0.78, ("weft-vxlan", "crr"): 0.56}
OTHER = "-other"
BULK = 1 << 20  # bytes


def cpu_times():
    with open("/proc/stat", encoding="ascii") as f:
        return [int(x) for x in f.readline().split()[1:9]]


def busy(times):
    user, nice, system, _, _, irq, softirq, _ = times
    return (user + nice + system + irq + softirq) / 100


def in_client(path, mode, *command, timeout=60):
    full = [*path.client(), *(paths.PINNED if mode in ("stream", "bulk") else paths.REAL_TIME), CLIENT_CPU[mode], *command]
    done = subprocess.run(full, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        sys.exit("%s: %s: %s" % (path.name, " ".join(full), done.stderr.strip() or done.stdout.strip()[-400:]))
    return json.loads(done.stdout)


def measure(path, mode, seconds):
    """(rate, p50 in microseconds, CPU seconds a unit); the unit of a stream and of bulk is a gigabyte, else a million exchanges."""
    if mode != "stream":
        r = in_client(path, mode, os.path.join(paths.HELPERS, "netbench"), mode, path.address, str(paths.SERVER_PORT), str(seconds))
        if mode == "bulk":
            return r["rate"] * BULK * 8 / 1e9, r["p50_us"], r["cpu_s"] / (r["rate"] * seconds * BULK / 1e9)
        return r["rate"], r["p50_us"], r["cpu_s"] / (r["rate"] * seconds / 1e6)
    before = cpu_times()
    r = in_client(path, mode, "iperf3", "-J", "-C", "cubic", "-c", path.address, "-p", str(paths.IPERF_PORT), "-t", str(max(1, round(2 * seconds))))
    used = busy(cpu_times()) - busy(before)
    end = r["end"]["sum_received"]
    return end["bits_per_second"] / 1e9, 0.0, used / (end["bytes"] / 1e9)


def wait_for_servers(path):
    probe = [*path.client(), os.path.join(paths.HELPERS, "netbench"), "rr", path.address, str(paths.SERVER_PORT), "0.01"]
    for _ in range(100):
        if subprocess.run(probe, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    sys.exit("%s: the server does not answer at %s" % (path.name, path.address))


def rounds(chosen, modes, count, seconds):
    results = {}
    for r in range(count):
        before = cpu_times()
        for path in chosen[::-1] if r % 2 else chosen:
            for mode in modes:
                results.setdefault((path.name, mode), []).append(measure(path, mode, seconds))
        spent = [b - a for a, b in zip(before, cpu_times())]
        steal = 100 * spent[7] / max(sum(spent), 1)
        print("round %d of %d: load %.2f, stolen %.1f %%" % (r + 1, count, os.getloadavg()[0], steal), file=sys.stderr, flush=True)
    return results


def table(chosen, results):
    median = statistics.median
    print("%s, Linux %s, %d CPUs\n" % (time.strftime("%Y-%m-%d"), platform.release(), os.cpu_count()))
    print("| path | exchanges/s | × veth | p50 µs | connections/s | × veth | Gbit/s | × veth | CPU s/GB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for path in chosen:
        cells = [path.name]
        for mode in ("rr", "crr", "stream"):
            mine, base = results.get((path.name, mode)), results.get(("veth", mode))
            if not mine:
                cells += ["–"] * (3 if mode != "crr" else 2)
                continue
            ratios = [a[0] / b[0] for a, b in zip(mine, base)]
            cells.append("{:,.0f}".format(median(m[0] for m in mine)) if mode != "stream" else "%.1f" % median(m[0] for m in mine))
            cells.append("%.2f (%.2f–%.2f)" % (median(ratios), min(ratios), max(ratios)))
            if mode == "rr":
                cells.append("%.1f" % median(m[1] for m in mine))
            elif mode == "stream":
                cells.append("%.2f" % median(m[2] for m in mine))
        print("| %s |" % " | ".join(cells))


def verdict_of(ratio, wanted):
    return ", wanted >= %.2f: %s" % (wanted, "holds" if ratio >= wanted else "MISSED")


def judge(results):
    for (path, mode), wanted in GOALS.items():
        if (path, mode) in results:
            ratio = statistics.median(a[0] / b[0] for a, b in zip(results[path, mode], results["veth", mode]))
            print("%s / veth, %s: %.3f%s" % (path, mode, ratio, verdict_of(ratio, wanted)))


def with_other_build(chosen, build):
    """After each path of Weft the same one of the other build."""
    return [p for path in chosen for p in ([path, path.of_build(build, path.name + OTHER)] if isinstance(path, paths.WeftLab) else [path])]


def compare_builds(chosen, results):
    """What this build does more than the other: the median of the rounds' ratios, and how many rounds say so."""
    for path in chosen:
        for mode in ("rr", "crr", "stream"):
            mine, other = results.get((path.name, mode)), results.get((path.name + OTHER, mode))
            if mine and other:
                ratios = [a[0] / b[0] for a, b in zip(mine, other)]
                print("%s %s, this build / the other: %.3f (more in %d of %d rounds)" % (
                    path.name, mode, statistics.median(ratios), sum(r > 1 for r in ratios), len(ratios)))


def compare(mine, other, wanted, turns):
    """Half a second of bulk and a second of stream in turns: what else the machine does comes and goes."""
    for how in ("bulk", "stream"):
        got = {mine: [], other: []}
        for i in range(turns):
            for path in (other, mine) if i % 2 else (mine, other):
                got[path].append(measure(path, how, 0.5))
        for what, column in (("Gbit/s", 0), ("CPU s/GB", 2)):
            ratios = sorted(a[column] / b[column] for a, b in zip(got[mine], got[other]))
            median = statistics.median(ratios)
            verdict = verdict_of(median, wanted) if column == 0 else ""
            print("%s / %s, %s, %s: %.2f (%.2f to %.2f for nine of ten of %d turns)%s" % (
                mine.name, other.name, how, what, median, ratios[turns // 20],
                ratios[-1 - turns // 20], turns, verdict), flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--seconds", type=float, default=0.7)
    ap.add_argument("--modes", default="rr,crr,stream")
    ap.add_argument("--turns", type=int, default=40, help="of each pair of paths that are compared with each other")
    ap.add_argument("--beside", metavar="BIN", help="measure Weft's paths also as another build makes them (its build/bin), and compare in each round")
    ap.add_argument("path", nargs="*", help="names of paths; all without (the bare veth pair is always measured)")
    opt = ap.parse_args()
    catalogue = paths.catalogue()
    unknown = set(opt.path) - {p.name for p in catalogue}
    if unknown:
        ap.error("no path is named %s: there are %s" % (", ".join(sorted(unknown)), ", ".join(p.name for p in catalogue)))
    chosen = [p for p in catalogue if not opt.path or p.name in [*opt.path, "veth"]]
    if opt.beside:
        chosen = with_other_build(chosen, opt.beside)
    try:
        for path in chosen:
            path.build()
            path.serve()
            wait_for_servers(path)
        if opt.rounds:
            results = rounds(chosen, opt.modes.split(","), opt.rounds, opt.seconds)
            table(chosen, results)
            judge(results)
            if opt.beside:
                compare_builds(chosen, results)
        built = {p.name: p for p in chosen}
        for mine, other, wanted in PAIRS:
            if opt.turns and mine in built and other in built:
                compare(built[mine], built[other], wanted, opt.turns)
    finally:
        for path in chosen:
            path.close()


if __name__ == "__main__":
    main()
