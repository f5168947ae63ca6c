# SPDX-License-Identifier: Apache-2.0
"""The datapath on Debian's stock kernel: every program loads within its budget, and the packet tests pass there as well."""

import os

import guest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.dirname(os.environ.get("WEFT_BIN", os.path.join(ROOT, "build", "bin")))
TESTS = ["announce_test", "drop_test", "host_test", "path_test", "flow_test", "geneve_test", "mss_test", "nat_test", "outer_test", "recent_test", "stack_test",
         "unwrap_test"]


def test_packet_tests_pass_on_debians_kernel():
    put = [(os.path.join(BUILD, "tests/bpf", t), "/t/" + t) for t in TESTS + ["program_bench"]]
    put.append((os.path.join(ROOT, "bpf/budget.txt"), "/t/budget.txt"))
    put.append((os.path.join(ROOT, "tests/bpf"), "/t/source"))  # drop_test looks into the other tests
    status, out = guest.run("""
failed=0
export BPF_SOURCES=/t/source
for t in TESTS "program_bench --budget /t/budget.txt"; do
	echo "== $t"
	/t/$t || failed=1
done
exit $failed
""".replace("TESTS", " ".join(TESTS)), put=put)
    assert status == 0 and "not ok" not in out, out
    assert out.count("\n1..") == len(TESTS) + 1, "a test did not end:\n" + out
