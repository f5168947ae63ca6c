/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a node out of service: filters off every link of the namespace, then every pin, of any version. */
#include "base/str.h"
#include "datapath/attach.h"
#include "datapath/priv.h"

#include <ftw.h>
#include <net/if.h>

static int detach_filters(void)
{
	struct if_nameindex *all = if_nameindex();
	int first = 0;
	char name[16];
	uint32_t id;

	if (!all)
		return -errno;
	for (struct if_nameindex *l = all; l->if_index; l++) {
		bool ours = false;

		for (int side = ATTACH_INGRESS; side <= ATTACH_EGRESS; side++)
			if (attach_find_clsact(l->if_index, side, &id, name) == 0) {
				ours = true;
				dp_note_error(&first, attach_remove_clsact(l->if_index, side));
			}
		if (ours)
			attach_remove_qdisc(l->if_index); /* -EBUSY: somebody else's filters are in it */
	}
	if_freenameindex(all);
	return first;
}

static int remove_entry(const char *path, const struct stat *st _unused_, int type, struct FTW *ftw)
{
	if (ftw->level == 0)
		return 0;
	return (type == FTW_DP ? rmdir(path) : unlink(path)) < 0 ? errno : 0;
}

int datapath_remove(const char *pin_dir)
{
	libbpf_print_fn_t before = libbpf_set_print(NULL); /* it reports every link that has no filters */
	int first = detach_filters(), r;

	libbpf_set_print(before);
	r = nftw(pin_dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	if (r < 0)
		r = errno;
	if (r != ENOENT)
		dp_note_error(&first, -r);
	if (rmdir(pin_dir) < 0 && errno != ENOENT)
		dp_note_error(&first, -errno);
	return first;
}
