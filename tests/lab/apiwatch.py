# SPDX-License-Identifier: Apache-2.0
"""The lab's API without kubectl: quick requests, and watches whose events are stamped when they come."""

import base64
import http.client
import json
import os
import ssl
import tempfile
import threading
import time
import urllib.parse

import yaml


class Api:
    def __init__(self, kubeconfig):
        with open(kubeconfig, encoding="utf-8") as f:
            config = yaml.safe_load(f)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = urllib.parse.urlsplit(cluster["server"])
        self.context = ssl.create_default_context(cadata=self.text(cluster, "certificate-authority"))
        self.context.check_hostname = False
        if "client-certificate" in user or "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
                pem.write(self.text(user, "client-certificate") + "\n" + self.text(user, "client-key"))
                pem.flush()
                self.context.load_cert_chain(pem.name)
        self.headers = {"Authorization": "Bearer " + user["token"]} if "token" in user else {}
        self.connection = self.connect()

    @staticmethod
    def text(where, key):
        if key + "-data" in where:
            return base64.b64decode(where[key + "-data"]).decode()
        with open(where[key], encoding="utf-8") as f:
            return f.read()

    def connect(self):
        if self.server.scheme == "http":
            return http.client.HTTPConnection(self.server.hostname, self.server.port, timeout=60)
        return http.client.HTTPSConnection(self.server.hostname, self.server.port, context=self.context, timeout=60)

    def call(self, method, path, body=None, kind="application/json"):
        self.connection.request(method, path, body and json.dumps(body), {**self.headers, "Content-Type": kind})
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status < 300, "%s %s: %d %s" % (method, path, answer.status, text[:300])
        return json.loads(text)

    def merge(self, path, patch):
        return self.call("PATCH", path, patch, "application/merge-patch+json")


class Watch:
    """Events of a collection, as [(time.monotonic(), event)], from now on."""

    def __init__(self, kubeconfig, path):
        api = Api(kubeconfig)
        version = api.call("GET", path)["metadata"]["resourceVersion"]
        self.events, self.connection = [], api.connect()
        self.connection.request("GET", "%s?watch=true&resourceVersion=%s&timeoutSeconds=600" % (path, version), headers=api.headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            for line in self.answer:
                self.events.append((time.monotonic(), json.loads(line)))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # closed

    def first(self, matches):
        """When the first event came that matches, or None."""
        return next((at for at, event in list(self.events) if matches(event["object"])), None)

    def close(self):
        sock = self.connection.sock
        if sock:
            try:
                sock.shutdown(2)
            except OSError:
                os.sched_yield()
        self.thread.join(10)
