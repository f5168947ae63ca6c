# SPDX-License-Identifier: Apache-2.0
"""A raw socket at an interface of a lab, held open by a process there: sends frames, counts those that come in with a mark.
One process for a whole module, so that an attack costs milliseconds."""

import subprocess

# One command a line, one answer a line. What the interface itself sent (PACKET_OUTGOING) is not counted.
PROGRAM = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.bind((sys.argv[1], 0))
s.setblocking(False)
mark = sys.argv[2].encode()
print("open", flush=True)
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "send":
        s.send(bytes.fromhex(rest))
        print("sent", flush=True)
        continue
    seen = 0
    while True:
        try:
            data, where = s.recvfrom(65536)
        except BlockingIOError:
            break
        seen += data.count(mark) if where[2] != 4 else 0  # several may have been made one (GRO)
    print(seen, flush=True)
"""


class Wire:
    def __init__(self, lab, where, interface, mark):
        command = ["/usr/bin/python3", "-c", PROGRAM, interface, mark.decode()]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.where = where
        if where == "fabric":
            self.process = subprocess.Popen(lab.fabric(*command), text=True, **pipes)
        else:
            self.process = lab.popen(where, *command, **pipes)
        assert self.process.stdout.readline() == "open\n"

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the raw socket at %s is gone" % self.where
        return answer.strip()

    def send(self, frames):
        for frame in frames:
            assert self.ask("send " + bytes(frame).hex()) == "sent"

    def seen(self):
        """Frames with the mark that came in since the last look."""
        return int(self.ask("seen"))

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()
