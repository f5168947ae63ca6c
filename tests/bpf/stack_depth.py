# SPDX-License-Identifier: Apache-2.0
"""How deep the stacks of each program's chains of calls are, counted as Linux 6.1 does: a frame is a multiple of 32 bytes, 512 in all; functions
that a helper calls (bpf_loop) stand on their caller's frame, those of a timer on none.
Newer kernels count 16 for compiled programs, so they load what 6.1 refuses ("combined stack size of N calls is M"). TAP.

    stack_depth.py OBJECT...
"""

import os
import re
import subprocess
import sys

LIMIT, FRAME = 512, 32
TIMER_SET_CALLBACK = 170


def functions(path):
    """Bytes of stack that each function uses, and the functions that it calls or has a helper call."""
    shown = subprocess.run(["llvm-objdump", "-dr", path], check=True, capture_output=True, text=True).stdout
    depth, calls, name, copy = {}, {}, None, None
    places = {}  # functions by where they begin: (section, offset)
    found = []  # [caller, section, offset] of callees: static functions have no name here
    section, loaded, pointer, imm = None, None, None, None
    for line in shown.splitlines():
        if line.startswith("Disassembly of section"):
            section = line.split()[-1].rstrip(":")
        begins = re.match(r"([0-9a-f]+) <([^>]+)>:", line)
        if begins and not begins[2].startswith("LBB"):
            name = begins[2]
            depth[name], calls[name] = 1, set()
            places[section, int(begins[1], 16)] = name
        if name is None:
            continue
        for offset in re.findall(r"\(r10 - (0x[0-9a-f]+|\d+)\)", line):
            depth[name] = max(depth[name], int(offset, 0))
        moved = re.search(r"(r\d) \+= -(0x[0-9a-f]+|\d+)", line)
        if moved and moved[1] == copy:  # the address of something on the stack
            depth[name] = max(depth[name], int(moved[2], 0))
        copied = re.search(r"(r\d) = r10\b", line)
        copy = copied[1] if copied else None
        constant = re.search(r"\br\d = (0x[0-9a-f]+|\d+) ll", line)
        loaded = int(constant[1], 0) if constant else loaded
        if re.search(r"R_BPF_64_64\s+\.text$", line):  # a callback, for the next helper
            pointer = loaded
        insn = re.match(r"\s*(\d+):\s+85 (.). .*\bcall (-?(?:0x[0-9a-f]+|\d+))$", line)
        if insn and insn[2] == "1":  # of this program: so many instructions further, unless the next line says another section
            found.append([name, section, (int(insn[1]) + 1 + int(insn[3], 0)) * 8])
            imm = int(insn[3], 0)
        elif insn and pointer is not None:
            if int(insn[3], 0) != TIMER_SET_CALLBACK:
                found.append([name, ".text", pointer])
            pointer = None
        elsewhere = re.search(r"R_BPF_64_32\s+(\S+)", line)
        if elsewhere and elsewhere[1] == ".text":
            found[-1][1:] = [".text", (imm + 1) * 8]
        elif elsewhere:
            found.pop()
            calls[name].add(elsewhere[1])
    for caller, section, offset in found:
        calls[caller].add(places[section, offset])
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
