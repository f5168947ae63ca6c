# SPDX-License-Identifier: Apache-2.0
"""weftd's command line and configuration file: every error names where, which option, and what was expected."""

import os
import subprocess

import pytest

from cninode import WEFT_BIN


def weftd(*argv):
    return subprocess.run([os.path.join(WEFT_BIN, "weftd"), *argv], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("argv,words", [
    (["--set", "mtu=70000"], ["--set mtu=70000", "mtu", "0 to 65535"]),
    (["--set", "mtu"], ["--set mtu", "KEY=VALUE"]),
    (["--set", "nothing=1"], ["unknown option", "nothing"]),
    (["--set", "transport=ipip"], ["transport", "geneve"]),
    (["--set"], ["--set"]),
    (["--config", "/nonexistent.yaml"], ["/nonexistent.yaml", "No such file"]),
    (["--surprise\x1b[2J"], ["unknown argument"]),
])
def test_bad_arguments_end_the_start(argv, words):
    done = weftd(*argv)
    assert done.returncode == 2
    assert all(w in done.stderr for w in words), done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("text,words", [
    ("datapath:\n  attach: xdp\n", ["line 2", "datapath.attach", "auto or tcx or clsact"]),
    ("a: [1\n", ["line", "column"]),
    ("ipam: {restSeconds: soon}\n", ["line 1", "ipam.restSeconds", "number"]),
    ("\n\nunknown: 1\n", ["line 3", "unknown"]),
])
def test_bad_files_name_the_line(tmp_path, text, words):
    path = tmp_path / "weftd.yaml"
    path.write_text(text)
    done = weftd("--config", str(path))
    assert done.returncode == 2
    assert all(w in done.stderr for w in [str(path), *words]), done.stderr


def test_help_version_and_reference():
    assert "--set KEY=VALUE" in weftd("--help").stdout
    assert weftd("--version").stdout.startswith("weftd ")
    assert "| `ipam.restSeconds` |" in weftd("--print-options").stdout
