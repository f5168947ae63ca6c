# SPDX-License-Identifier: Apache-2.0
# start_etcd, start_apiserver, start_controller_manager, start_scheduler: each starts one
# daemon in namespace kcp, without waiting.  Sourced by up.sh and ctl.sh after lib.sh.

cp_spawn() { local name=$1; shift; spawn "$name" nsenter --net=/run/netns/$CPNS -- "$@"; }
gates=${FEATURE_GATES:+--feature-gates=$FEATURE_GATES}

start_etcd() {
    cp_spawn etcd etcd --data-dir "$STATE/etcd" --name lab $ETCD_ARGS \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --logger zap
}
start_apiserver() {
    cp_spawn apiserver "$K8SBIN/kube-apiserver" --v="$VERBOSE" \
        --etcd-servers=http://127.0.0.1:2379 --advertise-address="$CP_IP" --bind-address=0.0.0.0 --secure-port=6443 \
        --service-cluster-ip-range="$SERVICE_CIDR" --allow-privileged=true \
        --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
        --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-client-certificate="$PKI/apiserver-kubelet.crt" \
        --kubelet-client-key="$PKI/apiserver-kubelet.key" --kubelet-preferred-address-types=InternalIP \
        --requestheader-client-ca-file="$PKI/ca.crt" --requestheader-allowed-names=front-proxy-client \
        --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
        --requestheader-extra-headers-prefix=X-Remote-Extra- \
        --proxy-client-cert-file="$PKI/front-proxy.crt" --proxy-client-key-file="$PKI/front-proxy.key" \
        --event-ttl=1h $gates ${RUNTIME_CONFIG:+--runtime-config=$RUNTIME_CONFIG}
}
start_controller_manager() {
    cp_spawn controller-manager "$K8SBIN/kube-controller-manager" --v="$VERBOSE" \
        --kubeconfig="$PKI/controller-manager.kubeconfig" --bind-address=127.0.0.1 \
        --allocate-node-cidrs=true --cluster-cidr="$CLUSTER_CIDR" $NODE_MASK_FLAGS \
        --service-cluster-ip-range="$SERVICE_CIDR" --use-service-account-credentials=true \
        --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
        --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
        --flex-volume-plugin-dir="$STATE/conf/flexvolume" \
        --node-monitor-grace-period=20s --node-monitor-period=2s --leader-elect=false $gates
}
start_scheduler() {
    cp_spawn scheduler "$K8SBIN/kube-scheduler" --v="$VERBOSE" \
        --kubeconfig="$PKI/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false $gates
}
