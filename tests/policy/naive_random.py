# SPDX-License-Identifier: Apache-2.0
"""Random clusters, events and probes for the property tests of policy: many boundaries in little space.

Few labels, so that selectors overlap; networks nested around the addresses in use; priorities, ports and ranges at the
boundaries; ports whose names mean different numbers on different pods; terminated pods whose addresses are used again.
Everything is drawn from the generator that is passed in, so a seed repeats a run.
"""

import copy
import ipaddress

PORT_PROTOCOLS = ("TCP", "UDP", "SCTP")
POLICY_KINDS = ("NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
NAME_LABEL = "kubernetes.io/metadata.name"
MODE = "weft.dev/mode"
SUBJECT = "weft.dev/subject"
SUBJECTS = {0: "nodes", 1: "nodes-from", 2: "node"}  # by the name, for a few, or for many where a node is judged
NODE_LABELS = {"zone": ["a", "b"], "kubernetes.io/os": ["linux"], NAME_LABEL: ["n1", ""]}
WORLD = {4: ["198.51.100.7", "198.51.100.200", "203.0.113.9", "10.9.8.7", "0.0.0.1", "255.255.255.254"],
         6: ["2001:db8::7", "2001:db8:1::9", "fd99::1", "::2", "ffff::ffff"]}
POD_LABELS = {"app": ["a", "b", "c", ""], "tier": ["web", "db"], "env": ["prod", "dev"], "pod-template-hash": ["1", "2", "3", "4"]}
NAMESPACE_LABELS = {"team": ["red", "blue", "green"], "env": ["prod", "dev"]}
PORT_NAMES = ["web", "dns", "metrics", "data"]
NUMBERS = [1, 2, 53, 79, 80, 81, 127, 128, 443, 1023, 1024, 8080, 32767, 32768, 65534, 65535]
PRIORITIES = [0, 0, 1, 1, 2, 10, 500, 999, 1000, 1000]
POD_RANGE = {4: "10.244.%d.0/24", 6: "fd00:10:244:%d::/64"}


def of_kind(objects, *kinds):
    return [o for o in objects if o["kind"] in kinds]


def pod_addresses(pod):
    return [ipaddress.ip_address(e["ip"]) for e in pod["status"]["podIPs"]]


def is_live(pod):
    return pod["status"]["phase"] not in ("Succeeded", "Failed")


class Generator:
    """Random objects that fit those which exist.

    invalid: the share of rules, peers and ports that no API server takes; observing: of policies that only observe. nodes: many speak of nodes.
    """

    def __init__(self, rng, objects, invalid=0.0, observing=0.0, nodes=False):
        self.rng, self.objects, self.invalid, self.observing, self.nodes = rng, objects, invalid, observing, nodes

    def chance(self, p):
        return self.rng.random() < p

    def some(self, low, high, make):
        return [make() for _ in range(self.rng.randint(low, high))]

    def labels(self, table):
        return {k: self.rng.choice(v) for k, v in table.items() if self.chance(0.7)}

    def name(self, prefix):
        taken = {o["metadata"]["name"] for o in self.objects}
        while True:
            name = "%s%d" % (prefix, self.rng.randrange(100000))
            if name not in taken:
                return name

    def namespace(self, name):
        return {"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {**self.labels(NAMESPACE_LABELS), NAME_LABEL: name}}}

    def node(self, i, families):
        addresses = [{"type": "Hostname", "address": "n%d" % i}]
        addresses += [{"type": "InternalIP", "address": "172.18.0.%d" % (10 + i) if f == 4 else "fd00:18::%x" % (10 + i)}
                      for f in families]
        return {"apiVersion": "v1", "kind": "Node",
                "metadata": {"name": "n%d" % i, "labels": {"kubernetes.io/os": "linux", "zone": self.rng.choice("ab")}},
                "spec": {"podCIDRs": [POD_RANGE[f] % i for f in families]}, "status": {"addresses": addresses}}

    def pod(self, name=None, host_network=False):
        node = self.rng.choice(of_kind(self.objects, "Node"))
        host = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
        ips = host if host_network else self.free_addresses(node)
        names = self.rng.sample(PORT_NAMES, self.rng.randint(0, len(PORT_NAMES)))
        ports = [{"name": n, "containerPort": self.rng.choice(NUMBERS), "protocol": self.rng.choice(PORT_PROTOCOLS)}
                 for n in names]
        for p in ports:
            if p["protocol"] == "TCP" and self.chance(0.3):
                del p["protocol"]
        pod = {"apiVersion": "v1", "kind": "Pod",
               "metadata": {"name": name or self.name("p"), "labels": self.labels(POD_LABELS),
                            "namespace": self.rng.choice(of_kind(self.objects, "Namespace"))["metadata"]["name"]},
               "spec": {"nodeName": node["metadata"]["name"], "containers": [{"name": "c", "ports": ports}]},
               "status": {"phase": "Running", "hostIP": host[0], "hostIPs": [{"ip": a} for a in host],
                          "podIP": ips[0], "podIPs": [{"ip": a} for a in ips]}}
        if host_network:
            pod["spec"]["hostNetwork"] = True
        return pod

    def free_addresses(self, node):
        """Addresses on this node that no live pod has; now and then those of a terminated one."""
        pods = of_kind(self.objects, "Pod")
        taken = {a for p in pods if is_live(p) for a in pod_addresses(p)}
        dead = [p for p in pods if not is_live(p) and p["spec"]["nodeName"] == node["metadata"]["name"]
                and not p["spec"].get("hostNetwork") and not taken.intersection(pod_addresses(p))]
        if dead and self.chance(0.5):
            return [str(a) for a in pod_addresses(self.rng.choice(dead))]
        out = []
        for text in node["spec"]["podCIDRs"]:
            network = ipaddress.ip_network(text)
            free = [n for n in range(2, 250) if network.network_address + n not in taken]
            out.append(str(network.network_address + self.rng.choice(free)))
        return out

    def selector(self, table):
        sel = {}
        if self.chance(0.5):
            sel["matchLabels"] = {k: self.rng.choice(v) for k, v in self.rng.sample(sorted(table.items()), 1)}
        if self.chance(0.4):
            sel["matchExpressions"] = self.some(1, 2, lambda: self.requirement(table))
        return sel

    def requirement(self, table):
        key = self.rng.choice(sorted(table) + ["never-set"])
        operator = self.rng.choice(["In", "NotIn", "Exists", "DoesNotExist"])
        e = {"key": key, "operator": operator}
        if operator in ("In", "NotIn"):
            values = table.get(key, []) + ["never-used"]
            e["values"] = self.rng.sample(values, self.rng.randint(1, min(3, len(values))))
        return e

    def namespace_selector(self):
        if self.chance(0.25):
            return {"matchLabels": {NAME_LABEL: self.rng.choice(of_kind(self.objects, "Namespace"))["metadata"]["name"]}}
        return self.selector(NAMESPACE_LABELS)

    def address(self, family=None):
        """An address worth asking about: mostly of pods, else of nodes, the world or nobody."""
        families = self.families()
        family = family if family in families else self.rng.choice(families)
        r = self.rng.random()
        if r < 0.6:
            known = [str(a) for o in of_kind(self.objects, "Pod") for a in pod_addresses(o) if a.version == family]
            if known:
                return self.rng.choice(known)
        if r < 0.7:
            node = self.rng.choice(of_kind(self.objects, "Node"))
            ranges = [ipaddress.ip_network(t) for t in node["spec"]["podCIDRs"]]
            own = [str(n.network_address + 1) for n in ranges if n.version == family]
            own += [a["address"] for a in node["status"]["addresses"][1:] if (":" in a["address"]) == (family == 6)]
            return self.rng.choice(own)
        if r < 0.8:
            ranges = [ipaddress.ip_network(t) for o in of_kind(self.objects, "Node") for t in o["spec"]["podCIDRs"]]
            network = self.rng.choice([n for n in ranges if n.version == family])
            return str(network.network_address + self.rng.randint(2, 255))
        return self.rng.choice(WORLD[family])

    def families(self):
        texts = of_kind(self.objects, "Node")[0]["spec"]["podCIDRs"]
        return sorted(ipaddress.ip_network(t).version for t in texts)

    def network(self, within=None):
        """A prefix around an address; with within, a longer one inside of it. Some keep bits behind the prefix."""
        for _ in range(100):
            address = ipaddress.ip_address(self.address(within.version if within else None))
            if within is None or address in within:
                break
        else:
            address = within.network_address
        shortest = within.prefixlen + 1 if within else 0
        longest = address.max_prefixlen
        length = self.rng.choice([n for n in (0, 1, 8, 16, 22, 24, 25, 28, 31, 48, 64, 65, 96, 120, 127, longest, shortest)
                                  if shortest <= n <= longest])
        if self.chance(0.2):
            return "%s/%d" % (address, length)
        return str(ipaddress.ip_network("%s/%d" % (address, length), strict=False))

    def ip_block(self):
        block = {"cidr": self.network()}
        network = ipaddress.ip_network(block["cidr"], strict=False)
        if network.prefixlen < network.max_prefixlen and self.chance(0.5):
            block["except"] = self.some(1, 3, lambda: self.network(within=network))
        if self.chance(self.invalid):
            block["except"] = block.get("except", []) + ["192.0.2.0/33"]
        return {"ipBlock": block}

    def port_range(self):
        """Boundaries of prefixes, the whole range, and ranges that touch each other."""
        first, last = self.rng.choice([(1, 65535), (80, 81), (82, 90), (53, 80), (1, 1023), (1024, 65535), (32768, 65535),
                                       (2, 65534), sorted(self.rng.sample(NUMBERS, 2)),
                                       sorted(self.rng.sample(range(1, 65536), 2))])
        return first, last

    def policy(self):
        """Of any kind."""
        return self.net_policy() if self.chance(0.55) else self.cluster_policy()

    def mode(self):
        """The metadata that says whether a policy is in force."""
        if self.chance(self.observing):
            return {"annotations": {MODE: "observe"}}
        return {"annotations": {MODE: self.rng.choice(["enforce", "Observe", ""])}} if self.chance(0.1) else {}

    def net_policy(self, name=None, namespace=None):
        rng = self.rng
        spec = {"podSelector": self.selector(POD_LABELS)}
        if self.chance(self.invalid / 3):
            spec["podSelector"] = {"matchExpressions": [{"key": "app", "operator": "Near"}]}
        for direction, side in (("ingress", "from"), ("egress", "to")):
            if self.chance(0.65):
                spec[direction] = self.some(0, 3, lambda: self.net_rule(side))
        types = rng.choice([None, None, ["Ingress"], ["Egress"], ["Ingress", "Egress"]])
        if types:
            spec["policyTypes"] = types
        namespace = namespace or rng.choice(of_kind(self.objects, "Namespace"))["metadata"]["name"]
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": name or self.name("np"), "namespace": namespace, **self.mode()}, "spec": spec}

    def net_rule(self, side):
        rule = {}
        if self.chance(0.8):
            rule[side] = self.some(0, 3, self.net_peer) if self.chance(0.2) else self.some(1, 3, self.net_peer)
        if self.chance(0.6):
            rule["ports"] = self.some(0, 3, self.net_port) if self.chance(0.1) else self.some(1, 3, self.net_port)
        return rule

    def net_peer(self):
        if self.chance(self.invalid):
            return self.rng.choice([{}, {"unknownPeer": {}}, {"ipBlock": {"cidr": "10.0.0.0/40"}},
                                    {"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}])
        kind = self.rng.randrange(4)
        if kind == 0:
            return self.ip_block()
        peer = {}
        if kind != 1:
            peer["namespaceSelector"] = self.namespace_selector()
        if kind != 2:
            peer["podSelector"] = self.selector(POD_LABELS)
        return peer

    def net_port(self):
        if self.chance(self.invalid):
            return self.rng.choice([{"port": 80, "endPort": 79}, {"port": 0}, {"port": 65536}, {"protocol": "GRE"},
                                    {"port": "web", "endPort": 90}, {"endPort": 90}])
        port = {"protocol": self.rng.choice(PORT_PROTOCOLS)} if self.chance(0.8) else {}
        kind = self.rng.randrange(5)
        if kind < 2:
            port["port"] = self.rng.choice(NUMBERS)
        elif kind == 2:
            port["port"], port["endPort"] = self.port_range()
        elif kind == 3:
            port["port"] = self.rng.choice(PORT_NAMES)
        return port

    def cluster_policy(self, kind=None, name=None):
        kind = kind or self.rng.choice(POLICY_KINDS[1:] + POLICY_KINDS[1:2] * 5)
        if kind == "BaselineAdminNetworkPolicy":
            if any(o["kind"] == kind for o in self.objects) and name is None:
                kind = "ClusterNetworkPolicy"
            else:
                name = "default"
        spec = {"subject": self.pods_peer()}
        if kind != "BaselineAdminNetworkPolicy":
            spec["priority"] = self.rng.choice(PRIORITIES)
        if kind == "ClusterNetworkPolicy":
            spec["tier"] = self.rng.choice(["Admin", "Baseline"])
        for direction in ("ingress", "egress"):
            if self.chance(0.7):
                spec[direction] = self.some(0, 4, lambda: self.tier_rule(kind, direction))
        version = "v1alpha2" if kind == "ClusterNetworkPolicy" else "v1alpha1"
        metadata = {"name": name or self.name("cp"), **self.mode()}
        subject = SUBJECTS.get(sum(map(ord, metadata["name"])) % (4 if self.nodes else 24))
        if subject in ("nodes", "nodes-from") and self.chance(0.8):
            spec["subject"] = self.node_subject()
        if subject is not None:
            metadata["annotations"] = {**metadata.get("annotations", {}), SUBJECT: subject}
        return {"apiVersion": "policy.networking.k8s.io/" + version, "kind": kind, "metadata": metadata, "spec": spec}

    def node_subject(self):
        labels = self.selector(NODE_LABELS) if self.chance(0.6) else {}
        if self.chance(0.8):
            return {"namespaces": labels}
        return {"pods": {"namespaceSelector": labels, "podSelector": self.selector(POD_LABELS)}}

    def tier_rule(self, kind, direction):
        old = kind != "ClusterNetworkPolicy"
        actions = ["Allow" if old else "Accept", "Deny"] + (["Pass"] if kind != "BaselineAdminNetworkPolicy" else [])
        rule = {"action": self.rng.choice(actions)}
        if self.chance(0.5):
            rule["name"] = "rule-%d" % self.rng.randrange(1000)
        pods_only = direction == "ingress" or self.chance(0.5)
        rule["from" if direction == "ingress" else "to"] = self.some(
            1, 3, self.pods_peer if pods_only else self.egress_peer)
        if self.chance(0.6):
            rule["ports" if old else "protocols"] = self.some(1, 3, lambda: self.tier_port(old, pods_only))
        if self.chance(self.invalid):
            rule["from" if direction == "ingress" else "to"] += [self.rng.choice([{}, {"unknownPeer": {}}])]
        return rule

    def pods_peer(self):
        if self.chance(0.5):
            return {"namespaces": self.namespace_selector()}
        return {"pods": {"namespaceSelector": self.namespace_selector(), "podSelector": self.selector(POD_LABELS)}}

    def egress_peer(self):
        kind = self.rng.randrange(4)
        if kind == 0:
            return {"nodes": self.rng.choice([{}, {"matchLabels": {"zone": "a"}}, {"matchLabels": {"zone": "b"}}])}
        if kind == 1:
            return self.pods_peer()
        return {"networks": sorted(set(self.some(1, 3, self.network)))}

    def tier_port(self, old, names):
        protocol = self.rng.choice(PORT_PROTOCOLS)
        kind = self.rng.randrange(3 if names else 2)
        if kind == 2:
            return {"namedPort" if old else "destinationNamedPort": self.rng.choice(PORT_NAMES)}
        if kind == 1:
            first, last = self.port_range()
            if old:
                return {"portRange": {"protocol": protocol, "start": first, "end": last}}
            return {protocol.lower(): {"destinationPort": {"range": {"start": first, "end": last}}}}
        number = self.rng.choice(NUMBERS)
        if old:
            return {"portNumber": {"protocol": protocol, "port": number}}
        return {protocol.lower(): {"destinationPort": {"number": number}}}


def random_cluster(rng, size=24, policies=None, families=None, invalid=0.0, observing=0.0, nodes=False):
    """A cluster of size pods and policies policies, by default an eighth of size to size; families: (4,), (6,) or (4, 6)."""
    objects = []
    g = Generator(rng, objects, invalid, observing, nodes)
    families = families or rng.choice([(4, 6), (4, 6), (4,), (6,)])
    objects += [g.node(i, families) for i in range(rng.randint(1, 3))]
    objects += [g.namespace("ns%d" % i) for i in range(rng.randint(2, 5))]
    for _ in range(size):
        objects.append(g.pod(host_network=g.chance(0.08)))
        if g.chance(0.08):
            objects[-1]["status"]["phase"] = rng.choice(["Succeeded", "Failed"])
    for _ in range(rng.randint(max(size // 8, 1), size) if policies is None else policies):
        objects.append(g.policy())
    rng.shuffle(objects)
    return objects


def random_event(rng, objects, invalid=0.0, observing=0.0, nodes=False):
    """The objects after one more event; the list and what changed in it are new, the rest is shared."""
    g = Generator(rng, objects, invalid, observing, nodes)
    pods, policies = of_kind(objects, "Pod"), of_kind(objects, *POLICY_KINDS)
    kind = rng.choice(["relabel pod", "relabel namespace", "add policy", "remove policy", "change policy",
                       "add pod", "remove pod", "end pod", "move pod"])
    if kind == "add policy" or (kind.endswith("policy") and not policies):
        return objects + [g.policy()]
    if kind == "add pod" or (kind.endswith("pod") and not pods):
        return objects + [g.pod(host_network=g.chance(0.08))]
    old = rng.choice(policies if kind.endswith("policy") else
                     of_kind(objects, "Namespace") if kind.endswith("namespace") else pods)
    rest = [o for o in objects if o is not old]
    if kind.startswith("remove"):
        return rest
    new = copy.deepcopy(old)
    if kind == "relabel pod":
        new["metadata"]["labels"] = g.labels(POD_LABELS)
    elif kind == "relabel namespace":
        new = g.namespace(old["metadata"]["name"])
    elif kind == "change policy":
        name = old["metadata"]["name"]
        new = g.net_policy(name, old["metadata"]["namespace"]) if old["kind"] == "NetworkPolicy" \
            else g.cluster_policy(old["kind"], name)
    elif kind == "end pod":
        new["status"]["phase"] = rng.choice(["Succeeded", "Failed"])
    elif not new["spec"].get("hostNetwork"):
        node = next(o for o in of_kind(objects, "Node") if o["metadata"]["name"] == new["spec"]["nodeName"])
        ips = g.free_addresses(node)
        new["status"].update(podIP=ips[0], podIPs=[{"ip": a} for a in ips], phase="Running")
    return rest + [new]


def ports_named(value, protocol="TCP"):
    """(protocol, number) of every port that objects name, at either end of a range."""
    if isinstance(value, list):
        return set().union(*(ports_named(v, protocol) for v in value))
    if not isinstance(value, dict):
        return set()
    protocol = value.get("protocol", protocol)
    own = {(protocol, v) for k, v in value.items()
           if k in ("port", "endPort", "number", "start", "end", "containerPort") and isinstance(v, int)}
    return own.union(*(ports_named(v, k.upper() if k in ("tcp", "udp", "sctp") else protocol) for k, v in value.items()))


def random_probes(rng, objects, count):
    """count tuples (src, dst, proto, port): at least one end was once a pod; most ports are at or beside a rule's boundary."""
    g = Generator(rng, objects)
    edges = sorted(ports_named(objects)) + [(p, n) for p in PORT_PROTOCOLS for n in (1, 65535)]
    pods = {f: [str(a) for o in of_kind(objects, "Pod") for a in pod_addresses(o) if a.version == f] for f in g.families()}
    anyone = {f: [g.address(f) for _ in range(64)] for f in pods}
    out = []
    for _ in range(count):
        family = rng.choice(sorted(pods))
        ends = [rng.choice(pods[family] or anyone[family]), rng.choice(anyone[family])]
        rng.shuffle(ends)
        proto, port = rng.choice(edges)
        port = min(max(port + rng.choice((-1, 0, 0, 1)), 1), 65535)
        r = rng.random()
        if r < 0.1:
            proto, port = "ICMP" if family == 4 else "ICMPv6", 0
        elif r < 0.3:
            proto, port = rng.choice(PORT_PROTOCOLS), rng.choice((port, rng.randint(1, 65535)))
        out.append((ends[0], ends[1], proto, port))
    return out
