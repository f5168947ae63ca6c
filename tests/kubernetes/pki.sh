# SPDX-License-Identifier: Apache-2.0
# Certificates and kubeconfigs.  Sourced by up.sh and ctl.sh after lib.sh.
# One EC authority signs everything; clients are told apart by CN and O.

pki_ca() {
    openssl ecparam -genkey -name prime256v1 -noout -out "$PKI/ca.key"
    openssl req -x509 -new -key "$PKI/ca.key" -sha256 -days 3650 -subj "/CN=lab-ca" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -out "$PKI/ca.crt"
}

# cert FILE SUBJECT [SAN]
cert() {
    openssl ecparam -genkey -name prime256v1 -noout -out "$PKI/$1.key"
    openssl req -new -key "$PKI/$1.key" -subj "$2" -out "$PKI/$1.csr"
    { echo "basicConstraints=critical,CA:FALSE"
      echo "keyUsage=critical,digitalSignature"
      echo "extendedKeyUsage=clientAuth,serverAuth"
      [ -z "${3:-}" ] || echo "subjectAltName=$3"; } >"$PKI/$1.ext"
    openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial \
        -days 3650 -sha256 -extfile "$PKI/$1.ext" -out "$PKI/$1.crt" 2>/dev/null
    rm "$PKI/$1.csr" "$PKI/$1.ext"
}

# kubeconfig NAME: for the user of certificate NAME, everything embedded
kubeconfig() {
    cat >"$PKI/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: https://$CP_IP:6443
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$PKI/$1.crt")
    client-key-data: $(base64 -w0 "$PKI/$1.key")
contexts:
- name: lab
  context: {cluster: lab, user: $1}
current-context: lab
END
}

pki_node() { # N
    cert "knode$1" "/O=system:nodes/CN=system:node:knode$1" "DNS:knode$1,IP:$(node_ip "$1")"
    kubeconfig "knode$1"
}

pki_all() {
    local n svc
    svc=${SERVICE_CIDR%%,*}; svc=${svc%/*}; svc=${svc%.*}.1    # first address of the service range
    mkdir -p "$PKI"; chmod 700 "$PKI"
    pki_ca
    cert apiserver "/CN=kube-apiserver" "IP:$CP_IP,IP:127.0.0.1,IP:$svc,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    cert apiserver-kubelet "/O=system:masters/CN=kube-apiserver-kubelet-client"
    cert front-proxy "/CN=front-proxy-client"
    cert admin "/O=system:masters/CN=admin"
    cert controller-manager "/CN=system:kube-controller-manager"
    cert scheduler "/CN=system:kube-scheduler"
    cert kube-proxy "/CN=system:kube-proxy"
    openssl genrsa -out "$PKI/sa.key" 2048 2>/dev/null      # service account tokens
    openssl rsa -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>/dev/null
    for n in admin controller-manager scheduler kube-proxy; do kubeconfig $n; done
    for n in $(seq "$NODES"); do pki_node "$n"; done
}
