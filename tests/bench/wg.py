#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""weft-wg beside Debian's wireguard-go: both ends on this machine, in namespaces, measured in turns.

    wg.py [--rounds N] [--seconds S] [--no-ladder] [--pings-only] [-o FILE.json]

One TCP stream (cubic), small UDP packets, ping round trips, CPU per gigabyte against the bound that the cipher alone sets,
handshakes a second, memory with 1,000 peers; then the same stream with each technique switched off. Ratios are medians of
the rounds' ratios. Round trips are compared in many short turns with both tunnels up, since other work on the machine comes and goes.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../wg"))

import nodes  # noqa: E402

UDPLOAD = os.path.join(os.path.dirname(nodes.BIN), "tests/udpload")
OFF = ["lanes", "coalesce", "tso,uso", "uso", "vnet_hdr", "udp_gso", "udp_gro", "udp_gso,udp_gro", "mmsg", "batch",
       "vnet_hdr,udp_gso,udp_gro,mmsg,batch,lanes"]


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Tunnel:
    def __init__(self, kind, env=None):
        self.world = nodes.World()
        self.a, self.b = self.world.pair(kind, kind, env_a=env, env_b=env)
        assert self.a.node.ping("10.9.0.2") == 3
        self.server = self.b.node.spawn(["iperf3", "-s"], stdout=subprocess.DEVNULL)
        nodes.wait_for(lambda: "5201" in self.b.node.out("ss", "-Htln"), message="iperf3 listens")

    def iperf(self, *args):
        out = self.a.node.run("iperf3", "-J", "-c", "10.9.0.2", *args, timeout=120).stdout
        return json.loads(out)["end"]

    def pids(self):
        return [self.a.pid(), self.b.pid()]

    def tcp(self, seconds):
        """(Gbit/s, CPU seconds of both engines for each gigabyte)"""
        before = cpu_seconds(self.pids())
        end = self.iperf("-C", "cubic", "-t", seconds)["sum_received"]
        return end["bits_per_second"] / 1e9, (cpu_seconds(self.pids()) - before) / (end["bytes"] / 1e9)

    def udp_at(self, rate):
        """Share of 64-byte packets that arrive at this many a second, and how many a second were really sent."""
        receiver = self.b.node.spawn([UDPLOAD, "recv", "7007", "10"], stdout=subprocess.PIPE, text=True)
        assert receiver.stdout.readline() == "ready\n"
        sent, us = map(int, self.a.node.out(UDPLOAD, "send", "10.9.0.2", "7007", "64", rate, "1").split())
        got = int(receiver.communicate(timeout=20)[0])
        return got / sent, sent / us * 1e6

    def udp_small(self):
        """64-byte packets a second that arrive with less than 1 % loss: the highest of a ladder of rates, each tried twice. A
        rate that the sender does not reach ends it, too."""
        best, rate = 1, 3000
        while rate < 2000000:
            share, real = max(self.udp_at(rate), self.udp_at(rate))
            if share < 0.99:
                break
            best = max(best, real)
            if real < 0.9 * rate:
                break
            rate = int(rate * 1.15)
        return best

    def udp_cpu_us(self, rate=40000):
        """CPU microseconds of both engines for one 64-byte packet at a rate that both kinds carry."""
        before = cpu_seconds(self.pids())
        arrived = self.udp_at(rate)[0] * rate
        return (cpu_seconds(self.pids()) - before) / arrived * 1e6

    def ping_us(self, count):
        """Median round trip: the machine's other work makes outliers that say nothing about the tunnel."""
        out = self.a.node.out("ping", "-n", "-c", count, "-i", "0.001", "10.9.0.2")
        return med([float(x) * 1000 for x in re.findall(r"time=([\d.]+) ms", out)])

    def close(self):
        self.world.close()


def med(values):
    return statistics.median(values)


def steal():
    with open("/proc/stat") as f:
        fields = [int(x) for x in f.readline().split()[1:]]
    return fields[7], sum(fields)


def side_by_side(rounds, seconds):
    rows = {"weft": [], "go": []}
    for i in range(rounds):
        for kind in (("weft", "go") if i % 2 == 0 else ("go", "weft")):
            t = Tunnel(kind)
            try:
                s0, all0 = steal()
                gbit, cpu = t.tcp(seconds)
                row = {"tcp_gbit": gbit, "cpu_s_per_gb": cpu, "udp64_pps": t.udp_small(), "udp64_cpu_us": t.udp_cpu_us()}
                s1, all1 = steal()
                row["steal"] = (s1 - s0) / max(1, all1 - all0)
            finally:
                t.close()
            rows[kind].append(row)
            print("round %d %-4s %5.2f Gbit/s %5.2f CPU-s/GB %7.0f pps of 64 B, %5.2f CPU-us each, load %s" % (
                i + 1, kind, gbit, cpu, row["udp64_pps"], row["udp64_cpu_us"], open("/proc/loadavg").read().split()[0]), flush=True)
    return rows


