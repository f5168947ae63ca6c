# SPDX-License-Identifier: Apache-2.0
"""What `make install` puts where, and that manual pages, completion and units agree with the programs."""

import configparser
import hashlib
import os
import re
import stat
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEFT_BIN = os.environ.get("WEFT_BIN", os.path.join(ROOT, "build/bin"))
BUILD = os.path.dirname(os.path.abspath(WEFT_BIN))
ENV = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "200", "PATH": WEFT_BIN + ":" + os.environ["PATH"]}
PREFIX = "usr/local"

PROGRAMS = ["weft", "weftd", "weft-hub", "weft-wg", "weft-echo", "weft-lab-runner"]
LINKS = {"bin/weft": "weft", "sbin/weftd": "weftd", "sbin/weft-hub": "weft-hub", "sbin/weft-wg": "weft-wg"}
PAGES = ["man1/weft.1", "man1/weft-lab.1", "man1/weft-echo.1", "man5/weftd.yaml.5", "man8/weftd.8", "man8/weft-cni.8",
         "man8/weft-hub.8", "man8/weft-wg.8"]
DATA = ["lib/systemd/system/weftd.service", "lib/systemd/system/weft-hub.service",
        "lib/systemd/system/weft-wg@.service", "lib/systemd/networkd.conf.d/10-weft.conf",
        "lib/systemd/network/10-weft.network", "lib/systemd/network/10-weft.link", "share/bash-completion/completions/weft",
        "share/zsh/site-functions/_weft"]


def run(*args, **kwargs):
    return subprocess.run(args, capture_output=True, text=True, timeout=600, env=ENV, check=False, **kwargs)


def install(destdir):
    done = run("make", "-C", ROOT, "install", "BUILD=" + BUILD, "DESTDIR=" + str(destdir))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    destdir = tmp_path_factory.mktemp("install")
    install(destdir)
    return destdir


def help_of(*command):
    done = run(os.path.join(WEFT_BIN, command[0]), *command[1:], "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


def options_in(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


def verbs_of(*command):
    return re.findall(r"^  ([a-z]+)\b", help_of(*command), re.M)


def commands():
    """Every program, and every verb of weft that has a help of its own."""
    yield from ([p] for p in PROGRAMS + ["weft-cni"] if p != "weft-lab-runner")
    yield from (["weft", v] for v in verbs_of("weft") if v not in ("help", "version"))


def snapshot(top):
    out = {}
    for directory, _, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            if os.path.islink(path):
                out[os.path.relpath(path, top)] = os.readlink(path)
            else:
                with open(path, "rb") as f:
                    out[os.path.relpath(path, top)] = (stat.S_IMODE(os.stat(path).st_mode), hashlib.sha256(f.read()).hexdigest())
    return out


def test_programs_stand_together_and_run(tree):
    for name in PROGRAMS:
        path = tree / PREFIX / "libexec/weft" / name
        assert os.access(path, os.X_OK), path
    for name in PROGRAMS[:-1]:
        assert run(str(tree / PREFIX / "libexec/weft" / name), "--version").stdout.strip()


def test_links_lead_to_them(tree):
    for link, name in LINKS.items():
        path = tree / PREFIX / link
        assert os.readlink(path) == "/%s/libexec/weft/%s" % (PREFIX, name)
    beside = tree / PREFIX / "libexec/weft/weft-cni"
    assert os.access(str(tree) + os.readlink(beside), os.X_OK)


def test_the_plugin_is_where_runtimes_look(tree):
    path = tree / "opt/cni/bin/weft-cni"
    assert os.access(path, os.X_OK) and not path.is_symlink()


def test_documentation_units_and_completion_are_there(tree):
    for name in ["share/man/" + p for p in PAGES] + DATA:
        path = tree / PREFIX / name
        assert path.is_file() and path.stat().st_size > 100, name
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, name


def test_nothing_else_is_installed(tree):
    known = {PREFIX + "/" + n for n in DATA + list(LINKS) + ["share/man/" + p for p in PAGES]}
    known |= {PREFIX + "/libexec/weft/" + n for n in PROGRAMS + ["weft-cni"]} | {"opt/cni/bin/weft-cni"}
    known |= {PREFIX + "/share/bash-completion/completions/" + n for n in ("weftd", "weft-hub", "weft-wg", "weft-echo")}
    assert set(snapshot(tree)) == known


def test_installing_again_changes_nothing(tree):
    before = snapshot(tree)
    install(tree)
    assert snapshot(tree) == before


def man(path):
    return run("man", "--warnings=w", "-l", str(path))


@pytest.mark.parametrize("page", PAGES)
def test_page_is_without_warnings(tree, page):
    done = man(tree / PREFIX / "share/man" / page)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert not re.search(r"@(help|options|version)", done.stdout)


def test_a_bad_page_is_seen(tmp_path):
    page = tmp_path / "bad.1"
    page.write_text(".Dd November 20, 2026\n.Dt BAD 1\n.Os\n.Sh NAME\n.Nm bad\n.Nd bad\n.Sh X\n.Bl -tag -width indent\n.nosuchmacro\n")
    assert man(page).stderr


@pytest.fixture(scope="module")
def manual(tree):
    return {os.path.basename(p): re.sub(r"\x1b\[[0-9;]*m|.\x08", "", man(tree / PREFIX / "share/man" / p).stdout) for p in PAGES}


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_option_is_in_the_manual(manual, command):
    page = next(p for p in ("%s.1" % "-".join(command), "%s.1" % command[0], "%s.8" % command[0]) if p in manual)
    missing = [o for o in options_in(help_of(*command)) if o not in manual[page]]
    assert not missing, "docs/man/%s.in does not say @help %s" % (page, " ".join(command))


def test_every_option_of_the_agent_is_in_the_manual(manual):
    table = run("weftd", "--print-options").stdout
    names = re.findall(r"^\| `([^`]+)`", table, re.M)
    assert len(names) > 10
    assert not [n for n in names if not re.search(r"^ +%s\b" % re.escape(n), manual["weftd.yaml.5"], re.M)]


def test_manual_refers_to_pages_that_exist(manual):
    known = {os.path.splitext(p)[0] + "(" + p[-1] + ")" for p in manual} | {"wg(8)"}
    for page, text in manual.items():
        assert not set(re.findall(r"\b(weft[a-z.-]*\(\d\)|wg\(8\))", text)) - known, page


BASH = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _weft; printf "%s\\n" "${COMPREPLY[@]}"'
ZSH = 'compadd() { [[ $1 == -S ]] && shift 2; [[ $1 == -- ]] && shift; print -l -- "$@" }; file=$1; shift; words=("$@"); ' \
      'CURRENT=$#; set --; source $file'


def complete(tree, shell, *words):
    if shell == "bash":
        done = run("bash", "-c", BASH, "bash", str(tree / PREFIX / "share/bash-completion/completions/weft"), *words)
    else:
        done = run("zsh", "-f", "-c", ZSH, "zsh", str(tree / PREFIX / "share/zsh/site-functions/_weft"), *words)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_of_options_is_what_help_says(tree, shell):
    for command in commands():
        wanted = options_in(help_of(*command))
        if command[0] != "weft-cni":
            assert wanted <= complete(tree, shell, *command, "--"), command


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_of_verbs(tree, shell):
    assert complete(tree, shell, "weft", "") == set(verbs_of("weft"))
    assert {"up", "down", "status", "node", "exec"} <= complete(tree, shell, "weft", "lab", "")
    assert {"add", "stop", "start"} == complete(tree, shell, "weft", "lab", "--name", "x", "node", "")
    assert not complete(tree, shell, "weft", "lab", "exec", "n1", "--", "--")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_which_options_take_a_value(tree, shell):
    for command in commands():
        for option in re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]*)[ =][A-Z]", help_of(*command)):
            if command[0] == "weft":
                assert complete(tree, shell, "weft", option, "lab", "") == set(verbs_of("weft")), option


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_of_values(tree, shell):
    text = help_of("weft", "lab")
    for option in ("--transport", "--family"):
        values = complete(tree, shell, "weft", "lab", "up", option, "")
        line = next(li for li in text.splitlines() if option in li)
        words = set(re.findall(r"[a-z0-9]+", line.split("(")[0].split(None, 2)[2])) - {"or"}
        assert set(values) == words, line
    keys = complete(tree, shell, "weftd", "--set", "")
    assert "datapath.fastPath=" in keys and len(keys) > 10


