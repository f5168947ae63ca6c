# SPDX-License-Identifier: Apache-2.0
"""A hub on loopback of a network namespace that this test process makes for itself, and real clients against it."""

import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import time

import pytest

CLONE_NEWNET = 0x40000000
ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WEFT_BIN", ROOT / "build/bin"))


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitizers: runs also against the build with sanitizers")


@pytest.fixture(scope="session", autouse=True)
def namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        pytest.fail("unshare: %s (these tests need root)" % os.strerror(ctypes.get_errno()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Reply:
    def __init__(self, code, headers, body):
        self.code, self.headers, self.text = code, headers, body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.text)


class Hub:
    def __init__(self, data, args=()):
        self.data, self.args, self.process = data, list(args), None
        self.home = data / "home"

    def start(self):
        args = [str(BIN / "weft-hub"), "--data", str(self.data / "d"), "--listen", "127.0.0.1:%d" % (self.port if self.process else 0)]
        read, write = os.pipe()
        begin = time.monotonic()
        self.log = open(self.data / "log", "ab")
        self.process = subprocess.Popen(args + self.args + ["--ready-fd", str(write)], pass_fds=[write], stderr=self.log)
        os.close(write)
        with os.fdopen(read) as f:
            line = f.readline()
        self.start_seconds = time.monotonic() - begin
        if line != "ready\n":
            pytest.fail("the hub did not start: %s" % (self.data / "log").read_text())
        self.port = int((self.data / "d/addresses").read_text().splitlines()[0].rsplit(":", 1)[1])
        self.url = "https://127.0.0.1:%d" % self.port
        self.admin = str(self.data / "d/admin.kubeconfig")
        return self

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(60)
        self.log.close()
        said = (self.data / "log").read_text(errors="replace")
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error"):
            assert word not in said, said
        return code

    def kubeconfig(self, user, *groups):
        path = self.data / ("%s.kubeconfig" % user.replace(":", "-"))
        args = [str(BIN / "weft-hub"), "kubeconfig", "--data", str(self.data / "d"), "--server", self.url, "--user", user]
        path.write_bytes(subprocess.check_output(args + [a for g in groups for a in ("--group", g)]))
        return str(path)

    def kubectl(self, *args, stdin=None, config=None, check=True, kubectl=None, timeout=60):
        run = subprocess.run([kubectl or "kubectl", "--kubeconfig", config or self.admin] + list(args), input=stdin, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                             env={**os.environ, "HOME": str(self.home)})
        if check and run.returncode != 0:
            pytest.fail("kubectl %s: exit %d\n%s%s" % (" ".join(args), run.returncode, run.stdout, run.stderr))
        return run

    def get(self, *args, **kw):
        return json.loads(self.kubectl("get", *args, "-o", "json", **kw).stdout)

    def tls(self, config=None):
        """A TLS context with the client certificate of a kubeconfig; False: without one."""
        import base64
        import tempfile
        import yaml
        conf = yaml.safe_load(open(config or self.admin))
        context = ssl.create_default_context(cadata=base64.b64decode(conf["clusters"][0]["cluster"]["certificate-authority-data"]).decode())
        if config is not False:
            user = conf["users"][0]["user"]
            with tempfile.NamedTemporaryFile() as f:
                f.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
                f.flush()
                context.load_cert_chain(f.name)
        return context

    def connect(self, config=None):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.tls(config))

    def http(self, method, path, body=None, headers=None, config=None):
        c = self.connect(config)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        c.request(method, path, body=body, headers={"Content-Type": "application/json", **(headers or {})})
        r = c.getresponse()
        reply = Reply(r.status, r.headers, r.read())
        c.close()
        return reply

    def watch(self, path):
        """An open watch: an iterator of events."""
        c = self.connect()
        c.request("GET", path)
        r = c.getresponse()
        if r.status != 200:
            return r.status, json.loads(r.read())
        return 200, (json.loads(line) for line in r)


@pytest.fixture
def hub(tmp_path):
    h = Hub(tmp_path).start()
    yield h
    if h.process.poll() is None:
        assert h.stop() == 0
    text = (tmp_path / "log").read_text()
    assert "Sanitizer" not in text and "runtime error" not in text, text


@pytest.fixture
def make_hub(tmp_path):
    made = []

    def make(*args):
        h = Hub(tmp_path, args).start()
        made.append(h)
        return h
    yield make
    for h in made:
        if h.process.poll() is None:
            h.stop()


@pytest.fixture(scope="session")
def kubectls():
    """The kubectl on the path, and others that WEFT_KUBECTLS names (separated by colons): old ones and new ones differ."""
    found = [shutil.which("kubectl")] + [k for k in os.environ.get("WEFT_KUBECTLS", "").split(":") if k]
    assert all(found), "kubectl is missing"
    return found