def pings(turns=60, count=200):
    """Median round trips of each kind's turns, microseconds, and the turns' ratios; "far": weft-wg that does not steer."""
    tunnels = {"weft": Tunnel("weft"), "far": Tunnel("weft", {"WEFT_WG_DISABLE": "steer"}), "go": Tunnel("go")}
    us = {kind: [] for kind in tunnels}
    try:
        for i in range(turns):
            for kind in sorted(tunnels, reverse=i % 2 == 0):
                us[kind].append(tunnels[kind].ping_us(count))
    finally:
        for t in tunnels.values():
            t.close()
    ratios = {kind: sorted(w / g for w, g in zip(us[kind], us["go"])) for kind in ("weft", "far")}
    for kind, what in (("weft", "ping round trip:      "), ("far", "  without steering:    ")):
        print("%s %.2f x (%s); %.2f to %.2f for nine of ten of %d turns; %.1f us against %.1f us" % (
            what, med(ratios[kind]), judged(med(ratios[kind]), 0.4, 0.2, most=True), ratios[kind][turns // 20], ratios[kind][-1 - turns // 20], turns, med(us[kind]), med(us["go"])), flush=True)
    return {"us": us, "ratios": ratios["weft"]}


def judged(value, held, ahead=None, most=False):
    """What is wanted of a figure (at least, or with `most` at most), and whether it is so."""
    good = (lambda wanted: value <= wanted) if most else (lambda wanted: value >= wanted)
    text = "wanted %s %s" % ("<=" if most else ">=", format(held, ","))
    if ahead is not None:
        text += ", ahead %s" % format(ahead, ",")
    return "%s: %s" % (text, "MISSED" if not good(held) else "ahead" if ahead is not None and good(ahead) else "holds")


def crypto_alone():
    """Handshakes a second of a core; nanoseconds to seal and to open a packet of 1420 bytes and a small one, each with its nonce
    and tag, by OpenSSL and (_many) as the engine does it."""
    build = os.path.join(os.path.dirname(nodes.BIN), "src/wg/wg_crypto_bench")
    runs = [json.loads(subprocess.run([build], check=True, capture_output=True, text=True).stdout) for _ in range(3)]
    return {k: med([r[k] for r in runs]) for k in runs[0]}


def memory():
    world = nodes.World()
    try:
        return nodes.memory_of_a_crowd(world)
    finally:
        world.close()


def ladder(rounds, seconds):
    steps = ["", *OFF]
    got = {s: [] for s in steps}
    for _ in range(rounds):
        for s in steps:
            t = Tunnel("weft", {"WEFT_WG_DISABLE": s} if s else None)
            try:
                got[s].append(t.tcp(seconds))
            finally:
                t.close()
    return {s: (med([g for g, _ in v]), med([c for _, c in v])) for s, v in got.items()}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=int, default=2)
    ap.add_argument("--no-ladder", action="store_true")
    ap.add_argument("--pings-only", action="store_true")
    ap.add_argument("-o", "--output")
    opt = ap.parse_args()
    os.nice(-19)  # everything measured is our child: other work on the machine disturbs less
    round_trips = pings()
    if opt.pings_only:
        return
    rows = side_by_side(opt.rounds, opt.seconds)
    ratio = {k: med([w[k] / g[k] for w, g in zip(rows["weft"], rows["go"])]) for k in ("tcp_gbit", "cpu_s_per_gb", "udp64_pps", "udp64_cpu_us")}
    alone = crypto_alone()
    bound = (alone["seal_ns"] + alone["open_ns"]) / 1420  # ns a byte is seconds a gigabyte
    own = (alone["seal_many_ns"] + alone["open_many_ns"]) / 1420
    mine = {k: med([r[k] for r in rows["weft"]]) for k in ratio}
    result = {"kernel": platform.release(), "date": time.strftime("%Y-%m-%d"), "rounds": rows, "pings": round_trips, "ratio": ratio, "median": mine,
              "go_median": {k: med([r[k] for r in rows["go"]]) for k in ratio}, "cipher_bound_s_per_gb": bound, "own_cipher_s_per_gb": own,
              "cpu_over_bound": mine["cpu_s_per_gb"] / bound, "handshakes": alone, "rss_mb_1000_peers": memory()}
    print("TCP, one stream:       %.2f x wireguard-go (%s)" % (ratio["tcp_gbit"], judged(ratio["tcp_gbit"], 3, 6)))
    print("UDP, 64 bytes:         %.2f x (%s)" % (ratio["udp64_pps"], judged(ratio["udp64_pps"], 2, 4)))
    print("UDP, CPU a packet:     %.2f x, %.2f us against %.2f us" % (ratio["udp64_cpu_us"], mine["udp64_cpu_us"], result["go_median"]["udp64_cpu_us"]))
    print("CPU per GB:            %.2f x the cipher alone (%s); %.2f s, bound %.2f s" % (
        result["cpu_over_bound"], judged(result["cpu_over_bound"], 2.0, 1.4, most=True), mine["cpu_s_per_gb"], bound))
    print("own cipher:            %.2f s per GB; 96 bytes, sealed and opened: %.0f ns, OpenSSL %.0f ns" % (
        own, alone["small_seal_many_ns"] + alone["small_open_many_ns"], alone["small_seal_ns"] + alone["small_open_ns"]))
    for side in ("responder", "initiator"):
        rate, together = alone[side + "_per_s"], alone[side + "_many_per_s"]
        print("handshakes:            %.0f/s a core as %s (%s), %.0f/s many together" % (rate, side, judged(rate, 3000, 5000), together))
    print("memory, 1,000 peers:   %.1f MB (%s)" % (result["rss_mb_1000_peers"], judged(result["rss_mb_1000_peers"], 15, most=True)))
    if not opt.no_ladder:
        result["ladder"] = ladder(max(1, opt.rounds // 2), opt.seconds)
        print("without                                        Gbit/s   CPU-s/GB")
        for s, (gbit, cpu) in result["ladder"].items():
            print("%-45s %7.2f %10.2f" % (s or "(all on)", gbit, cpu))
    if opt.output:
        with open(opt.output, "w") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
