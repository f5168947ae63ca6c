/* SPDX-License-Identifier: Apache-2.0 */
/* What each thread counts; single writer, read by the metrics without locks. One list gives field, metric and help. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define DATA_STATS(X)                                                                                                  \
	X(tun_read_packets, "packets read from the TUN, super-packets cut")                                            \
	X(tun_reads, "reads from the TUN that gave something")                                                         \
	X(tun_written_packets, "packets written to the TUN")                                                           \
	X(tun_writes, "writes to the TUN")                                                                             \
	X(tun_write_errors, "packets that the TUN refused")                                                            \
	X(udp_sent, "datagrams sent")                                                                                  \
	X(udp_sends, "messages sent, each one or more datagrams")                                                      \
	X(udp_send_errors, "datagrams that could not be sent")                                                         \
	X(udp_received, "datagrams received")                                                                          \
	X(udp_receives, "messages received, each one or more datagrams")                                               \
	X(drop_no_peer, "packets to an address that no peer owns")                                                     \
	X(drop_no_endpoint, "packets to a peer without an endpoint")                                                   \
	X(drop_loop, "datagrams that routing sent back into the tunnel, or through more than 16")                     \
	X(drop_malformed_tun, "packets from the TUN that are no valid IP packets")                                     \
	X(drop_staged, "packets dropped while a handshake was awaited")                                                \
	X(drop_bad_message, "datagrams that are no WireGuard messages")                                                \
	X(drop_unknown_index, "data for no session of ours")                                                           \
	X(drop_expired_session, "data for a session that is too old")                                                  \
	X(drop_unauthentic, "data that does not authenticate")                                                         \
	X(drop_replayed, "data messages seen before or too old")                                                       \
	X(drop_malformed_inner, "authentic data that is no valid IP packet")                                           \
	X(drop_wrong_source, "authentic packets from an address that is not the peer's")                               \
	X(drop_handshake_queue, "handshake messages beyond the queue's bound")                                         \
	X(keepalives_received, "keepalives received")                                                                  \
	X(keepalives_sent, "keepalives sent")

struct data_stats {
#define X(name, help) _Atomic uint64_t name;
	DATA_STATS(X)
#undef X
};

/* One writer a struct: no need for a locked instruction. */
#define STAT_ADD(stats, name, n)                                                                                       \
	atomic_store_explicit(&(stats)->name, atomic_load_explicit(&(stats)->name, memory_order_relaxed) + (n),        \
			      memory_order_relaxed)
