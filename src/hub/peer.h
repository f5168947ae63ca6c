/* SPDX-License-Identifier: Apache-2.0 */
/* Who is at the other end of a TLS session: the subject of a client certificate that our CA has signed. */
#pragma once

#include "hub/api.h"

/* @session: gnutls_session_t. Leaves @ret anonymous when there is no certificate, or it does not verify. */
void peer_identify(void *session, struct identity *ret);
