#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""As much of a Kubernetes API as kube-proxy 1.20 asks for: so many Services and their slices, listed once; "change" on standard input
takes the last endpoint of the next Service away, "end of input" ends it. The addresses are those of service_bench."""

import json
import queue
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API_PORT, PORT, TARGET_PORT, ENDPOINTS = 8001, 80, 8080, 10
changes = queue.Queue()


def cluster_address(i):
    return "10.%d.%d.%d" % (100 + i // 65536, i // 256 % 256, i % 256)


def endpoint_address(i, k):
    return "10.%d.%d.%d" % (10 + k, i // 256 % 256, i % 256)


def service(i):
    return {"metadata": {"name": "s%d" % i, "namespace": "default", "uid": "s%d" % i}, "spec": {
        "type": "ClusterIP", "clusterIP": cluster_address(i), "ports": [{"name": "", "port": PORT, "protocol": "TCP", "targetPort": TARGET_PORT}]}}


def endpoint_slice(i, n=ENDPOINTS, version=1):
    return {"metadata": {"name": "s%d-a" % i, "namespace": "default", "uid": "s%d-a" % i, "resourceVersion": str(version),
                         "labels": {"kubernetes.io/service-name": "s%d" % i}}, "addressType": "IPv4",
            "ports": [{"name": "", "port": TARGET_PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [endpoint_address(i, k)], "conditions": {"ready": True}} for k in range(n)]}


class Api(BaseHTTPRequestHandler):
    protocol_version, count = "HTTP/1.1", 0

    def log_message(self, *_):
        pass

    def answer(self, o, code=200):
        body = json.dumps(o).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def watch(self, slices):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while True:
            event = (changes if slices else queue.Queue()).get()
            self.wfile.write(json.dumps(event).encode() + b"\n")
            self.wfile.flush()

    def do_GET(self):
        path = self.path.split("?")[0]
        kinds = {"/api/v1/services": ("v1", "ServiceList", service),
                 "/apis/discovery.k8s.io/v1beta1/endpointslices": ("discovery.k8s.io/v1beta1", "EndpointSliceList", endpoint_slice)}
        if path == "/api/v1/nodes/n1":
            self.answer({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}})
        elif path not in kinds:
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}, 404)
        elif "watch=" in self.path:
            self.watch("endpointslices" in path)
        else:
            version, kind, make = kinds[path]
            self.answer({"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": "1"}, "items": [make(i) for i in range(self.count)]})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)


def main():
    Api.count = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", API_PORT), Api)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("serving", flush=True)
    for i, _ in enumerate(sys.stdin):
        changes.put({"type": "MODIFIED", "object": {"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice",
                                                    **endpoint_slice(i % Api.count, ENDPOINTS - 1, 2 + i)}})


if __name__ == "__main__":
    main()
