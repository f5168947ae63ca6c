/* SPDX-License-Identifier: Apache-2.0 */
/* The program that the TUN and the sockets of one port ask which worker is to have a packet.
 *
 * While traffic is spread, a flow's place decides, a hash of its addresses and ports; while it is handled near, the processor where the packet comes.
 * A flow takes another worker only when the one that it has was seen with nothing left, after the flow's last packet: its packets never wait in two
 * queues, so they keep their order, also when the rule changes under way. */
#pragma once

#include "wg/tun.h"

/* How long a packet may take from the program's look into its queue. */
#define STEER_GIVEN_NS 3000

/* What the program and the workers tell each other, in memory that they share: a cache line a worker. */
struct steer_slot {
	_Atomic uint64_t empty_at; /* the worker's: at this time or later its queue was empty, and all before was handled */
	_Atomic uint64_t wanted; /* a flow would leave it */
	uint64_t unused[6];
};

struct steer_board {
	_Atomic uint64_t near;
	uint64_t unused[7];
	struct steer_slot slots[TUN_QUEUES_MAX];
};

struct steer_program {
	int fd, board_fd; /* -1: none */
	struct steer_board *board;
};

/* Of the TUN's queues, and of the sockets. */
struct steer_programs {
	struct steer_program tun, sockets;
};

#define STEER_PROGRAM_NONE ((struct steer_program){ .fd = -1, .board_fd = -1 })
#define STEER_PROGRAMS_NONE ((struct steer_programs){ STEER_PROGRAM_NONE, STEER_PROGRAM_NONE })

/* Return: 0 or -errno. */
int steer_programs_load(unsigned workers, struct steer_programs *ret);
/* Those that a predecessor has loaded, with all they remember. @fds: STEER_FDS of steer_programs_fds(), ours from then on, also when it fails. */
enum { STEER_FDS = 4 };
void steer_programs_fds(const struct steer_programs *p, int fds[static STEER_FDS]);
int steer_programs_adopt(const int fds[static STEER_FDS], struct steer_programs *ret);
void steer_programs_done(struct steer_programs *p);
