# SPDX-License-Identifier: Apache-2.0
"""A naive evaluator of network policy, against which the compiler is held.

Written from the text of the APIs and not from the compiler: NetworkPolicy (networking.k8s.io/v1), ClusterNetworkPolicy
(policy.networking.k8s.io/v1alpha2), AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1). It has no classes, no
prefixes of ports and no flattening: it asks each policy in its order whether the packet is meant, and remembers only
which selectors match which labels and which rules concern which pair of addresses.

The three values of a match. Whether a selector covers an address of the pods' range whose pod is unknown cannot be told:
MAYBE. What may match never allows: an Accept is passed over, a Deny denies, and a Pass denies too, since skipping the rest
of its tier and not skipping it can each end in an allow that the pod, once known, would not get.

Where the text leaves a choice, this is what is taken:
  - Equal priorities: by name. The v1alpha1 Baseline object has no priority and comes after all of its tier.
  - An address is, in this order: a live pod's, a node's (status.addresses, pods' hostIPs, the first address of each of
    its podCIDRs), an unknown pod's (inside the pods' ranges), or the world's.
  - A pod is live until its phase is Succeeded or Failed; a pod that is being deleted still runs, and is judged.
  - A rule of a cluster policy with a part that cannot be understood: Accept matches nothing, anything else denies all
    (CNP-9 says it of peers; the same is done for ports, networks, selectors and actions). A cluster policy whose tier or
    priority is invalid denies, ahead of all others, whatever goes in its directions; with an invalid subject, for all pods.
  - weft.dev/subject: nodes, or nodes-from, takes a ClusterNetworkPolicy away from pods and gives it to nodes: its namespaces are read against a node's labels,
    its podSelector against none. nodes-from: what stands under egress is about what comes, after what stands under ingress. Any other word, or kind, changes nothing.
  - A node has no default but to allow, and no named ports; what it says to its own pods, and to itself, is not asked about.
  - A part of a NetworkPolicy that cannot be understood matches nothing; an invalid podSelector isolates its namespace.
"""

import copy
import ipaddress
import json

from naive_random import MODE, NAME_LABEL, POLICY_KINDS, PORT_PROTOCOLS, random_cluster, random_event, random_probes  # noqa: F401

NO, MAYBE, YES = 0, 1, 2
ACCEPT, DENY, PASS = "Accept", "Deny", "Pass"
PROTOCOLS = PORT_PROTOCOLS + ("ICMP", "ICMPv6")


class Invalid(ValueError):
    """A part of an object that its API does not allow, or that this reader does not know."""


# Selectors, networks, ports: the leaves

class Selector:
    """A label selector: all of its requirements, each a key, an operator and values, must hold."""

    def __init__(self, spec):
        if not isinstance(spec, dict) or set(spec) - {"matchLabels", "matchExpressions"}:
            raise Invalid("selector %r" % (spec,))
        self.needs = [(key, "In", {value}) for key, value in (spec.get("matchLabels") or {}).items()]
        for e in spec.get("matchExpressions") or []:
            operator, values = e.get("operator"), e.get("values") or []
            if not e.get("key") or operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
                raise Invalid("selector requirement %r" % (e,))
            if bool(values) != (operator in ("In", "NotIn")):
                raise Invalid("%s with values %r" % (operator, values))
            self.needs.append((e["key"], operator, set(values)))
        self.memo = {}

    def matches(self, labels):
        """Whether these labels (a frozenset of pairs) satisfy every requirement."""
        if labels not in self.memo:
            have = dict(labels)
            self.memo[labels] = all(self._holds(have, *need) for need in self.needs)
        return self.memo[labels]

    @staticmethod
    def _holds(have, key, operator, values):
        if operator == "In":
            return key in have and have[key] in values
        if operator == "NotIn":
            return key not in have or have[key] not in values
        return (key in have) == (operator == "Exists")


def parse_network(text):
    """A CIDR, in which bits behind the prefix are allowed and ignored."""
    try:
        if "/" not in text:
            raise ValueError("no prefix length")
        return ipaddress.ip_network(text, strict=False)
    except (ValueError, TypeError) as e:
        raise Invalid("network %r: %s" % (text, e)) from None


