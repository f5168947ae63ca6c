/* SPDX-License-Identifier: Apache-2.0 */
/* Does somebody else serve Services on this node? */
#pragma once

#include "base/macro.h"

/**
 * other_proxy_find() - by what kube-proxy has put into this node's packet filters, in any of its modes
 *
 * The chains of its iptables and ipvs modes, with nf_tables below or the tables of old; the table of its nftables mode. A program that
 * serves Services by other means is not seen.
 *
 * @ret: where it was found, a constant; NULL: nowhere. Return: 0; -errno when it was not found, and not everything could be looked at.
 */
int other_proxy_find(const char **ret);
