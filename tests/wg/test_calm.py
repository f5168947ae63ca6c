# SPDX-License-Identifier: Apache-2.0
"""Packets that come one by one are handled on the processor where they come, many are spread: nothing is lost in between."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time

from nodes import transfer_tcp, wait_for

METRICS = ["--metrics", "unix:/run/metrics", "--workers", "2"]


def datagrams(ea, eb):
    """(a socket that sends, the one that receives) through the tunnel"""
    rx = eb.node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    rx.bind(("10.9.0.2", 6000))
    rx.settimeout(20)
    tx = ea.node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tx.connect(("10.9.0.2", 6000))
    return tx, rx


@contextlib.contextmanager
def crowd(cpu):
    """Three who never rest on that processor: whoever else runs there has to wait for a turn."""
    busy = [subprocess.Popen(["taskset", "-c", str(cpu), "sh", "-c", "while :; do :; done"]) for _ in range(3)]
    try:
        yield
    finally:
        for b in busy:
            b.kill()
            b.wait()


def both(rx):
    return [int(rx.recv(100)) for _ in range(2)]


def rounds_in_order(play):
    """play(number) sends two datagrams of a flow, and returns them as they came."""
    for n in range(3):
        assert play(n) == [0, 1], "round %d" % n
        time.sleep(1)  # calm that has lasted comes back soon


def test_calm_traffic_is_handled_near(world):
    ea, eb = world.pair(extra_a=METRICS, extra_b=METRICS)
    ping = lambda: ea.node.ping("10.9.0.2", count=10, interval=0.01)
    wait_for(lambda: ping() == 10 and ea.metric("near") == 1 and eb.metric("near") == 1, timeout=60, message="near")
    changes = ea.metric("near_changes_total")
    pings = []
    t = threading.Thread(target=lambda: pings.append(ea.node.ping("fd09::2", count=300, interval=0.01)))
    t.start()
    transfer_tcp(ea.node, eb.node, "10.9.0.2", 64 << 20)
    t.join()
    assert pings == [300]
    assert ea.metric("near_changes_total") > changes, "a stream is not calm"


def test_a_sender_that_moves_in_calm_keeps_its_order(world):
    """The worker of the processor that it leaves has to wait for it, the other one has not."""
    ea, eb = world.pair(extra_a=METRICS, extra_b=METRICS)
    assert ea.node.ping("10.9.0.2") == 3
    tx, rx = datagrams(ea, eb)
    cpus = sorted(os.sched_getaffinity(0))
    near = lambda: (tx.send(b"calm"), rx.recv(100), ea.metric("near"))[2]

    def play(n):
        here, there = cpus[n % 2], cpus[1 - n % 2]
        wait_for(near, timeout=60, interval=0.06, message="calm")
        with crowd(here):
            try:
                for i in range(2):  # more than two may end calm in between
                    os.sched_setaffinity(0, {there if i else here})
                    tx.send(b"%d" % i)
            finally:
                os.sched_setaffinity(0, cpus)
            return both(rx)
    rounds_in_order(play)
    rx.close()
    tx.close()


def tasks(engine):
    return [int(t) for t in os.listdir("/proc/%d/task" % engine.pid())]


def test_a_remote_that_moves_in_calm_keeps_its_order(world):
    """Its datagrams begin to come on another processor, while the worker of the first one waits for its turn."""
    ea, eb = world.pair(extra_a=["--metrics", "unix:/run/metrics", "--workers", "1"], extra_b=METRICS)
    assert ea.node.ping("10.9.0.2") == 3
    tx, rx = datagrams(ea, eb)
    cpus = sorted(os.sched_getaffinity(0))
    near = lambda: (tx.send(b"calm"), rx.recv(100), eb.metric("near"))[2]

    def send(text, cpu):
        for task in tasks(ea):
            os.sched_setaffinity(task, {cpu})
        sent = ea.metric("udp_sent_total")
        tx.send(text)
        wait_for(lambda: ea.metric("udp_sent_total") > sent, interval=0, message="it is on its way")

    def play(n):
        here, there = cpus[n % 2], cpus[1 - n % 2]
        wait_for(near, timeout=60, interval=0.06, message="calm")
        late = [t for t in tasks(eb) if os.sched_getaffinity(t) == {here}]
        with crowd(here):
            for t in late:
                os.sched_setscheduler(t, os.SCHED_IDLE, os.sched_param(0))
            send(b"0", here)
            send(b"1", there)
            got = both(rx)
        for t in late:
            os.sched_setscheduler(t, os.SCHED_OTHER, os.sched_param(0))
        return got
    rounds_in_order(play)
    rx.close()
    tx.close()


def test_a_burst_that_ends_calm_keeps_its_order(world):
    """The worker that has the first of it waits for its processor, when packets are spread again."""
    ea, eb = world.pair(extra_a=METRICS, extra_b=METRICS)
    assert ea.node.ping("10.9.0.2") == 3
    tx, rx = datagrams(ea, eb)
    cpus = sorted(os.sched_getaffinity(0))
    near = lambda: (tx.send(b"calm"), rx.recv(100), ea.metric("near") and eb.metric("near"))[2]
    other = ea.node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    crowded = lambda: [other.sendto(b"crowd", ("10.9.0.2", 6001)) for _ in range(50)]  # its worker has a processor, and ends calm
    for n in range(3):
        wait_for(near, timeout=60, interval=0.06, message="calm")
        here, changes = cpus[n % 2], ea.metric("near_changes_total")
        late = [t for e in (ea, eb) for t in tasks(e) if os.sched_getaffinity(t) == {here}]
        with crowd(here):
            for t in late:
                os.sched_setscheduler(t, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setaffinity(0, {here})
            try:
                tx.send(b"0")
                tx.send(b"1")
                os.sched_setaffinity(0, {cpus[1 - n % 2]})
                wait_for(lambda: (crowded(), ea.metric("near_changes_total") > changes)[1], message="a crowd")
                for i in range(2, 100):
                    tx.send(b"%d" % i)
            finally:
                os.sched_setaffinity(0, cpus)
            got = [int(rx.recv(100)) for _ in range(100)]
        for t in late:
            os.sched_setscheduler(t, os.SCHED_OTHER, os.sched_param(0))
        assert got == list(range(100)), "round %d" % n
    other.close()
    rx.close()
    tx.close()


def detached(engine):
    """How many of its sockets had a program, by taking them away. Sockets of one port share one."""
    libc = ctypes.CDLL(None, use_errno=True)
    fds, n = "/proc/%d/fd/" % engine.pid(), 0
    pidfd = os.pidfd_open(engine.pid())
    for fd in os.listdir(fds):
        if not os.readlink(fds + fd).startswith("socket:"):
            continue
        own = libc.syscall(438, pidfd, int(fd), 0)  # pidfd_getfd
        assert own >= 0, os.strerror(ctypes.get_errno())
        with socket.socket(fileno=own) as s, contextlib.suppress(OSError):
            s.setsockopt(socket.SOL_SOCKET, 68, 0)  # SO_DETACH_REUSEPORT_BPF
            n += 1
    os.close(pidfd)
    return n


def test_a_successor_that_does_not_steer_takes_the_programs_away(world):
    """Nobody would tell them any more that a worker has nothing left, and a flow would stay with the one that it has for ever."""
    ea, eb = world.pair(extra_a=METRICS, extra_b=METRICS)
    assert ea.node.ping("10.9.0.2") == 3
    old = ea.process
    ea.start(extra=["--takeover", "--disable", "steer"])
    assert old.wait(timeout=5) == 0
    assert ea.node.ping("10.9.0.2") == 3 and eb.node.ping("fd09::1") == 3
    assert detached(ea) == 0
    assert detached(eb) == 2, "of both families"


def test_an_engine_that_was_killed_near_leaves_nothing(world):
    """The program stays with an interface that outlives the engine: the next one takes it away."""
    extra = METRICS + ["--persist", "--state-dir", "/run/state"]
    ea, eb = world.pair(extra_a=extra, extra_b=METRICS)
    wait_for(lambda: ea.node.ping("10.9.0.2", count=10, interval=0.01) == 10 and ea.metric("near") == 1, timeout=60, message="near")
    ea.kill()
    ea.start(extra=["--disable", "steer"])
    wait_for(lambda: ea.node.ping("10.9.0.2", count=1, wait=1) == 1, message="a new session")
    assert ea.node.ping("fd09::2", count=50, interval=0.01) == 50 and ea.metric("near") == 0
    transfer_tcp(ea.node, eb.node, "10.9.0.2")
