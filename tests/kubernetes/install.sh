#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install the Debian packages that are missing, so that none of their services starts on this machine.
#   install.sh PACKAGE...
set -eu
missing=$(for p in "$@"; do dpkg -s "$p" >/dev/null 2>&1 || echo "$p"; done)
[ -n "$missing" ] || exit 0
apt-get update
# A policy that was there comes back.
policy=/usr/sbin/policy-rc.d
restore() { rm -f $policy; [ ! -e $policy.weft ] || mv $policy.weft $policy; }
trap restore EXIT
[ ! -e $policy ] || [ -e $policy.weft ] || mv $policy $policy.weft
printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
