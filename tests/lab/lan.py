# SPDX-License-Identifier: Apache-2.0
"""A host in the nodes' local network that is no node: a namespace with a cable to a bridge of the fabric, and a plain kernel."""

import ipaddress
import json
import subprocess

from labs import run

# Asks on and on who has the addresses, by ARP and neighbour discovery, and sends a datagram to each; tells at the end.
# {address: {"answers": [[time, [MAC…]]…], "gap": longest time without an answer to a datagram, "echoes": how many came}}
WATCH = r"""
import fcntl, json, select, socket, struct, sys, threading, time
vips, port = sys.argv[1].split(","), int(sys.argv[2])
own4, own6 = sys.argv[3], sys.argv[4]
pton = lambda a: socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a)
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.bind(("eth0", 0))
mac = fcntl.ioctl(raw, 0x8927, b"eth0" + bytes(36))[18:24]  # SIOCGIFHWADDR: /sys is another namespace's

def csum(data):
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff

def question(vip):
    a = pton(vip)
    if len(a) == 4:
        return b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + pton(own4) + bytes(6) + a
    group = pton("ff02::1:ff00:0")[:13] + a[13:]
    body = bytes([135, 0, 0, 0]) + bytes(4) + a + b"\x01\x01" + mac
    pseudo = pton(own6) + group + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", csum(pseudo + body)) + body[4:]
    return b"\x33\x33" + group[12:] + mac + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + pton(own6) + group + body

def answer(frame):
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x02":
        return socket.inet_ntop(socket.AF_INET, frame[28:32]), frame[22:28].hex(":")
    if frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136 and frame[58] & 0x40:
        return socket.inet_ntop(socket.AF_INET6, frame[62:78]), frame[80:86].hex(":")
    return None, None

told = {v: {"answers": [], "gap": 0, "echoes": 0} for v in vips}
end = threading.Event()

def echo(vip):
    s = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((vip, port))
    s.settimeout(0.02)
    last = None
    while not end.is_set():
        try:
            s.send(b"x")
            s.recv(4096)
        except OSError:
            if last: # a pause that is not over counts, too
                told[vip]["gap"] = max(told[vip]["gap"], time.monotonic() - last)
            time.sleep(0.005)
            continue
        now = time.monotonic()
        if last:
            told[vip]["gap"] = max(told[vip]["gap"], now - last)
        last = now
        told[vip]["echoes"] += 1
        time.sleep(0.005)

threads = [threading.Thread(target=echo, args=(v,)) for v in vips]
[t.start() for t in threads]
running = True
while running:
    for v in vips:
        raw.send(question(v))
    heard, until = {v: set() for v in vips}, time.monotonic() + 0.05
    while time.monotonic() < until:
        ready, _, _ = select.select([raw, sys.stdin], [], [], max(0, until - time.monotonic()))
        if sys.stdin in ready:
            running = False
            break
        if raw in ready:
            frame, where = raw.recvfrom(2048)
            about, who = answer(frame)
            if where[2] != 4 and about in heard:
                heard[about].add(who)
    for v in vips:
        told[v]["answers"].append([time.monotonic(), sorted(heard[v])])
    print("round", *[v for v in vips if told[v]["echoes"]], flush=True)
end.set()
[t.join() for t in threads]
print(json.dumps(told), flush=True)
"""


class Lan:
    """@subnet: number of the bridge."""

    ADDRESSES = ("172.30.%d.99", "fd30:0:0:%d::99")  # as the nodes have them

    def __init__(self, lab, subnet=0):
        self.lab = lab
        self.addresses = [str(ipaddress.ip_address(a % subnet)) for a in self.ADDRESSES]
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo open; exec sleep infinity"], stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "open\n"
        run(*lab.fabric("ip", "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", self.holder.pid))
        run(*lab.fabric("ip", "link", "set", "lan", "master", "br%d" % subnet, "up"))
        self.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
        for command in (["link", "set", "lo", "up"], ["link", "set", "eth0", "up"], ["addr", "add", self.addresses[0] + "/24", "dev", "eth0"],
                        ["addr", "add", self.addresses[1] + "/64", "dev", "eth0", "nodad"]):
            self.run("ip", *command)

    def command(self, *command):
        return ["nsenter", "--net=/proc/%d/ns/net" % self.holder.pid, *map(str, command)]

    def run(self, *command, **kw):
        return run(*self.command(*command), **kw)

    def ask(self, address, port):
        """What the Service's endpoint says, or None."""
        host = "[%s]" % address if ":" in address else address
        done = self.run("curl", "-s", "-g", "-m", "3", "http://%s:%d/" % (host, port), check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def mac_of(self, address):
        """What this host's kernel has learned."""
        words = self.run("ip", "neigh", "show", "to", address, "dev", "eth0").stdout.split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else None

    def watch(self, addresses, port):
        return Watch(self, addresses, port)

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Watch:
    """Running from when every address has answered a datagram until told()."""

    def __init__(self, lan, addresses, port):
        self.addresses = addresses
        self.process = subprocess.Popen(lan.command("/usr/bin/python3", "-c", WATCH, ",".join(addresses), port, *lan.addresses),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while len(self.round()) < len(addresses):
            pass

    def rounds(self, n):
        """Waits for so many more questions to each address."""
        for _ in range(n):
            self.round()

    def round(self):
        """Waits for the next one. Returns the addresses whose datagrams have been answered so far."""
        line = self.process.stdout.readline()
        assert line, "the watcher has ended"
        return line.split()[1:]

    def told(self):
        told, _ = self.process.communicate("end\n", timeout=60)
        return json.loads(told.splitlines()[-1])

    def kill(self):
        self.process.kill()
        self.process.communicate()


def most_answers(seen):
    """To one question, of how many hosts?"""
    return max(len(macs) for _, macs in seen["answers"])


def longest_double(seen):
    """Seconds for which questions in a row had answers of several hosts."""
    longest = since = 0
    for at, macs in seen["answers"]:
        if len(macs) < 2:
            since = 0
            continue
        since = since or at
        longest = max(longest, at - since + 0.05)
    return longest
