# SPDX-License-Identifier: Apache-2.0
"""A node of its own for tests: network and mount namespace, weftd inside, pods as namespaces, the plugin called as a
runtime calls it. Everything lives below one temporary directory and ends with the holder process."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEFT_BIN = os.environ.get("WEFT_BIN", os.path.join(ROOT, "build/bin"))
TIMEOUT = 60

SETUP = """
mount -t tmpfs run /run && mkdir -p /run/netns && mount -t sysfs sys /sys && mount -t bpf bpf /sys/fs/bpf &&
ip link set lo up && ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up &&
ip addr add 172.30.99.2/24 dev up0 && ip -6 addr add fd30:99::2/64 dev up0 nodad &&
echo ready && exec cat
"""


def wait_for(what, check, timeout=TIMEOUT):
    end = time.monotonic() + timeout
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("timed out: " + what)
        time.sleep(0.02)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)

    def ok(self):
        assert self.code == 0, self.out + self.err
        return json.loads(self.out) if self.out.strip() else None

    def error(self, code):
        assert self.code != 0, "expected error %d, got %s" % (code, self.out)
        assert self.json["code"] == code, self.out
        assert self.json["msg"]
        return self.json


class CniNode:
    def __init__(self, v4="10.99.0.0/24", v6="fd99::/112", rest=60):
        self.dir = tempfile.mkdtemp(prefix="weft-cni-test-")
        self.run = os.path.join(self.dir, "run")
        self.rest, self.ranges = rest, [v4 or "", v6 or ""]
        self.agent = None
        self.log = open(os.path.join(self.dir, "weftd.log"), "ab")
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", SETUP],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n"
        self.write_state()
        self.pods = set()

    def write_state(self):
        """What an agent that has seen its Node remembers: so no API is needed here."""
        os.makedirs(os.path.join(self.run, "state"), exist_ok=True)
        addrs = [r.split("/")[0] for r in self.ranges]
        addrs = [a[:-1] + "1" if "." in a and a else (a + "1" if a else "") for a in addrs]
        with open(os.path.join(self.run, "state/node.json"), "w") as f:
            json.dump({"ranges": self.ranges, "nodeAddrs": addrs, "underlay": ["172.30.99.2", "fd30:99::2"],
                       "deviceMTU": 1500, "routeMTU": 1450, "tunnelIfindex": 0}, f)
        for a in addrs:
            if a:
                self.sh("ip addr add %s/%d dev lo || true" % (a, 32 if "." in a else 128))

    def inside(self, *argv, env=None, **kw):
        return subprocess.Popen(["nsenter", "-t", str(self.holder.pid), "-m", "-n", "--", *argv],
                                env={**os.environ, **(env or {})}, **kw)

    def sh(self, script, check=True):
        done = subprocess.run(["nsenter", "-t", str(self.holder.pid), "-m", "-n", "--", "sh", "-c", script],
                              capture_output=True, text=True, timeout=TIMEOUT)
        assert not check or done.returncode == 0, script + ": " + done.stdout + done.stderr
        return done.stdout

    def start(self, *extra, wait=True, env=None):
        argv = [os.path.join(WEFT_BIN, "weftd"), "--set", "run.dir=" + self.run, "--set", "node.name=n1",
                "--set", "kubeconfig=%s/kubeconfig" % self.dir, "--set", "cni.confDir=%s/net.d" % self.dir,
                "--set", "ipam.restSeconds=%d" % self.rest, *extra]
        self.fault = os.path.join(self.dir, "fault")
        self.agent = self.inside(*argv, stdout=self.log, stderr=self.log, env={"WEFT_FAULT_FILE": self.fault, **(env or {})})
        if wait:
            wait_for("weftd is ready\n" + self.logs(), lambda: self.agent.poll() is not None or self.cni("STATUS").code == 0)
            assert self.agent.poll() is None, self.logs()
        return self

    def logs(self):
        with open(os.path.join(self.dir, "weftd.log")) as f:
            return f.read()

    def kill(self, sig=signal.SIGKILL):
        # nsenter has exec'ed: the child is weftd itself
        self.agent.send_signal(sig)
        self.agent.wait(TIMEOUT)
        self.agent = None

    def restart(self, sig=signal.SIGKILL):
        self.kill(sig)
        return self.start()

    def set_fault(self, text):
        with open(self.fault + ".new", "w") as f:
            f.write(text + "\n")
        os.rename(self.fault + ".new", self.fault)

    def clear_fault(self):
        if os.path.exists(self.fault):
            os.unlink(self.fault)

    def pod(self, *names):
        self.sh("".join("ip netns add %s;" % n for n in names))
        self.pods.update(names)
        return "/run/netns/" + names[0]

    def unpod(self, *names):
        self.sh("".join("ip netns del %s;" % n for n in names))
        self.pods.difference_update(names)

    def in_pod(self, name, cmd, check=True):
        return self.sh("nsenter --net=/run/netns/%s -- %s" % (name, cmd), check)

    def config(self, version="1.1.0", **more):
        return {"cniVersion": version, "name": "weft", "type": "weft-cni", "runDir": self.run, **more}

    def call(self, command, config, env=None, drop=()):
        full = {"CNI_COMMAND": command, "CNI_PATH": WEFT_BIN, **(env or {})}
        for name in drop:
            full.pop(name, None)
        data = config if isinstance(config, bytes) else json.dumps(config).encode()
        done = subprocess.run([os.path.join(WEFT_BIN, "weft-cni")], input=data, env=full, capture_output=True, timeout=TIMEOUT)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def env(self, pod, ifname="eth0", netns=True, args=None, container=None):
        env = {"CNI_CONTAINERID": container or "id-" + pod, "CNI_IFNAME": ifname}
        if netns:
            env["CNI_NETNS"] = "/run/netns/" + pod
        if args:
            env["CNI_ARGS"] = args
        return env

    def cni(self, command, pod=None, ifname="eth0", version="1.1.0", netns=True, args=None, container=None, **more):
        env = self.env(pod, ifname, netns, args, container) if pod else {}
        return self.call(command, self.config(version, **more), env)

    def status(self):
        done = subprocess.run([os.path.join(WEFT_BIN, "weft"), "status", "-o", "json", "--socket", self.run + "/weftd.sock"],
                              capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def links(self):
        """Host sides of pods' interfaces, by name."""
        return {l["ifname"]: l for l in json.loads(self.sh("ip -j link show type veth"))
                if l["ifname"].startswith("weft")}

    def routes(self):
        return sorted(r["dst"] for f in "46" for r in json.loads(self.sh("ip -%s -j route show proto 87 table main" % f) or "[]")
                      if r.get("dev", "").startswith("weft"))

    def residue(self):
        """What exists for pods now: links, routes, neighbours, endpoints, addresses in use."""
        s = self.status()
        neighs = json.loads(self.sh("ip -j neigh show nud permanent") or "[]")
        return {"links": sorted(self.links()), "routes": self.routes(), "endpoints": len(s["endpoints"]),
                "neighs": sorted(n["dst"] for n in neighs if n.get("dev", "").startswith("weft")),
                "used": [i["used"] for i in s["ipam"]], "datapath": s["datapath"].get("endpoints")}

    def wait_clean(self, baseline):
        last = {}

        def same():
            last.update(self.residue())
            return last == baseline
        try:
            wait_for("", same)
        except AssertionError:
            raise AssertionError("left over: %r, expected %r" % (last, baseline)) from None

    def stop(self):
        try:
            if self.agent and self.agent.poll() is None:
                agent = self.agent
                self.kill(signal.SIGTERM)
                assert agent.returncode == 0, self.logs()
            for word in ("AddressSanitizer", "LeakSanitizer", "runtime error", "Assertion"):
                assert word not in self.logs(), self.logs()
        finally:
            self.holder.stdin.close()
            self.holder.wait(TIMEOUT)
            self.log.close()
            shutil.rmtree(self.dir)
