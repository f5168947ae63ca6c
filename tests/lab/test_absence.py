# SPDX-License-Identifier: Apache-2.0
"""A node without its agent, for minutes, while the cluster changes: what was there lives on, and the agent catches up on its return."""

import json
import os
import signal
import subprocess
import time

import pytest
from combos import BRIEF, options, params
from labs import FULL, HELPERS, Lab, pod, wait_for

PPS, CONNECTIONS = 1000, 50
CONVERGED = 2  # seconds
TRAFFIC = os.path.join(HELPERS, "lab-traffic")


class Away:
    """n1 has no agent while the block runs: what would start a new one is held still."""

    def __init__(self, lab):
        self.lab, self.runner = lab, lab.pids("n1/runner")

    def __enter__(self):
        for pid in self.runner:
            os.kill(pid, signal.SIGSTOP)
        for pid in self.lab.agents("n1"):
            os.kill(pid, signal.SIGKILL)
        wait_for("no agent on n1", lambda: self.lab.exec("n1", "weft", "status", check=False).returncode != 0)
        return self

    def __exit__(self, *_):
        for pid in self.runner:
            os.kill(pid, signal.SIGCONT)


def churn(lab, until):
    """Pods come and go on n2 until it is time; returns how many did."""
    number = 0
    while number < 3 or time.monotonic() < until:
        name = "churn%d" % number
        lab.apply(pod(name, node="n2"))
        wait_for(name, lambda: any(p["name"] == name and p["phase"] == "Running" for p in lab.status()["pods"]))
        lab.kubectl("delete", "pod", name, "--grace-period=0", "--force")
        number += 1
    return number


def reaches(lab, ips):
    lines = "".join("tcp %s 8080 default/late -\n" % ip for ip in ips)
    return lab.exec("default/client", os.path.join(HELPERS, "lab-probe"), input=lines, check=False).returncode == 0


def away_in(combo):
    """Seconds: ten minutes with each transport, less in the other settings."""
    return 600 if FULL and combo in BRIEF else 15


@pytest.mark.parametrize("combo", params(BRIEF[2:3]))
def test_a_node_lives_without_its_agent(combo, capsys):
    away = away_in(combo)
    with Lab(nodes=2, **options(combo, "dual")) as lab:
        lab.apply(pod("client", node="n1"), pod("server", node="n2"))
        lab.wait_ready()
        address = next(p for p in lab.status()["pods"] if p["name"] == "server")["ips"][0]
        server = lab.popen("default/server", TRAFFIC, "serve", 7000, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        client = None
        try:
            assert server.stdout.readline() == "listening\n"
            client = lab.popen("default/client", TRAFFIC, "run", address, 7000, PPS, CONNECTIONS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert client.stdout.readline() == "running\n"
            with Away(lab):
                until = time.monotonic() + away
                assert lab.weft("node", "add").strip() == "n3"
                lab.apply(pod("late", node="n3"))
                ips = wait_for("the new node's pod", lambda: next((p["ips"] for p in lab.status()["pods"] if p["name"] == "late" and p["phase"] == "Running"), None))
                changed = churn(lab, until)
                assert not reaches(lab, ips), "n1 cannot know a node that came while it had no agent"
            wait_for("an agent on n1", lambda: lab.exec("n1", "weft", "status", check=False).returncode == 0, every=0.01)
            back = time.monotonic()
            wait_for("n1 knows the new node", lambda: reaches(lab, ips), timeout=60, every=0.01)
            took = time.monotonic() - back
            sent, _ = client.communicate(timeout=120)
            served, _ = server.communicate(timeout=120)
        finally:
            for p in (client, server):
                if p:
                    p.kill()
                    p.wait()
        sent, served = json.loads(sent), json.loads(served)
        with capsys.disabled():
            print("\n%d s without an agent, %d pods came and went: client %s; the new node reached %.2f s after the agent answers" % (
                away, changed, json.dumps(sent), took), flush=True)
        assert sent["lost"] - sent["overflow"] - served["overflow"] <= 0
        assert sent["resets"] == 0 and served["tcp_errors"] == 0 and sent["tcp_wrong"] == 0
        assert sent["tcp_received"] == sent["tcp_sent"] > 0
        assert took <= CONVERGED
        assert lab.node_status("n1")["ready"]
