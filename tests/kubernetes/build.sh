#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Build the Kubernetes components from Debian's source package.
#   build.sh BINDIR [SRCDIR]
# BINDIR receives the binaries; SRCDIR (default BINDIR/src) the source tree,
# the Go build cache and the generated files: about 2 GiB, disposable afterwards.
# Needs root only for the apt-get steps; skips them when nothing is missing. Does nothing when
# this very script has built BINDIR already.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 BINDIR [SRCDIR]" >&2; exit 2; }
LAB=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" "${2:-$1/src}"
BIN=$(cd "$1" && pwd)
SRC=$(cd "${2:-$1/src}" && pwd)
COMPONENTS=${COMPONENTS:-"kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy"}

# 1. Packages: the compiler, and everything the lab runs besides Kubernetes.
# Any kubectl will do (1.20 to 1.32 were seen to work); Debian's is kubernetes-client.
want="golang-go dpkg-dev etcd-server etcd-client containerd runc containernetworking-plugins
      busybox-static conntrack iptables iproute2 jq openssl gcc libc6-dev util-linux procps"
command -v kubectl >/dev/null || want="$want kubernetes-client"
"$LAB/install.sh" $want
wanted=$(sha256sum <"$LAB/build.sh")
[ "$(cat "$BIN/.built-by" 2>/dev/null)" != "$wanted" ] || exit 0

# 2. Source.  apt needs a deb-src line: when there is none, make one from the
# binary entries, in a private sources directory that changes nothing outside SRC.
cd "$SRC"
if ! ls -d kubernetes-1.20.2*/cmd >/dev/null 2>&1; then
    aptopts=()
    if ! apt-get source --print-uris kubernetes >/dev/null 2>&1; then
        mkdir -p apt/sources apt/lists/partial
        sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >apt/sources/src.sources 2>/dev/null ||
            sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >apt/sources/src.list
        aptopts=(-o "Dir::Etc::sourcelist=-" -o "Dir::Etc::sourceparts=$SRC/apt/sources"
                 -o "Dir::State::lists=$SRC/apt/lists")
        apt-get "${aptopts[@]}" update
    fi
    apt-get "${aptopts[@]}" source --download-only kubernetes
    dpkg-source -x kubernetes_*.dsc kubernetes-1.20.2
fi

# 3. A GOPATH around it: this release still builds in GOPATH mode with the
# vendored modules, which needs no network and no module cache.
mkdir -p gopath/src/k8s.io
ln -sfn "$SRC/kubernetes-1.20.2" gopath/src/k8s.io/kubernetes
export GO111MODULE=off GOPATH=$SRC/gopath GOCACHE=$SRC/gocache CGO_ENABLED=0 GOFLAGS= GOTOOLCHAIN=local
cd gopath/src/k8s.io/kubernetes

# 4. The one generated file the source package lacks: the OpenAPI definitions
# (deepcopy, defaults, conversions and lifecycle files are all shipped).
# Same inputs as Makefile.generated_files takes; the report of API rule
# violations must come out equal to the list in the source.
out=pkg/generated/openapi/zz_generated.openapi.go
if ! [ -s $out ]; then
    go build -o "$SRC/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
    dirs=$(grep -rl --include=*.go '^// *+k8s:openapi-gen=' vendor/k8s.io/*/ pkg cmd plugin |
           grep -Ev '^vendor/k8s.io/(code-generator|sample-apiserver|kube-openapi)/|_test\.go$' |
           xargs -n1 dirname | LC_ALL=C sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd,)
    "$SRC/openapi-gen" --logtostderr -i "$dirs" -p k8s.io/kubernetes/pkg/generated/openapi \
        -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$SRC/violations.report"
    diff "$SRC/violations.report" api/api-rules/violation_exceptions.list
fi

# 5. The vendored reflect2 1.0.1 knows the map iterator of Go before 1.18; with a
# newer compiler the API server crashes when it encodes a map through it (first
# seen on creating a custom resource).  Do as reflect2 1.0.2 does.
r=vendor/github.com/modern-go/reflect2
if ! grep -q checkBucket $r/unsafe_link.go; then
    sed -i -e 's/^func mapiterinit(.*/func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)/' \
        -e 's|^\t// rest fields are ignored|\tt, h, buckets, bptr unsafe.Pointer\n\toverflow, oldoverflow *[]unsafe.Pointer\n\tstartBucket uintptr\n\toffset uint8\n\twrapped bool\n\tB, i uint8\n\tbucket, checkBucket uintptr|' $r/unsafe_link.go
    sed -i -e 's|^\treturn &UnsafeMapIterator{|\tvar it hiter\n\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), \&it)\n&|' \
        -e 's|mapiterinit(type2.rtype, \*(\*unsafe.Pointer)(obj)),|\&it,|' $r/unsafe_map.go
fi

# 6. Build.  Without the version flags the server calls itself v0.0.0-master
# and clients of other versions get confused.
ld="-s -w -buildid="
for p in client-go/pkg/version component-base/version; do
    v=k8s.io/kubernetes/vendor/k8s.io/$p
    ld="$ld -X $v.gitVersion=v1.20.2 -X $v.gitMajor=1 -X $v.gitMinor=20 -X $v.gitTreeState=clean -X $v.gitCommit=debian"
done
go build -trimpath -tags notest -ldflags "$ld" -o "$BIN/" $(printf 'k8s.io/kubernetes/cmd/%s ' $COMPONENTS)
ls -l "$BIN"
echo "$wanted" >"$BIN/.built-by"
