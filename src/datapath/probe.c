/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel must have, asked for one by one, so that the answer names what is missing instead of what failed later. */
#include "base/str.h"
#include "datapath/priv.h"

#include <linux/bpf.h>
#include <sys/utsname.h>

struct helper {
	enum bpf_func_id id;
	const char *name, *since;
};

static const struct helper helpers[] = {
	{ BPF_FUNC_redirect_peer, "bpf_redirect_peer", "5.10" },
	{ BPF_FUNC_redirect_neigh, "bpf_redirect_neigh", "5.10" },
	{ BPF_FUNC_ktime_get_coarse_ns, "bpf_ktime_get_coarse_ns", "5.11" },
	{ BPF_FUNC_timer_init, "bpf_timer_init", "5.15" },
	{ BPF_FUNC_ringbuf_reserve, "bpf_ringbuf_reserve", "5.8" },
	{ BPF_FUNC_skb_set_tunnel_key, "bpf_skb_set_tunnel_key", "4.3" },
};

static int missing(char **ret_error, const char *what, const char *since)
{
	struct utsname u;

	uname(&u);
	*ret_error = xasprintf("this kernel (%s) lacks %s: expected Linux %s or newer", u.release, what, since);
	return -ENOTSUP;
}

int dp_probe(char **ret_error)
{
	int r;

	r = libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SCHED_CLS, NULL);
	if (r == -EPERM) {
		*ret_error = xstrdup("not allowed to load BPF programs: root is needed (CAP_BPF, CAP_NET_ADMIN)");
		return r;
	}
	if (r != 1)
		return missing(ret_error, "BPF programs for tc (CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF)", "5.15");
	if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL) != 1)
		return missing(ret_error, "the BPF ring buffer", "5.8");
	if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_LPM_TRIE, NULL) != 1)
		return missing(ret_error, "BPF longest prefix match maps", "4.11");
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++)
		if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, helpers[i].id, NULL) != 1)
			return missing(ret_error, helpers[i].name, helpers[i].since);
	return 0;
}
