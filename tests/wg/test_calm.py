# SPDX-License-Identifier: Apache-2.0
"""Packets that come one by one are handled on the processor where they come, many are spread: nothing is lost in between."""

import threading

from nodes import transfer_tcp, wait_for

METRICS = ["--metrics", "unix:/run/metrics", "--workers", "2"]


def test_calm_traffic_is_handled_near(world):
    ea, eb = world.pair(extra_a=METRICS, extra_b=METRICS)
    ping = lambda: ea.node.ping("10.9.0.2", count=10, interval=0.01)
    wait_for(lambda: ping() == 10 and ea.metric("near") == 1 and eb.metric("near") == 1, message="near")
    changes = ea.metric("near_changes_total")
    pings = []
    t = threading.Thread(target=lambda: pings.append(ea.node.ping("fd09::2", count=300, interval=0.01)))
    t.start()
    transfer_tcp(ea.node, eb.node, "10.9.0.2", 64 << 20)
    t.join()
    assert pings == [300]
    assert ea.metric("near_changes_total") > changes, "a stream is not calm"


def test_an_engine_that_was_killed_near_leaves_nothing(world):
    """The program stays with an interface that outlives the engine: the next one takes it away."""
    extra = METRICS + ["--persist", "--state-dir", "/run/state"]
    ea, eb = world.pair(extra_a=extra, extra_b=METRICS)
    wait_for(lambda: ea.node.ping("10.9.0.2", count=10, interval=0.01) == 10 and ea.metric("near") == 1, message="near")
    ea.kill()
    ea.start(extra=["--disable", "steer"])
    wait_for(lambda: ea.node.ping("10.9.0.2", count=1, wait=1) == 1, message="a new session")
    assert ea.node.ping("fd09::2", count=50, interval=0.01) == 50 and ea.metric("near") == 0
    transfer_tcp(ea.node, eb.node, "10.9.0.2")
