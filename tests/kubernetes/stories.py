# SPDX-License-Identifier: Apache-2.0
"""What a client outside lives through while a Service's endpoints change, told of whoever serves (differ.py compares): connections that stand (SVC-20),
datagrams (SVC-21), one port of a client towards two Services with one endpoint (SVC-47), and what a load balancer asks (SVC-31)."""

import ctypes
import os
import socket
import struct
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
TRIES = 40  # of two endpoints one stays unseen once in a million million times
PATIENCE = 30  # seconds
PLAIN_TCP, PLAIN_UDP, LOCAL_TCP, BALANCED_LOCAL_TCP = 30102, 30103, 30104, 30112  # node ports of differ.py's Services
OWN_PORT, HEALTH_PORT = 20947, 10256


def outside(make):
    """What @make returns in the namespace of the client outside."""
    got, failed = [], []

    def work():
        try:
            with open("/run/netns/kcp", "rb") as f:
                assert ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            got.append(make())
        except (OSError, AssertionError) as e:
            failed.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return got[0]


def name_in(answer):
    return dict(w.split("=", 1) for w in answer.decode().split())["name"]


def connection(address, port, own=0):
    """(socket, who answered). It is held open."""
    def make():
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its port is free at once
        s.settimeout(5)
        if own:
            s.bind(("", own))
        s.connect((address, port))
        s.send(b"hold\n")
        return s, name_in(s.recv(512))
    return outside(make)


def datagrams(address, port):
    """(a socket that speaks to it from one port, who answered)"""
    def make():
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(2)
        s.connect((address, port))
        return s, asked(s)
    return outside(make)


def asked(s):
    s.send(b"q")
    return name_in(s.recv(512))


def first_of(make, name):
    """The first that @name answered; the others are closed. (kube-proxy loses a datagram now and then: differ.py.)"""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            s, who = make()
        except OSError:
            continue
        if who == name:
            return s
        s.close()
    raise AssertionError("%s never answered" % name)


def who_answers(address, n):
    names = set()
    for _ in range(n):
        try:
            s, who = connection(address, PLAIN_TCP)
        except OSError as e:
            return str(e)
        names.add(who)
        s.close()
    return names


def echoes(s):
    try:
        s.send(b"still there?")
        return s.recv(100) == b"still there?"
    except OSError:
        return False


def follows(s, name, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if asked(s) == name:
                return True
        except OSError:
            time.sleep(0.2)
    return False


def an_endpoint_leaves(cluster, address, wait):
    """It runs on, but the Service's it is no more."""
    wait(lambda: who_answers(address, TRIES) == {"b1", "b2"}, "both are asked")  # kube-proxy serves each family on its own
    held, spoken = first_of(lambda: connection(address, PLAIN_TCP), "b1"), first_of(lambda: datagrams(address, PLAIN_UDP), "b1")
    with held, spoken:
        cluster.kubectl("label", "pod", "b1", "app-")
        try:
            wait(lambda: who_answers(address, 8) == {"b2"}, "b1 is asked no more")
            return echoes(held), follows(spoken, "b2")
        finally:
            cluster.kubectl("label", "pod", "b1", "app=both")
            wait(lambda: who_answers(address, TRIES) == {"b1", "b2"}, "b1 is asked again")


def two_services(address):
    first, by = connection(address, LOCAL_TCP, OWN_PORT)
    second, by_other = connection(address, BALANCED_LOCAL_TCP, OWN_PORT)
    with first, second:
        return (by, by_other), echoes(first) and echoes(second)


def health(address):
    host = "[%s]" % address if ":" in address else address
    said = subprocess.run(["nsenter", "--net=/run/netns/kcp", "--", "curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}",
                           "http://%s:%d/healthz" % (host, HEALTH_PORT)], text=True, stdout=subprocess.PIPE)
    return said.stdout


def record(cluster, addresses, wait):
    """{probe: outcome}, as differ.py's. @addresses: of node 1, by family."""
    found = {}

    def told(row, family, *outcome):
        found["outside", "%s IPv%d" % (row, family), "story", addresses[family], 0] = tuple(map(str, outcome)), ()

    for family, address in addresses.items():
        stays, turned = an_endpoint_leaves(cluster, address, wait)
        told("SVC-20 a connection stays with an endpoint that left", family, stays)
        told("SVC-21 datagrams of one port turn to another endpoint", family, turned)
        told("SVC-47 one port, two Services, one endpoint", family, *two_services(address))
    told("SVC-31 healthz", 4, health(addresses[4]))
    return found
