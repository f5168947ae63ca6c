#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kubectl as cluster admin, from the control plane's network namespace.
. "$(dirname "$0")/lib.sh"
kc "$@"
