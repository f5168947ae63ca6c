# SPDX-License-Identifier: Apache-2.0
"""How deep the stacks of each program's chains of calls are, counted as Linux 6.1 does: a frame is a multiple of 32 bytes, 512 in all.
Newer kernels count 16 for compiled programs, so they load what 6.1 refuses ("combined stack size of N calls is M"). TAP.

    stack_depth.py OBJECT...
"""

import os
import re
import subprocess
import sys

LIMIT, FRAME = 512, 32


def functions(path):
    """Bytes of stack that each function uses, and the functions that it calls."""
    shown = subprocess.run(["llvm-objdump", "-dr", "--no-show-raw-insn", path], check=True, capture_output=True, text=True).stdout
    depth, calls, name, copy = {}, {}, None, None
    for line in shown.splitlines():
        begins = re.match(r"[0-9a-f]+ <([^>]+)>:", line)
        if begins and not begins[1].startswith("LBB"):
            name = begins[1]
            depth[name], calls[name] = 1, set()
        if name is None:
            continue
        for offset in re.findall(r"\(r10 - (0x[0-9a-f]+|\d+)\)", line):
            depth[name] = max(depth[name], int(offset, 0))
        moved = re.search(r"(r\d) \+= -(0x[0-9a-f]+|\d+)", line)
        if moved and moved[1] == copy:  # the address of something on the stack
            depth[name] = max(depth[name], int(moved[2], 0))
        copied = re.search(r"(r\d) = r10\b", line)
        copy = copied[1] if copied else None
        called = re.search(r"R_BPF_64_32\s+(\S+)", line)
        if called:
            calls[name].add(called[1])
    return depth, calls


def deepest(name, depth, calls):
    """(bytes, chain of calls)"""
    own = -(-depth[name] // FRAME) * FRAME
    below = max((deepest(c, depth, calls) for c in calls[name] if c in depth), default=(0, []))
    return own + below[0], ["%s %d" % (name, own)] + below[1]


def main():
    print("1..%d" % len(sys.argv[1:]))
    failed = 0
    for i, path in enumerate(sys.argv[1:], 1):
        depth, calls = functions(path)
        called = set().union(*calls.values())
        size, chain = max(deepest(f, depth, calls) for f in depth if f not in called)
        ok = 32 <= size <= LIMIT
        failed += not ok
        print("%sok %d - %s: %d bytes of stack of %d: %s" % ("" if ok else "not ", i, os.path.basename(path), size, LIMIT, ", ".join(chain)))
    return failed > 0


sys.exit(main())