def verify(unit):
    done = run("systemd-analyze", "verify", "--man=no", str(unit))
    # what it says about other units of the machine is not ours
    return [li for li in (done.stdout + done.stderr).splitlines() if os.path.basename(str(unit)) in li]


@pytest.mark.parametrize("name", ["weftd", "weft-hub", "weft-wg@"])
def test_unit_verifies(tree, tmp_path, name):
    text = (tree / PREFIX / "lib/systemd/system" / (name + ".service")).read_text()
    assert "ExecStart=/%s/sbin/%s" % (PREFIX, name.rstrip("@")) in text and "@sbindir@" not in text
    unit = tmp_path / (name + ".service")
    unit.write_text(text.replace("/%s/sbin" % PREFIX, WEFT_BIN))
    assert not verify(unit)
    unit.write_text(unit.read_text().replace("Restart=", "Restrat="))
    assert verify(unit), "a planted mistake must be seen"


def test_the_agents_unit_keeps_the_packet_path(tree):
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(tree / PREFIX / "lib/systemd/system/weftd.service")
    service = unit["Service"]
    assert service["KillMode"] == "process" and service["Restart"] == "always"
    assert service["RuntimeDirectoryPreserve"] == "yes", "endpoints outlive the agent there"
    assert {"CAP_NET_ADMIN", "CAP_BPF", "CAP_SYS_ADMIN", "CAP_PERFMON"} <= set(service["CapabilityBoundingSet"].split())
    own_mounts = ("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateMounts", "PrivateDevices", "ProtectKernelTunables",
                  "ReadWritePaths", "ReadOnlyPaths", "TemporaryFileSystem", "BindPaths", "ProtectControlGroups", "MountFlags")
    assert not [o for o in own_mounts if o in service], "these give it a mount namespace of its own"


def test_networkd_leaves_our_routes_alone(tree):
    conf = configparser.RawConfigParser()
    conf.read(tree / PREFIX / "lib/systemd/networkd.conf.d/10-weft.conf")
    assert conf["Network"]["ManageForeignRoutes"] == "no" and conf["Network"]["ManageForeignRoutingPolicyRules"] == "no"
