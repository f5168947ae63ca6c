/* SPDX-License-Identifier: Apache-2.0 */
/* What device.c and handshake.c share. */
#pragma once

#include "wg/device.h"

/* Looks at the peer's timers and puts it at the right place in the heap. */
void device_reschedule(struct peer *p);
void device_retire_session(struct device *d, struct session *s);
void device_drop_sessions(struct peer *p);
void device_reset_handshake(struct peer *p);
void device_take_events(struct device *d, int64_t now);
/* Sends what waits, or asks for a session. */
void device_flush_staged(struct peer *p, int64_t now);
/* Between the two, peers that are to be asked are asked together: device_gathered() does it at the latest. */
void device_gather(struct device *d);
void device_gathered(struct device *d);
/* As a retry: at once, or when the window has room. */
void device_send_initiation(struct peer *p, int64_t now);
/* Now those that the window has room for. */
void device_send_waiting(struct device *d, int64_t now);
void device_handshake_done(struct peer *p);
/* The peer speaks to another address of ours: the way that answers take from there. */
void device_note_source(struct peer *p);
