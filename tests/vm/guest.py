# SPDX-License-Identifier: Apache-2.0
"""Debian's stock kernel in a QEMU guest (TCG: no virtualisation needed), to run programs of the tree on a second kernel.

The kernel package is downloaded and unpacked once into a cache, never installed. The initramfs is made here from the
host's own binaries and their libraries, so what runs in the guest is what runs outside.
"""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile

CACHE = os.environ.get("WEFT_VM_CACHE", "/var/cache/weft-tests/kernel")
ARCH = {"x86_64": ("amd64", "qemu-system-x86_64", ["-cpu", "max"], "ttyS0"),
        "aarch64": ("arm64", "qemu-system-aarch64", ["-machine", "virt", "-cpu", "max"], "ttyAMA0")}[platform.machine()]
BASE_MODULES = ["veth", "vxlan", "bridge", "sch_ingress", "cls_bpf", "act_bpf", "tun", "ipv6"]
BASE_BINARIES = ["dash", "ip", "tc"]

INIT = """#!/bin/dash
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin:/sbin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/net /dev/shm
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf; mount -t cgroup2 cg /sys/fs/cgroup
while read m; do insmod $m || echo "guest: insmod $m failed"; done </mod/order
ip link set lo up
dash /script; echo "GUEST-EXIT $?"
poweroff -f
"""


def kernel():
    """(version, vmlinuz, module root) of Debian's cloud kernel, downloaded when the cache has none."""
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = os.path.join(CACHE, "root")
        if not os.path.isdir(root):
            unpack_kernel(root)
    version = sorted(os.listdir(os.path.join(root, "lib/modules")))[-1]
    return version, os.path.join(root, "boot/vmlinuz-" + version), root


def unpack_kernel(root):
    meta = "linux-image-cloud-" + ARCH[0]
    depends = subprocess.run(["apt-cache", "depends", meta], check=True, capture_output=True, text=True).stdout
    package = re.search(r"Depends: (linux-image-6\.1\S+)", depends)
    assert package, "%s names no kernel package; is apt-get update missing?" % meta
    with tempfile.TemporaryDirectory(dir=CACHE) as tmp:
        os.chmod(tmp, 0o755)  # apt downloads as its own user
        subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package.group(1)], cwd=tmp, check=True)
        deb = next(f for f in os.listdir(tmp) if f.endswith(".deb"))
        subprocess.run(["dpkg-deb", "-x", os.path.join(tmp, deb), os.path.join(tmp, "root")], check=True)
        subprocess.run(["depmod", "-b", os.path.join(tmp, "root"), os.listdir(os.path.join(tmp, "root/lib/modules"))[0]], check=True)
        os.rename(os.path.join(tmp, "root"), root)


class Initramfs:
    def __init__(self, where):
        self.root = where
        for d in ("bin", "sbin", "proc", "sys", "dev", "run", "tmp", "etc", "mod", "root", "var"):
            os.makedirs(os.path.join(where, d))

    def put(self, source, dest=None):
        """A file or a directory tree with all libraries that its programs need."""
        source = os.path.realpath(source)
        dest = dest or source
        if os.path.isdir(source):
            for d, _, files in os.walk(source):
                for f in files:
                    path = os.path.join(d, f)
                    self.put(path, dest + path[len(source):])
            return
        to = self.root + dest
        os.makedirs(os.path.dirname(to), exist_ok=True)
        if not os.path.exists(to):
            shutil.copy2(source, to)
        if os.access(source, os.X_OK) or ".so" in source:
            self.put_libraries(source)

    def put_libraries(self, program):
        ldd = subprocess.run(["ldd", program], capture_output=True, text=True)
        for lib in re.findall(r"(?:=> )?(/\S+) \(0x", ldd.stdout):
            to = self.root + lib
            if not os.path.exists(to):
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copy2(os.path.realpath(lib), to)

    def put_modules(self, names, version, root):
        order = []
        for name in names:
            shown = subprocess.run(["modprobe", "-d", root, "-S", version, "--show-depends", name],
                                   check=True, capture_output=True, text=True).stdout
            for line in shown.splitlines():
                word = line.split()
                if word[0] == "insmod" and word[1] not in order:
                    order.append(word[1])
        for path in order:
            shutil.copy2(path, os.path.join(self.root, "mod"))
        with open(os.path.join(self.root, "mod/order"), "w") as f:
            f.writelines("/mod/%s\n" % os.path.basename(p) for p in order)

    def pack(self, to):
        files = subprocess.Popen(["find", ".", "-print0"], cwd=self.root, stdout=subprocess.PIPE)
        with open(to, "wb") as out:
            cpio = subprocess.Popen(["cpio", "-0", "-o", "-H", "newc", "--quiet"], cwd=self.root, stdin=files.stdout, stdout=subprocess.PIPE)
            subprocess.run(["gzip", "-1"], stdin=cpio.stdout, stdout=out, check=True)
        assert files.wait() == 0 and cpio.wait() == 0


def run(script, put=(), binaries=(), modules=(), cpus=1, memory=1024, timeout=3000, qemu=()):
    """Runs a dash script in the guest; returns (exit status, output). `put` holds paths or (source, destination)."""
    version, vmlinuz, root = kernel()
    with tempfile.TemporaryDirectory(prefix="weft-vm-") as tmp:
        fs = Initramfs(os.path.join(tmp, "root"))
        fs.put(shutil.which("busybox"), "/bin/busybox")
        for name in [*BASE_BINARIES, *binaries]:
            path = shutil.which(name)
            assert path, "the host has no program %r to put into the guest" % name
            fs.put(path, "/bin/" + name)
        for item in put:
            fs.put(*((item,) if isinstance(item, str) else item))
        fs.put_modules([*BASE_MODULES, *modules], version, root)
        for name, text in (("init", INIT), ("script", script)):
            with open(os.path.join(fs.root, name), "w") as f:
                f.write(text)
            os.chmod(f.name, 0o755)
        initrd = os.path.join(tmp, "initrd")
        fs.pack(initrd)
        command = [ARCH[1], *ARCH[2], "-accel", "tcg,thread=multi", "-smp", str(cpus), "-m", str(memory), "-nodefaults", "-no-reboot",
                   "-nographic", "-serial", "stdio", "-nic", "none", *qemu, "-kernel", vmlinuz, "-initrd", initrd,
                   "-append", "console=%s quiet panic=-1 mitigations=off tsc=unstable" % ARCH[3]]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired as e:
            raise AssertionError("the guest did not end within %d s:\n%s" % (timeout, (e.stdout or b"").decode(errors="replace")[-4000:])) from None
    out = done.stdout.decode(errors="replace").replace("\r", "")
    status = re.search(r"GUEST-EXIT (\d+)$", out, re.M)
    assert status, "the guest ended without a result:\n%s\n%s" % (out[-4000:], done.stderr.decode(errors="replace")[-2000:])
    return int(status.group(1)), re.sub(r"GUEST-EXIT .*\n?", "", out)