def parse_ports(protocol, first, last):
    """The ports first to last of a protocol."""
    if protocol not in PORT_PROTOCOLS:
        raise Invalid("protocol %r" % (protocol,))
    for n in (first, last):
        if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= 65535:
            raise Invalid("port %r" % (n,))
    if last < first:
        raise Invalid("ports %d-%d" % (first, last))
    return ("number", protocol, first, last)


def exactly_one(what, spec, known):
    """The only key of a union; an object with none, several or unknown ones is invalid."""
    keys = [k for k, v in (spec or {}).items() if v is not None]
    if len(keys) != 1 or keys[0] not in known:
        raise Invalid("%s with fields %s: expected one of %s" % (what, sorted(keys) or "none", ", ".join(known)))
    return keys[0]


# Who is at an address

class Pod:
    def __init__(self, obj):
        meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
        self.namespace, self.name = meta["namespace"], meta["name"]
        self.labels = frozenset((meta.get("labels") or {}).items())
        self.node = spec.get("nodeName")
        self.host_network = bool(spec.get("hostNetwork"))
        self.live = status.get("phase") not in ("Succeeded", "Failed")
        self.host_addresses = addresses(status, "hostIP", "hostIPs")
        self.addresses = addresses(status, "podIP", "podIPs") or (self.host_addresses if self.host_network else [])
        containers = list(spec.get("containers") or [])
        containers += [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
        self.ports = [(p.get("name"), p.get("protocol") or "TCP", p["containerPort"])
                      for c in containers for p in c.get("ports") or []]

    def __str__(self):
        return "%s/%s" % (self.namespace, self.name)

    def address(self, family):
        return next((a for a in self.addresses if a.version == family), None)


def addresses(status, one, many):
    texts = [e["ip"] for e in status.get(many) or [] if e.get("ip")]
    if not texts and status.get(one):
        texts = [status[one]]
    return [ipaddress.ip_address(t) for t in texts]


class End:
    """One end of a connection: an address, and whose it is."""

    def __init__(self, address, kind, pod=None, nodes=()):
        self.address = address
        self.kind = kind        # "pod", "node", "unknown" or "world"
        self.pod = pod
        self.nodes = nodes      # names of the nodes that own the address

    def name(self):
        return str(self.pod) if self.pod else str(self.address)


# Peers: each says YES, MAYBE or NO to an end

class PodsPeer:
    def __init__(self, cluster, pods, namespaces=None, namespace=None):
        self.cluster, self.pods, self.namespaces, self.namespace = cluster, pods, namespaces, namespace

    def match(self, end):
        if end.kind == "unknown":
            return MAYBE
        return YES if end.pod and self.selects(end.pod) else NO

    def selects(self, pod):
        """Whether a live pod with an address of its own is meant; no end has a pod of another kind."""
        if self.namespace is not None and pod.namespace != self.namespace:
            return False
        if self.namespaces is not None and not self.namespaces.matches(self.cluster.namespace_labels(pod.namespace)):
            return False
        return self.pods.matches(pod.labels)

    def selects_node(self, labels):
        return (self.namespaces is None or self.namespaces.matches(labels)) and self.pods.matches(frozenset())


class NetworksPeer:
    def __init__(self, networks, excepts=()):
        self.networks, self.excepts = networks, excepts

    def match(self, end):
        hit = any(end.address in n for n in self.networks)
        return YES if hit and not any(end.address in n for n in self.excepts) else NO


class NodesPeer:
    def __init__(self, cluster, selector):
        self.cluster, self.selector = cluster, selector

    def match(self, end):
        return YES if any(self.selector.matches(labels) and end.address in status
                          for labels, status in self.cluster.node_status) else NO


class DomainsPeer:
    def __init__(self, cluster, patterns):
        self.cluster, self.patterns = cluster, [p.lower().rstrip(".") for p in patterns]

    def match(self, end):
        names = [n.lower().rstrip(".") for n, found in self.cluster.dns.items() if str(end.address) in found]
        return YES if any(self._covers(p, n) for p in self.patterns for n in names) else NO

    @staticmethod
    def _covers(pattern, name):
        return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


class Rule:
    """peers None: every peer. ports None: every port of every protocol, and ICMP."""

    def __init__(self, action, peers, ports, why):
        self.action, self.peers, self.ports, self.why = action, peers, ports, why

    def match_peer(self, end):
        return YES if self.peers is None else max((p.match(end) for p in self.peers), default=NO)


# Policies: objects become rules

class NetPolicy:
    """NetworkPolicy: which pods it selects, and for each direction it lists, the rules that allow."""

    of_nodes = False

    def __init__(self, cluster, obj):
        spec = obj.get("spec") or {}
        self.cluster, self.namespace = cluster, obj["metadata"]["namespace"]
        self.label = "NetworkPolicy %s/%s" % (self.namespace, obj["metadata"]["name"])
        self.rules = {}
        directions = self._directions(spec)
        try:
            selector = Selector(spec.get("podSelector") or {})
        except Invalid as e:
            cluster.problem(self.label, e)
            selector, spec = Selector({}), {}
        self.subject = PodsPeer(cluster, selector, namespace=self.namespace)
        for direction, side in (("ingress", "from"), ("egress", "to")):
            if direction in directions:
                self.rules[direction] = [self._rule(r or {}, side, "%s %s[%d]" % (self.label, direction, i))
                                         for i, r in enumerate(spec.get(direction) or [])]

    def _directions(self, spec):
        types = spec.get("policyTypes")
        if not types:
            return ("ingress", "egress") if spec.get("egress") else ("ingress",)
        if set(types) - {"Ingress", "Egress"}:
            self.cluster.problem(self.label, Invalid("policyTypes %r" % (types,)))
            return ("ingress", "egress")
        return tuple(t.lower() for t in types)

    def _rule(self, spec, side, why):
        peers = self._understood(self._peer, spec.get(side), why)
        ports = self._understood(self._port, spec.get("ports"), why)
        return Rule(ACCEPT, peers, ports, why)

    def _understood(self, parse, items, why):
        """None for a list that is empty or missing; else those of its items that can be understood."""
        if not items:
            return None
        good = []
        for item in items:
            try:
                good.append(parse(item))
            except Invalid as e:
                self.cluster.problem(why, e)
        return good

    def _peer(self, spec):
        keys = {k for k, v in (spec or {}).items() if v is not None}
        if keys == {"ipBlock"}:
            network = parse_network(spec["ipBlock"].get("cidr"))
            excepts = [parse_network(t) for t in spec["ipBlock"].get("except") or []]
            if any(e.version != network.version or not e.subnet_of(network) for e in excepts):
                raise Invalid("except outside of %s" % network)
            return NetworksPeer([network], excepts)
        if not keys or keys - {"podSelector", "namespaceSelector"}:
            raise Invalid("peer with fields %s" % (sorted(keys) or "none"))
        pods = Selector(spec.get("podSelector") or {})
        if "namespaceSelector" in keys:
            return PodsPeer(self.cluster, pods, namespaces=Selector(spec["namespaceSelector"]))
        return PodsPeer(self.cluster, pods, namespace=self.namespace)

    @staticmethod
    def _port(spec):
        protocol, port, end = spec.get("protocol") or "TCP", spec.get("port"), spec.get("endPort")
        if protocol not in PORT_PROTOCOLS:
            raise Invalid("protocol %r" % (protocol,))
        if end is not None and (port is None or isinstance(port, str)):
            raise Invalid("endPort without a numeric port")
        if port is None:
            return ("number", protocol, 0, 65535)
        if isinstance(port, str):
            return ("name", protocol, port)
        return parse_ports(protocol, port, port if end is None else end)


class TierPolicy:
    """A cluster policy: tier, place in the tier, subject, and for each direction its ordered rules."""

    def __init__(self, cluster, obj):
        spec, self.kind, name = obj.get("spec") or {}, obj["kind"], obj["metadata"]["name"]
        self.cluster, self.label = cluster, "%s %s" % (self.kind, name)
        self.old = self.kind != "ClusterNetworkPolicy"
        self.rules = {}
        broken = False
        try:
            self.tier, priority = self._place(spec)
        except Invalid as e:
            cluster.problem(self.label, e)
            self.tier, priority, broken = "Admin", -1, True
        try:
            self.subject = self._pods("subject", spec.get("subject"))
        except Invalid as e:
            cluster.problem(self.label, e)
            self.subject = PodsPeer(cluster, Selector({}))
            self.tier, priority, broken = "Admin", -1, True
        meant = (obj["metadata"].get("annotations") or {}).get("weft.dev/subject")
        self.of_nodes = not self.old and meant in ("nodes", "nodes-from")
        self.order = (priority, name, self.kind)
        for direction, side in (("ingress", "from"), ("egress", "to")):
            rules = [self._rule(r or {}, direction, side, "%s %s[%d]" % (self.label, direction, i))
                     for i, r in enumerate(spec.get(direction) or [])]
            if rules and broken:
                rules = [Rule(DENY, None, None, "%s is invalid" % self.label)]
            self.rules[direction] = [r for r in rules if r]
        if self.of_nodes and meant == "nodes-from":
            self.rules = {"ingress": self.rules["ingress"] + self.rules["egress"], "egress": []}

    def _place(self, spec):
        if self.kind == "BaselineAdminNetworkPolicy":
            return "Baseline", 1001
        tier, priority = "Admin" if self.old else spec.get("tier"), spec.get("priority")
        if tier not in ("Admin", "Baseline"):
            raise Invalid("tier %r" % (tier,))
        if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 1000:
            raise Invalid("priority %r" % (priority,))
        return tier, priority

    def _rule(self, spec, direction, side, why):
        """The rule; of one that cannot be understood what CNP-9 leaves of it: nothing of an Accept, else "deny all"."""
        accept = "Allow" if self.old else "Accept"
        action = spec.get("action")
        try:
            if action not in (accept, DENY, PASS) or (action == PASS and self.kind == "BaselineAdminNetworkPolicy"):
                raise Invalid("action %r" % (action,))
            if spec.get("name"):
                why = "%s %r" % (why, spec["name"])
            if not spec.get(side):
                raise Invalid("no peer in %r" % side)
            peers = [self._peer(p, direction, action == accept) for p in spec[side]]
            ports = [self._port_old(p) if self.old else self._port(p)
                     for p in spec.get("ports" if self.old else "protocols") or []] or None
            if ports and any(p[0] == "name" for p in ports) and not all(isinstance(p, PodsPeer) for p in peers):
                raise Invalid("a named port with networks, nodes or domainNames")
        except Invalid as e:
            self.cluster.problem(why, e)
            return None if action == accept else Rule(DENY, None, None, "%s is invalid" % why)
        return Rule(ACCEPT if action == accept else action, peers, ports, why)

    def _pods(self, what, spec):
        if exactly_one(what, spec, ("namespaces", "pods")) == "namespaces":
            return PodsPeer(self.cluster, Selector({}), namespaces=Selector(spec["namespaces"]))
        pods = spec["pods"]
        return PodsPeer(self.cluster, Selector(pods.get("podSelector") or {}),
                        namespaces=Selector(pods.get("namespaceSelector") or {}))

    def _peer(self, spec, direction, accept):
        known = ("namespaces", "pods") if direction == "ingress" else \
                ("namespaces", "pods", "nodes", "networks", "domainNames")
        kind = exactly_one("peer", spec, known)
        if kind == "networks":
            if not spec["networks"]:
                raise Invalid("empty networks")
            return NetworksPeer([parse_network(t) for t in spec["networks"]])
        if kind == "nodes":
            return NodesPeer(self.cluster, Selector(spec["nodes"]))
        if kind == "domainNames":
            if not accept or not spec["domainNames"]:
                raise Invalid("domainNames are for accepting rules and not empty")
            return DomainsPeer(self.cluster, spec["domainNames"])
        return self._pods("peer", spec)

    @staticmethod
    def _port(spec):
        kind = exactly_one("protocol", spec, ("tcp", "udp", "sctp", "destinationNamedPort"))
        if kind == "destinationNamedPort":
            return ("name", None, spec[kind])
        exactly_one(kind, spec[kind], ("destinationPort",))
        port = spec[kind]["destinationPort"]
        if exactly_one("destinationPort", port, ("number", "range")) == "number":
            return parse_ports(kind.upper(), port["number"], port["number"])
        first, last = port["range"].get("start"), port["range"].get("end")
        if first == last:
            raise Invalid("range from %r to itself" % (first,))
        return parse_ports(kind.upper(), first, last)

    @staticmethod
    def _port_old(spec):
        kind = exactly_one("port", spec, ("portNumber", "portRange", "namedPort"))
        if kind == "namedPort":
            return ("name", None, spec[kind])
        p = spec[kind]
        if kind == "portNumber":
            return parse_ports(p.get("protocol") or "TCP", p.get("port"), p.get("port"))
        return parse_ports(p.get("protocol") or "TCP", p.get("start"), p.get("end"))


# The cluster and its verdicts

class Plan:
    """What one pod's policies, in one direction, hold against one other end: rules with their ports resolved."""

    def __init__(self):
        self.admin, self.isolated, self.allows, self.baseline = [], False, [], []


class Cluster:
    """A set of objects to judge by.

    pod_cidrs: the pods' ranges; the nodes' podCIDRs when absent. node: judge only the ends on this node.
    dns: name → addresses, as domainNames peers see them. deny_default: what no policy speaks of is denied.
    host: name of the node whose own traffic is judged as well, by the policies of nodes.
    """

    def __init__(self, objects, pod_cidrs=None, node=None, dns=None, deny_default=False, host=None):
        self.objects, self.host = objects, host
        self.host_labels, self.host_addresses = frozenset(), set()
        self.node, self.dns, self.deny_default = node, dns or {}, deny_default
        self.problems = []          # "where: what" of each part that was not understood
        self.namespaces, self.pods, self.owner = {}, {}, {}
        self.node_addresses = {}    # address → names of the nodes that own it
        self.node_status = []       # (labels, addresses of status.addresses) of each node
        self.net_policies, self.tiers = [], {"Admin": [], "Baseline": []}
        self._ends, self._plans, self._selecting = {}, {}, {}
        ranges = []
        for obj in objects:
            kind = obj["kind"]
            if kind == "Namespace":
                self._add_namespace(obj)
            elif kind == "Node":
                ranges += self._add_node(obj)
            elif kind == "Pod":
                self._add_pod(Pod(obj))
            elif kind == "NetworkPolicy":
                self.net_policies.append(NetPolicy(self, obj))
            elif kind in POLICY_KINDS:
                policy = TierPolicy(self, obj)
                self.tiers[policy.tier].append(policy)
        self.net_policies.sort(key=lambda p: p.label)
        for policies in self.tiers.values():
            policies.sort(key=lambda p: p.order)
        self.pod_ranges = ranges if pod_cidrs is None else [parse_network(t) for t in pod_cidrs]

    def problem(self, where, what):
        self.problems.append("%s: %s" % (where, what))

    def _add_namespace(self, obj):
        name = obj["metadata"]["name"]
        self.namespaces[name] = frozenset({**(obj["metadata"].get("labels") or {}), NAME_LABEL: name}.items())

    def _add_node(self, obj):
        """Its addresses; the first of each of its pod ranges is the node's own. Returns those ranges."""
        meta, spec = obj["metadata"], obj.get("spec") or {}
        status = [ipaddress.ip_address(a["address"]) for a in (obj.get("status") or {}).get("addresses") or []
                  if a["type"] in ("InternalIP", "ExternalIP")]
        texts = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
        ranges = [parse_network(t) for t in texts]
        self.node_status.append((frozenset((meta.get("labels") or {}).items()), set(status)))
        if meta["name"] == self.host:
            self.host_labels = self.node_status[-1][0]
            self.host_addresses = set(status) | {r.network_address + 1 for r in ranges}
        for address in status + [r.network_address + 1 for r in ranges]:
            self.node_addresses.setdefault(address, set()).add(meta["name"])
        return ranges

    def _add_pod(self, pod):
        self.pods[str(pod)] = pod
        for address in pod.host_addresses:
            self.node_addresses.setdefault(address, set()).update({pod.node} - {None})
        if not pod.live or pod.host_network:
            return
        for address in pod.addresses:
            if address in self.owner:
                raise ValueError("%s and %s both live at %s" % (self.owner[address], pod, address))
            self.owner[address] = pod

    def namespace_labels(self, name):
        return self.namespaces.get(name) or frozenset({(NAME_LABEL, name)})

    def end(self, text, family=4):
        """The end that "namespace/pod" (in this family) or an address stands for."""
        key = (text, family)
        if key not in self._ends:
            self._ends[key] = self._find_end(text, family)
        return self._ends[key]

    def _find_end(self, text, family):
        if "/" in text:
            if text not in self.pods:
                raise LookupError("no pod %s" % text)
            address = self.pods[text].address(family)
            if address is None:
                raise LookupError("%s has no IPv%d address" % (text, family))
        else:
            address = ipaddress.ip_address(text)
        if address in self.owner:
            return End(address, "pod", pod=self.owner[address])
        if address in self.node_addresses:
            return End(address, "node", nodes=self.node_addresses[address])
        if any(address in r for r in self.pod_ranges):
            return End(address, "unknown")
        return End(address, "world")

    def verdict(self, src, dst, proto, port, family=4):
        """(allowed, why) for a new connection from src to dst, which is the address behind any Service."""
        s, d = self.end(src, family), self.end(dst, family)
        if s.address.version != d.address.version:
            raise ValueError("%s and %s are of different families" % (s.address, d.address))
        if proto not in PROTOCOLS or not 0 <= port <= 65535 or (port and proto not in PORT_PROTOCOLS):
            raise ValueError("protocol %r, port %r" % (proto, port))
        if s.address == d.address:
            return True, "to itself"
        if self._is_host(s) and self._is_host(d):
            return True, "the node to itself"
        why = []
        for direction, subject, peer in (("egress", s, d), ("ingress", d, s)):
            if not self._is_ours(subject):
                continue
            if direction == "ingress" and subject.pod and self._own_node(peer, subject.pod):
                allowed, reason = True, "from its own node"
            elif direction == "egress" and not subject.pod and peer.pod and self._own_node(subject, peer.pod):
                allowed, reason = True, "to a pod of its own"
            else:
                allowed, reason = self._judge(direction, subject, peer, proto, port)
            if not allowed:
                return False, "%s of %s: %s" % (direction, subject.name(), reason)
            why.append("%s: %s" % (direction, reason))
        return True, "; ".join(why) or "no pod of ours at either end"

    def verdicts(self, src, dsts, protos, ports, family=4):
        """[(dst, proto, port, allowed, why)] for all combinations; a protocol without ports comes once, as port 0."""
        return [(dst, proto, port) + self.verdict(src, dst, proto, port, family)
                for dst in dsts for proto in protos for port in (ports if proto in PORT_PROTOCOLS else (0,))]

    def _is_host(self, end):
        return end.kind == "node" and end.address in self.host_addresses

    def _is_ours(self, end):
        if end.pod:
            return self.node is None or end.pod.node == self.node
        return self._is_host(end)

    @staticmethod
    def _own_node(peer, pod):
        return peer.kind == "node" and (pod.node in peer.nodes or peer.address in pod.host_addresses)

    def _judge(self, direction, subject, peer, proto, port):
        """Admin tier, then NetworkPolicy (final for pods it isolates), then Baseline tier, then the default."""
        plan = self._plan(direction, subject, peer)
        action, why = walk(plan.admin, proto, port)
        if action in (ACCEPT, DENY):
            return action == ACCEPT, why
        if plan.isolated:
            for ports, reason in plan.allows:
                if hit(ports, proto, port) == YES:
                    return True, reason
            return False, "isolated, and no NetworkPolicy allows it"
        action, why = walk(plan.baseline, proto, port)
        if action in (ACCEPT, DENY):
            return action == ACCEPT, why
        return not self.deny_default or not subject.pod, "default"

    def _plan(self, direction, subject, peer):
        key = (direction, subject.address, peer.address)
        if key not in self._plans:
            self._plans[key] = self._make_plan(direction, subject, peer)
        return self._plans[key]

    def _make_plan(self, direction, subject, peer):
        plan, dst = Plan(), subject if direction == "ingress" else peer
        for policy in self._policies_of(subject.pod) if subject.pod else self._policies_of_host():
            if isinstance(policy, NetPolicy):
                plan.isolated |= direction in policy.rules
                plan.allows += [(resolve(r.ports, dst), r.why) for r in policy.rules.get(direction, [])
                                if r.match_peer(peer) == YES]
                continue
            rules = plan.admin if policy.tier == "Admin" else plan.baseline
            for r in policy.rules[direction]:
                match = r.match_peer(peer)
                if match != NO:
                    rules.append((r.action, match, resolve(r.ports, dst), r.why))
        return plan

    def _policies_of(self, pod):
        key = str(pod)
        if key not in self._selecting:
            every = self.tiers["Admin"] + self.net_policies + self.tiers["Baseline"]
            self._selecting[key] = [p for p in every if not p.of_nodes and p.subject.selects(pod)]
        return self._selecting[key]

    def _policies_of_host(self):
        return [p for p in self.tiers["Admin"] + self.tiers["Baseline"] if p.of_nodes and p.subject.selects_node(self.host_labels)]


def resolve(ports, dst):
    """[(certainty, protocol or None for any with ports, first, last)]; names become the destination pod's numbers."""
    if ports is None:
        return None
    out = []
    for p in ports:
        if p[0] == "number":
            out.append((YES,) + p[1:])
        elif dst.kind == "unknown":
            out.append((MAYBE, p[1], 1, 65535))
        elif dst.pod:
            out += [(YES, protocol, number, number) for name, protocol, number in dst.pod.ports
                    if name == p[2] and p[1] in (None, protocol)]
    return out


def hit(ports, proto, port):
    if ports is None:
        return YES
    return max((sure for sure, protocol, first, last in ports if first <= port <= last and protocol in (None, proto)), default=NO)


def walk(rules, proto, port):
    """The action of the first rule that matches, and which; what may match denies unless it accepts."""
    for action, peer, ports, why in rules:
        match = min(peer, hit(ports, proto, port))
        if match == YES:
            return action, why
        if match == MAYBE and action != ACCEPT:
            return DENY, "%s, which may cover this unknown pod" % why
    return None, None


# Observing

def observes(obj):
    """Does this policy only tell what it would deny?"""
    return (obj["metadata"].get("annotations") or {}).get(MODE) == "observe"


class Trial:
    """Objects of which some, or with observe all policies, only observe: judged once without those, and once as if none did."""

    def __init__(self, objects, observe=False, deny_default=False, host=None):
        in_force = [o for o in objects if o["kind"] not in POLICY_KINDS or not (observe or observes(o))]
        self.now = Cluster(in_force, deny_default=deny_default and not observe, host=host)
        self.then = Cluster(objects, deny_default=deny_default, host=host)

    def letter(self, *probe):
        """'.' allowed, 'X' denied, '!' allowed, but would be denied; Cluster.verdict() says what a probe is."""
        if not self.now.verdict(*probe)[0]:
            return "X"
        return "." if self.then.verdict(*probe)[0] else "!"


# Shrinking

def shrink(objects, predicate):
    """A small set of objects for which predicate still holds: whole objects go first, then parts of policies and labels.

    A step that would make a valid object invalid is not taken, so the difference that is left is the one that was found.
    """
    if not predicate(objects):
        raise ValueError("shrink: the predicate does not hold to begin with")
    objects = shrink_list(objects, predicate)
    progress = True
    while progress:
        progress = False
        for i, obj in enumerate(objects):
            sound = not problems(obj)
            for smaller in reductions(obj):
                candidate = objects[:i] + [smaller] + objects[i + 1:]
                if (not sound or not problems(smaller)) and predicate(candidate):
                    objects, progress = candidate, True
                    break
            if progress:
                break
    return shrink_list(objects, predicate)


def shrink_list(items, predicate):
    """Delta debugging: drops runs of items, from half of them down to one, as long as the predicate holds."""
    run = max(len(items) // 2, 1)
    while True:
        start, dropped = 0, False
        while start < len(items):
            candidate = items[:start] + items[start + run:]
            if predicate(candidate):
                items, dropped = candidate, True
            else:
                start += run
        if run == 1 and not dropped:
            return items
        run = max(run // 2, 1)


def problems(obj):
    """What is wrong with one object; a pod, node or namespace never has problems of its own."""
    return Cluster([obj]).problems if obj["kind"] in POLICY_KINDS else []


def reductions(obj):
    """Copies of an object with one element or optional key less, the largest parts first."""
    for path in sorted(removable(obj), key=len):
        smaller = copy.deepcopy(obj)
        at = smaller
        for step in path[:-1]:
            at = at[step]
        del at[path[-1]]
        yield smaller


def removable(obj):
    """Paths to elements of lists and to keys that an object can do without."""
    roots = [("spec",)] if obj["kind"] in POLICY_KINDS else [("metadata", "labels"), ("spec", "containers")]
    needed = {"podSelector", "namespaceSelector", "subject", "tier", "priority", "action", "key", "operator", "values",
              "cidr", "containerPort", "containers", "start", "end"}
    for root in roots:
        at = obj
        for step in root:
            at = at.get(step) or {}
        stack = [(root, at)]
        while stack:
            path, value = stack.pop()
            steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for step, inner in steps:
                if path != ("spec", "containers") and (isinstance(value, list) or step not in needed):
                    yield path + (step,)
                stack.append((path + (step,), inner))


def dump(objects):
    """The objects as text, one a line, to show what is left after shrinking."""
    return "\n".join(json.dumps(o, sort_keys=True) for o in objects)
