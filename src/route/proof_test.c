/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "route/proof.h"

static struct addr A(const char *s)
{
	struct addr a;

	if (addr_parse(s, &a) < 0)
		abort();
	return a;
}

static void message(void)
{
	struct proof_path path = {A("10.244.1.1"), A("10.244.2.1"), {"uid-a", "uid-b"}};
	struct proof_path same = {path.src, path.dst, {"uid-b", "uid-a"}};
	struct proof_path back = {path.dst, path.src, {"uid-a", "uid-b"}};
	struct proof_path other = {path.src, path.dst, {"uid-a", "uid-c"}};
	struct proof_message m = {PROOF_REQUEST, "0123456789abcde"}, got = {0};
	uint8_t wire[PROOF_SIZE + 1];

	proof_encode(&m, &path, wire);
	CHECK_INT(proof_decode(wire, PROOF_SIZE, &same, &got), 0);
	CHECK(got.kind == PROOF_REQUEST && memcmp(got.nonce, m.nonce, sizeof(m.nonce)) == 0);
	CHECK_INT(proof_decode(wire, PROOF_SIZE, &back, &got), -EACCES); /* thrown back at its sender */
	CHECK_INT(proof_decode(wire, PROOF_SIZE, &other, &got), -EACCES);
	CHECK_INT(proof_decode(wire, PROOF_SIZE + 1, &path, &got), -EBADMSG);
	CHECK_INT(proof_decode(wire, PROOF_SIZE - 1, &path, &got), -EBADMSG);
	for (size_t i = 0; i < PROOF_SIZE; i++) {
		wire[i] ^= 1;
		CHECK(proof_decode(wire, PROOF_SIZE, &path, &got) < 0);
		wire[i] ^= 1;
	}
	wire[8] = PROOF_ANSWER; /* a request is no answer */
	CHECK_INT(proof_decode(wire, PROOF_SIZE, &path, &got), -EACCES);
}

static void opinion(void)
{
	struct proof p = {0};

	CHECK(!proof_note(&p, true, 10) && !proof_note(&p, true, 20) && !p.proven);
	CHECK(!proof_note(&p, false, 30)); /* begins again */
	CHECK_INT(proof_pause_us(&p), 1000000);
	CHECK(!proof_note(&p, true, 40) && !proof_note(&p, true, 50));
	CHECK_INT(proof_pause_us(&p), 200000);
	CHECK(proof_note(&p, true, 60) && p.proven && p.since_us == 60);
	CHECK_INT(proof_pause_us(&p), 1000000);
	CHECK(!proof_note(&p, false, 70) && !proof_note(&p, false, 80) && p.proven);
	CHECK(!proof_note(&p, true, 90) && !proof_note(&p, false, 100) && !proof_note(&p, false, 110));
	CHECK_INT(proof_pause_us(&p), 200000);
	CHECK(proof_note(&p, false, 120) && !p.proven);
	for (int i = 0; i < 20; i++)
		CHECK(!proof_note(&p, false, 130 + i));
	CHECK_INT(proof_pause_us(&p), 5000000);
	CHECK(p.since_us == 120 && p.answered == 6 && p.missed == 26);
}

int main(void)
{
	RUN(message);
	RUN(opinion);
	return test_end();
}
