# SPDX-License-Identifier: Apache-2.0
"""What WireGuard's own network namespace test asks of the configuration: answers of several messages, keys that go and come, keys
that are none. Of weft-wg's socket, and (test_kernel.py) of the kernel's."""

import base64
import os
import socket

import pytest

from nodes import Key, psk


@pytest.fixture
def one(world):
    node = world.node("n")
    return node, world.engine(node, "wg0", "weft")


def random_key():
    return base64.b64encode(os.urandom(32)).decode()


def set_conf(node, peers):
    """`peers`: lists of prefixes."""
    text = "[Interface]\nPrivateKey = %s\n" % Key().private
    for prefixes in peers:
        text += "[Peer]\nPublicKey = %s\n" % random_key() + "".join("AllowedIPs = %s\n" % p for p in prefixes)
    with open(node.path("/run/conf"), "w") as f:
        f.write(text)
    node.run("wg", "setconf", "wg0", "/run/conf")


def test_very_many_allowed_ips_of_one_peer(one):
    node, _ = one
    set_conf(node, [["%d.%d.0.0/16,%d::%d/128" % (a, b, a, b) for a in range(1, 256) for b in range(256)]])
    assert len(node.out("wg", "show", "wg0", "allowed-ips").split()) == 255 * 256 * 2 + 1


def test_many_peers_with_allowed_ips(one):
    node, _ = one
    set_conf(node, [["%d.%d.0.0/16" % (a, b) for b in range(1, 53)] for a in range(1, 41)])
    assert [len(line.split()) for line in node.out("wg", "show", "wg0", "allowed-ips").splitlines()] == [53] * 40
    set_conf(node, [[]] * 29 + [["255.2.3.4/32,abcd::255/128"]])
    shown = node.out("wg", "showconf", "wg0")
    assert shown.count("[Peer]") == 30 and shown.count("AllowedIPs") == 1


def test_a_peer_without_and_one_with_many(one):
    node, e = one
    first, second = random_key(), random_key()
    e.wg("peer " + first)
    e.wg("peer %s allowed-ips %s" % (second, ",".join("abcd::%d" % i for i in range(1, 198))))
    shown = {line.split("\t")[0]: line.split("\t")[1] for line in node.out("wg", "show", "wg0", "allowed-ips").splitlines()}
    assert shown[first] == "(none)" and len(shown[second].split()) == 197
    assert node.run("wg", "show", "doesnotexist", check=False).returncode != 0


def test_keys_come_and_go(one):
    node, e = one
    peer, secret = Key(), psk()
    e.wg("private-key @%s peer %s preshared-key @%s" % (e.key.private, peer.public, secret))
    assert node.out("wg", "show", "wg0", "private-key").strip() == e.key.private
    assert node.out("wg", "show", "wg0", "preshared-keys").split() == [peer.public, secret]
    e.wg("private-key /dev/null peer %s preshared-key /dev/null" % peer.public)
    assert node.out("wg", "show", "wg0", "private-key").strip() == "(none)"
    assert node.out("wg", "show", "wg0", "preshared-keys").split() == [peer.public, "(none)"]
    # nobody is a peer of himself: neither by getting the key nor by getting the peer
    e.wg("private-key @" + peer.private)
    assert node.out("wg", "show", "wg0", "public-key").strip() == peer.public
    assert node.out("wg", "show", "wg0", "peers") == ""
    e.wg("peer " + peer.public)
    assert node.out("wg", "show", "wg0", "peers") == ""
    e.wg("private-key @" + e.key.private)
    e.wg("peer " + peer.public)
    assert node.out("wg", "show", "wg0", "peers").strip() == peer.public
    # a private key is kept as it is used: with its fixed bits set
    e.wg("private-key @/" + e.key.private[1:])
    assert node.out("wg", "show", "wg0", "private-key").strip() == "+" + e.key.private[1:]


def test_prefixes_within_each_other(one):
    node, e = one
    peer = random_key()
    for text in ("0.0.0.0/0,10.0.0.0/8,100.0.0.0/10,172.16.0.0/12,192.168.0.0/16", "0.0.0.0/0", "::/0,1700::/111,5000::/4,e000::/37,9000::/75", "::/0"):
        e.wg("peer %s allowed-ips %s" % (peer, text))
        assert set(node.out("wg", "show", "wg0", "allowed-ips").split()[1:]) == set(text.split(","))


# Points of low order: whatever private key meets them, the outcome is known to all.
LOW_ORDER = [bytes(32), bytes([1]) + bytes(31),
             bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
             bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
             *((2**255 - 19 + i).to_bytes(32, "little") for i in (-1, 0, 1))]


def test_keys_that_are_none(one):
    """Peers with such keys may be configured; no handshake with them is ever begun."""
    node, e = one
    e.wg("private-key @" + e.key.private)
    s = node.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 1111))
    s.settimeout(2)
    for key in LOW_ORDER:
        e.wg("peer %s persistent-keepalive 1 endpoint 127.0.0.1:1111" % base64.b64encode(key).decode())
    assert node.out("wg", "show", "wg0", "peers")
    node.ip("link set wg0 up")
    with pytest.raises(TimeoutError):
        s.recv(2048)
    e.wg("peer %s persistent-keepalive 1 endpoint 127.0.0.1:1111" % Key().public)
    assert len(s.recv(2048)) == 148  # the socket would have heard of them
    s.close()
