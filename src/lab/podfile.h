/* SPDX-License-Identifier: Apache-2.0 */
/* Where a node's runner notes a pod's namespace and cgroup, for `weft lab exec`: POD_FILE_DIR/NAMESPACE/NAME in the node's /run,
 * a line "NETNS CGROUP" (paths inside the node; "-" for a pod in the node's own network namespace). */
#pragma once

#define POD_FILE_DIR "/run/weft-lab-pods"
