#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Build the lab's images from local files only and, for every running node,
# import them into its containerd.
#   mkimage.sh            build $STATE/images.tar, import into the running nodes
#   mkimage.sh import N   only import into node N
#   mkimage.sh add NAME TAG ROOTFSDIR CMD...   make one more image (for example
#                         a network agent) out of a directory, import into the running
#                         nodes, and later into those that join
# The archive is in the docker-save layout, which `ctr images import` reads.
set -eu
. "$(dirname "$0")/lib.sh"
W=$STATE/image
TAR=$STATE/images.tar
mkdir -p "$W" "$STATE/run"

# layer DIR OUT: a reproducible layer
layer() { tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$2" .; }

# image DIR TAG ROOTFS CMDJSON: config + layer into DIR, one manifest entry on stdout
image() {
    local id; id=$(echo "$2" | tr '/:' '__')
    layer "$3" "$1/$id.tar"
    jq -cn --arg arch "$(dpkg --print-architecture)" --arg sum "sha256:$(sha256sum <"$1/$id.tar" | cut -d' ' -f1)" --argjson cmd "$4" '{
        architecture: $arch, os: "linux", created: "1970-01-01T00:00:00Z",
        config: {Cmd: $cmd, Env: ["PATH=/bin:/sbin:/usr/bin:/usr/sbin"], WorkingDir: "/"},
        rootfs: {type: "layers", diff_ids: [$sum]},
        history: [{created: "1970-01-01T00:00:00Z", created_by: "mkimage.sh"}]}' >"$1/$id.json"
    jq -cn --arg id "$id" --arg tag "$2" '{Config: ($id+".json"), RepoTags: [$tag], Layers: [$id+".tar"]}'
}

import() { # N TAR
    cat "$2" | in_node "$1" ctr -n k8s.io images import - >/dev/null
}
import_all() {
    local n
    for n in $(seq "$NODES"); do
        alive_pid "knode$n-init" >/dev/null || continue
        import "$n" "$1"; echo "imported into knode$n"
    done
}

case ${1:-} in
import) for t in "$TAR" "$STATE"/conf/images/*.tar; do [ ! -e "$t" ] || import "$2" "$t"; done; exit ;;
add)
    tag=$2:$3 root=$4; shift 4
    x=$STATE/conf/images/$(echo "$tag" | tr '/:' '__'); rm -rf "$x"; mkdir -p "$x"
    image "$x" "$tag" "$root" "$(jq -cn '$ARGS.positional' --args -- "$@")" | jq -cs . >"$x/manifest.json"
    tar -C "$x" -cf "$x.tar" .; rm -rf "$x"
    import_all "$x.tar"; exit ;;
esac

rm -rf "$W"; mkdir -p "$W/pause" "$W/box" "$W/out"
# static programs
gcc -Os -static -s -o "$W/pause/pause" "$LAB/pause.c"
gcc -Os -static -s -Wall -o "$W/netecho" "$LAB/netecho.c"
install -D "$W/pause/pause" "$STATE/bin/pause"       # also the init of every node
install "$W/netecho" "$STATE/bin/netecho"            # also a client outside pods
# busybox with all its applets, plus netecho
mkdir -p "$W"/box/{bin,etc,tmp,www,root,proc,sys,dev,var/run}
chmod 1777 "$W/box/tmp"
cp "$(command -v busybox)" "$W/box/bin/busybox"
for a in $(busybox --list); do [ "$a" = busybox ] || ln -s busybox "$W/box/bin/$a"; done
cp "$W/netecho" "$W/box/bin/netecho"
echo 'root:x:0:0:root:/root:/bin/sh' >"$W/box/etc/passwd"
echo 'root:x:0:' >"$W/box/etc/group"

{ image "$W/out" "$PAUSE_IMAGE" "$W/pause" '["/pause"]'
  image "$W/out" "$BOX_IMAGE"   "$W/box"   '["/bin/sh"]'
  image "$W/out" "$ECHO_IMAGE"  "$W/box"   '["/bin/netecho","8080"]'
} | jq -cs . >"$W/out/manifest.json"
tar -C "$W/out" -cf "$TAR" .
ls -l "$TAR"
import_all "$TAR"
