/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/inbound.h"
#include "base/file.h"
#include "base/log.h"

enum { LEAST = 1000 };

void inbound_ports_beside(uint16_t min, uint16_t max, uint16_t local_min, uint16_t local_max, uint16_t *ret_min, uint16_t *ret_max)
{
	int below = MIN((int)local_min, max + 1) - min, above = max - MAX((int)local_max, min - 1);

	*ret_min = min;
	*ret_max = max;
	if (MAX(below, above) < LEAST)
		return;
	if (below >= above)
		*ret_max = min + below - 1;
	else
		*ret_min = max - above + 1;
}

void inbound_ports(uint16_t min, uint16_t max, uint16_t *ret_min, uint16_t *ret_max)
{
	_cleanup_free_ char *text = NULL;
	unsigned first = 32768, last = 60999; /* the kernel's own default */
	size_t len;

	if (file_read("/proc/sys/net/ipv4/ip_local_port_range", 64, &text, &len) < 0 || sscanf(text, "%u %u", &first, &last) != 2 ||
	    first > last || last > 65535)
		log_warn("the range of local ports cannot be read; the kernel's default is assumed");
	inbound_ports_beside(min, max, first, last, ret_min, ret_max);
}
