# SPDX-License-Identifier: Apache-2.0
"""All that passes a lab's fabric, and what of it is pods' in plaintext. What matters is told apart by a mark in the payload and by addresses."""

import json
import subprocess

from labs import run
from scapy.all import IP, UDP, Ether, IPv6, Raw

CANARY = b"weft-plaintext-canary"
POD_RANGES = "net 10.244.0.0/16 or net fd00:244::/48"
# What repeats itself in the payload of pings: 16 bytes at most.
PATTERN = CANARY[:16]


def mac(lab, where, link="eth0"):
    return json.loads(lab.exec(where, "ip", "-j", "link", "show", link).stdout)[0]["address"]


def bridge(lab):
    return run(*lab.fabric("ip", "-br", "link", "show", "type", "bridge")).stdout.split()[0]


def frame(src, dst, to="ff:ff:ff:ff:ff:ff"):
    """A packet between pods, as it would be on the fabric in plaintext."""
    ip = IPv6(src=src, dst=dst) if ":" in src else IP(src=src, dst=dst)
    return Ether(src="02:00:00:00:00:77", dst=to) / ip / UDP(sport=1, dport=2) / Raw(CANARY)


def talk(lab, source, address, interval="0.02"):
    """Pings that carry the mark, until they are ended."""
    return lab.popen(source, "ping", "-q", "-i", interval, "-s", 100, "-p", PATTERN.hex(), address, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)


class Capture:
    def __init__(self, lab, path):
        self.path = str(path)
        self.process = subprocess.Popen(lab.fabric("tcpdump", "-U", "-n", "-B", "65536", "-i", bridge(lab), "-w", self.path, "not tcp port 6443"),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while "listening on" not in self.process.stderr.readline():
            assert self.process.poll() is None

    def lines(self, expression):
        return run("tcpdump", "-n", "-r", self.path, expression, check=False).stdout.splitlines()

    def leaks(self):
        """Packets with a pod's address, and how often the mark is there."""
        with open(self.path, "rb") as f:
            return self.lines(POD_RANGES), f.read().count(PATTERN)

    def stop(self):
        """Returns how many packets the kernel could not give to us: what we have not seen we cannot vouch for."""
        self.process.terminate()
        said = self.process.communicate(timeout=60)[1]
        return int(next(line.split()[0] for line in said.splitlines() if "dropped by kernel" in line))
