# SPDX-License-Identifier: Apache-2.0
"""Keys are in no log, and in no memory that a core dump would hold: neither those that we know, nor the session keys, which nobody
knows: whatever 32 bytes of the memory that is left out of dumps look like a key must be nowhere else."""

import base64
import os
import re
import socket

from nodes import WEFT, psk, transfer_tcp, wait_for

SIZE = 32
SELF_TEST = bytes(range(32))  # the key under which the cipher is tried at the start


def mappings(pid):
    """(start, end, whether a dump would have it) of all that can be read."""
    at = None
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if head:
                at = (int(head[1], 16), int(head[2], 16))
            elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                at = None
            elif line.startswith("VmFlags:") and at and "io" not in line.split():
                yield (*at, "dd" not in line.split())


def memory(pid, dumped):
    found = []
    with open("/proc/%d/mem" % pid, "rb", buffering=0) as f:
        for start, end, is_dumped in mappings(pid):
            if is_dumped == dumped:
                f.seek(start)
                found.append(f.read(end - start))
    return found


def looks_like_a_key(b):
    return len(set(b)) >= 20 and b != SELF_TEST


def windows(blocks):
    for block in blocks:
        for at in range(0, len(block) - SIZE + 1, 4):
            yield block[at:at + SIZE]


def forms(key):
    """As it is, and as configuration and logs would write it."""
    raw = base64.b64decode(key)
    return raw, raw.hex().encode(), key.encode()


def saved(engine):
    try:
        with open(engine.node.path("/run/state/%s.conf" % engine.name)) as f:
            return f.read()
    except FileNotFoundError:
        return ""


def refused(engine, line):
    """A line of configuration that is wrong, and what the engine answers."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(engine.node.path("/run/wireguard/%s.sock" % engine.name))
        s.sendall(("set=1\n%s\n\n" % line).encode())
        return s.recv(100).decode()


def test_no_key_is_in_a_dump_or_a_log(world):
    planted = psk()
    # In the environment, which a dump has.
    ea, eb = world.pair(with_psk=True, env_a={"LOG_LEVEL": "verbose", "PLANTED": planted}, env_b={"LOG_LEVEL": "verbose"},
                       extra_a=["--state-dir", "/run/state"])
    assert ea.node.ping("10.9.0.2", count=20) == 20
    transfer_tcp(ea.node, eb.node, "10.9.0.2")  # the other cipher's contexts, too
    others = [psk() for _ in range(200)]  # long texts, whose buffers grow
    with open(ea.node.path("/run/more"), "w") as f:
        f.write("".join("[Peer]\nPublicKey = %s\nPresharedKey = %s\n" % (base64.b64encode(os.urandom(32)).decode(), k) for k in others))
    ea.node.run("wg", "addconf", "wg0", "/run/more")
    wait_for(lambda: others[-1] in ea.node.out("wg", "show", "wg0", "preshared-keys"), message="the peers are there")
    last = base64.b64decode(others[-1]).hex()
    wait_for(lambda: last in saved(ea), message="the configuration is saved")
    assert refused(ea, "private_key=%sx" % last).startswith("errno=-22") and "configuration refused" in ea.log()
    shared = re.search(r"PresharedKey = (\S+)", ea.node.out("wg", "showconf", "wg0"))[1]
    public = {base64.b64decode(k) for k in (ea.key.public, eb.key.public)}
    sessions = set()
    for e in (ea, eb):
        kept, dumped = memory(e.pid(), False), memory(e.pid(), True)
        raw = base64.b64decode(e.key.private)
        assert any(raw in block for block in kept), "the search does not see what is there"
        for form in (f for k in (e.key.private, shared, *others[::50]) for f in forms(k)):
            assert not any(form in block for block in dumped)
            assert form not in e.log().encode()
        secrets = {w for w in windows(kept) if looks_like_a_key(w)} - public
        assert len(secrets) > 4
        assert not {w for w in windows(dumped) if w in secrets}
        sessions |= secrets
    assert any(planted.encode() in block for block in memory(ea.pid(), True)), "the search does not see what is planted"
    log = ea.log() + eb.log()
    assert "interface is up" in log
    for key in sessions:
        assert key.hex() not in log and base64.b64encode(key).decode() not in log


def test_what_no_dump_has_is_locked_in_the_background_too(world):
    """Swap is as bad as a dump; locks do not outlive a fork."""
    n = world.node("n")
    n.run(*[a for a in WEFT if a != "-f"], "wg0")
    pid, = (int(p) for p in n.out("pgrep", "-x", "--ns", n.pid, "--nslist", "net", "weft-wg").split())
    with open("/proc/%d/smaps" % pid) as f:
        flags = [line.split()[1:] for line in f if line.startswith("VmFlags:")]
    kept = [f for f in flags if "dd" in f and "wr" in f and "io" not in f and "sh" not in f]
    assert kept and all("lo" in f for f in kept), kept
