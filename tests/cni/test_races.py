# SPDX-License-Identifier: Apache-2.0
"""Calls for one container at once, as a runtime makes them that has lost patience: the order is anybody's, what is left is not."""

import threading

from test_reliability import in_parallel

ROUNDS = 20


def test_R1_ADDs_of_one_attachment_at_once(node):
    """One of them gets the interface, the others are told that it is there."""
    node.pod("a")
    baseline = node.residue()
    for _ in range(ROUNDS):
        answers = [None] * 6

        def work(i):
            answers[i] = node.cni("ADD", "a")
        in_parallel(len(answers), work)
        won = [a for a in answers if a.code == 0]
        assert len(won) == 1, [a.out for a in answers]
        for a in answers:
            if a.code:
                a.error(101)
        node.cni("CHECK", "a", prevResult=won[0].json).ok()
        node.cni("DEL", "a").ok()
        node.wait_clean(baseline)


def test_R1_ADD_and_DEL_of_one_container_at_once(node):
    """Whichever comes first: DEL succeeds, and an ADD that succeeded has what it was told, or nothing when DEL came after it."""
    node.pod("a", "b")
    node.cni("ADD", "b").ok()
    baseline = node.residue()
    for _ in range(ROUNDS):
        answers = {}

        def work(i):
            command = ("ADD", "DEL", "DEL")[i]
            answers[i] = node.cni(command, "a")
        in_parallel(3, work)
        answers[1].ok()
        answers[2].ok()
        added = answers[0].ok()
        there = any(e["container"] == "id-a" for e in node.status()["endpoints"])
        if there:
            node.cni("CHECK", "a", prevResult=added).ok()
        else:
            node.wait_clean(baseline)
        node.cni("DEL", "a").ok()
        node.wait_clean(baseline)
    assert "eth0" in node.in_pod("b", "ip -br link")


def test_R1_DEL_of_another_attachment_while_ADD(node):
    """Two interfaces of one container: the DEL of one leaves the other that is just being made."""
    node.pod("a")
    baseline = node.residue()
    for _ in range(ROUNDS):
        node.cni("ADD", "a", ifname="eth1").ok()
        answers = {}

        def work(i):
            answers[i] = node.cni("DEL", "a", ifname="eth1") if i else node.cni("ADD", "a")
        in_parallel(2, work)
        answers[1].ok()
        node.cni("CHECK", "a", prevResult=answers[0].ok()).ok()
        node.cni("DEL", "a").ok()
        node.wait_clean(baseline)


def test_R2_ADDs_while_the_agent_starts(node):
    """Too early is error 11 (try again), and whoever is told of success has an interface; DELs that came too early are done."""
    names = ["p%d" % i for i in range(4)]
    node.pod(*names)
    baseline = node.residue()
    for _ in range(4):
        node.kill()
        began, added = threading.Event(), {}

        def work(i):
            began.wait()
            node.cni("DEL", names[i]).ok()
            for _ in range(400):
                answer = node.cni("ADD", names[i])
                if answer.code == 0:
                    added[names[i]] = answer.json
                    return
                answer.error(11)
        threads = threading.Thread(target=in_parallel, args=(4, work))
        threads.start()
        began.set()
        node.start(wait=False)
        threads.join()
        assert sorted(added) == names, node.logs()
        for name in names:
            node.cni("CHECK", name, prevResult=added[name]).ok()
        for name in names:
            node.cni("DEL", name).ok()
        node.wait_clean(baseline)


def test_R2_GC_while_pods_come(node):
    """GC with a list that a runtime made before: it frees who is not in it, and leaves nothing half."""
    names = ["p%d" % i for i in range(6)]
    node.pod("old", *names)
    baseline = node.residue()
    node.cni("ADD", "old").ok()
    keep = [{"containerID": "id-old", "ifname": "eth0"}]
    for _ in range(5):
        def work(i):
            if i == 0:
                for _ in range(5):
                    node.call("GC", node.config(**{"cni.dev/valid-attachments": keep})).ok()
            else:
                node.cni("ADD", names[i - 1])
        in_parallel(len(names) + 1, work)
        assert "eth0" in node.in_pod("old", "ip -br link")
        for name in names:
            node.cni("DEL", name).ok()
    node.cni("DEL", "old").ok()
    node.wait_clean(baseline)
