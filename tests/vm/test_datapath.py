# SPDX-License-Identifier: Apache-2.0
"""The datapath on Debian's stock kernel: every program loads within its budget, and the packet tests pass there as well."""

import glob
import os

import guest
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.dirname(os.environ.get("WEFT_BIN", os.path.join(ROOT, "build", "bin")))
FULL = os.environ.get("WEFT_TEST_TIER") == "full"
# A boot has ten minutes, which are short without KVM. The truth tables say nothing of a kernel.
BOOTS = {"ways": ["announce_test", "claims_test", "drop_test", "dsr_way_test", "fragment_drop_test", "outer_drop_test", "host_test", "path_test", "flow_test", "geneve_test", "mss_test", "nat_test", "outer_test", "recent_test",
                  "stack_test", "stale_test", "unwrap_test", "xdp_test", "xdp_recent_test"],
         "budget": ["budget_test /t/budget.txt /t/objects/*.o"]}
if FULL:
    BOOTS["rest"] = ["event_test", "fragment_test", "guard_test", "inbound_test", "nat_limits_test", "outbound_test", "policy_test", "policy_update_test", "policy_room_test", "service_test", "packets_test"]
HARDENED = {"ways": "path_test", "rest": "outbound_test"}  # once more as every program's constants are blinded (K1)


@pytest.mark.parametrize("boot", BOOTS)
def test_packet_tests_pass_on_debians_kernel(boot):
    names = [t.split()[0] for t in BOOTS[boot]]
    put = [(os.path.join(BUILD, "tests", "fuzz" if t == "packets_test" else "bpf", t), "/t/" + t) for t in names]
    put.append((os.path.join(ROOT, "bpf/budget.txt"), "/t/budget.txt"))
    put += [(o, "/t/objects/" + os.path.basename(o)) for o in glob.glob(os.path.join(BUILD, "bpf/*.bpf.o"))]
    put.append((os.path.join(ROOT, "tests/bpf"), "/t/source"))  # drop_test looks into the other tests
    status, out = guest.run("""
failed=0
export BPF_SOURCES=/t/source
for t in TESTS; do
	echo "== $t"
	/t/$t || failed=1
done
echo 2 > /proc/sys/net/core/bpf_jit_harden
for t in HARDENED; do
	echo "== $t, with blinded constants"
	/t/$t || failed=1
done
exit $failed
""".replace("HARDENED", HARDENED.get(boot, "")).replace("TESTS", " ".join('"%s"' % t for t in BOOTS[boot])), put=put, modules=["tcp_diag", "udp_diag"])
    assert status == 0 and "not ok" not in out, out
    assert out.count("\n1..") == len(names) + (boot in HARDENED), "a test did not end:\n" + out
    assert "# SKIP" not in out, out
