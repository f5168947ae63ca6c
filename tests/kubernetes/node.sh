#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run a command inside node N:  node.sh 1 ip route ;  node.sh 2 ctr -n k8s.io c ls
. "$(dirname "$0")/lib.sh"
in_node "$@"
