# SPDX-License-Identifier: Apache-2.0
"""Deliberate faults of the compiler: each must be found by the tests that look at verdicts (test_mutants.py).

(file below src/policy, text that is there exactly once, what stands there instead)
A text that is not there any more fails the test: the list follows the code.
"""

MUTANTS = [
    # selectors
    ("labels.c", "return !have || !one_of(t, have);", "return have && !one_of(t, have);"),  # NotIn of an absent key
    ("labels.c", "case SELECTOR_NOT_EXISTS:\n\t\treturn !have;", "case SELECTOR_NOT_EXISTS:\n\t\treturn have;"),
    ("profiles.c", "return sel_matches(peer->selector, pr->pairs, pr->n_pairs);", "return true;"),
    ("profiles.c", "if (peer->ns ? peer->ns != pr->ns->fixed : ", "if (peer->ns ? false : "),  # namespace escape
    ("object.c", "if (s->ns ? s->ns != pod->ns : !sel_matches(", "if (s->ns ? s->ns != pod->ns : sel_matches("),
    ("labels.c", "if (pair->used[use])\n\t\t\tret[n++] = pair;\n\t\telse ", ""),  # values are not told apart
    # directions and isolation
    ("network_policy.c", "if (s->isolates[POLICY_EGRESS])\n\t\tparse_rules", "if (s->isolates[POLICY_INGRESS])\n\t\tparse_rules"),
    ("flatten.c", "if (isolated(w->s, w->direction, &otherwise.rule) ", "if (isolated(w->s, POLICY_INGRESS, &otherwise.rule) "),
    ("network_policy.c", "s->isolates[POLICY_EGRESS] = present(egress) &&", "s->isolates[POLICY_EGRESS] = !present(egress) ||"),
    # tiers and precedence
    ("flatten.c", "if (o->spec->tier == TIER_BASELINE && isolates)", "if (o->spec->tier == TIER_ADMIN && isolates)"),
    ("object.c", "c = a->spec->priority - b->spec->priority;", "c = b->spec->priority - a->spec->priority;"),
    ("object.c", "c = strcmp(a->spec->name, b->spec->name);", "c = strcmp(b->spec->name, a->spec->name);"),
    ("flatten.c", "DEFAULT_PRECEDENCE + 2 * (w->n_rules - (t >> 1)) - (t & 1)", "DEFAULT_PRECEDENCE + 2 * (1 + (t >> 1)) - (t & 1)"),
    ("flatten.c", "unknown ? POLICY_DENY : f->verdict", "f->verdict"),  # an unknown pod passes by a Pass
    ("flatten.c", "f->verdict = deny ? POLICY_DENY : POLICY_ALLOW;", "f->verdict = POLICY_DENY;"),
    ("flatten.c", "if (dead[f->stage])", "if (dead[0] || dead[1])"),
    ("lookup.c", "if (found[s].precedence > best[s].precedence)", "if (found[s].precedence)"),  # the last probe wins
    # the node's own
    ("object.c", "o->spec->of_nodes == pod->host &&", "(pod->host || !o->spec->of_nodes) &&"),
    ("spec.c", "s->rules[i].direction = POLICY_INGRESS;", "s->rules[i].direction = POLICY_EGRESS;"),
    ("flatten.c", "return s->locks || (p->deny_default && !s->of_host);", "return s->locks || p->deny_default;"),
    # ports
    ("ports.c", "while (at + (1u << bits) - 1 > hi)", "while (bits && at + (1u << bits) - 2 > hi)"),
    ("flatten.c", "add_range(w, port->protocol, port->lo, port->hi, f->stage, slot);", "add_range(w, port->protocol, port->lo, port->lo, f->stage, slot);"),
    ("flatten.c", "found->value.slot[s->stage].precedence >= s->slot.precedence", "found->value.slot[s->stage].precedence <= s->slot.precedence"),
    ("flatten.c", "if (ports[i].name == name && (!protocol || ports[i].protocol == protocol))", "if (ports[i].name == name)"),
    ("flatten.c", "f->named |= !resolved_here;", ""),
    ("profiles.c", "if (pod->ports[i].name->used[USE_PORT])\n\t\t\tret[n++] = pod->ports[i];", ""),
    ("subjects.c", "if (r->names[j] == port->name)", "if (false && r->names[j] == port->name)"),
    # blocks
    ("blocks.c", "if (x == items + n || x->peer != parent->peers[at])", "if (true)"),  # exceptions inherit
    ("blocks.c", "bool root = prefix_eq(&items->prefix, &v4_root) ||", "bool root ="),  # ::/0 means IPv4 as well
    ("flatten.c", "addr_is_v4(&peer->cidr.addr) ? LIST_ANY4 : LIST_ANY6", "addr_is_v4(&peer->cidr.addr) ? LIST_ANY6 : LIST_ANY4"),
    ("classes.c", "a->blocks = blocks_find(&p->blocks, &a->addr)->set;", "a->blocks = p->blocks.prefixes[0].set;"),  # blocks do not mean pods
    # kinds of addresses, failing closed
    ("flatten.c", "if (peer->type == PEER_PODS && f->verdict != POLICY_ALLOW)", "if (false)"),
    ("classes.c", "uint32_t group = bp->in_range ? POLICY_CLASS_UNKNOWN : POLICY_CLASS_WORLD;", "uint32_t group = POLICY_CLASS_POD;"),
    ("cluster_policy.c", "r->any_peer = r->any_port = r->verdict != POLICY_ALLOW;", "r->any_peer = r->any_port = true;"),
    ("network_policy.c", "r->any_peer = n == 0;", "r->any_peer = false;"),
    ("offline.c", "if (!is_host_network(object) && !is_finished(object) &&", "if (!is_host_network(object) &&"),
    # on trial
    ("subjects.c", "if (!p->observe_all && !k->objects[i]->spec->observes)", "if (!p->observe_all)"),
    ("subjects.c", "pod->trial = all;\n\t\tif (all)", "if (all)\n\t\t\tpset_put(p, all);\n\t\tif (false)"),
    ("lookup.c", "if (!ret->allowed || ep->trial == POLICY_OPEN)", "if (true)"),
    ("flatten.c", "|| denies_by_default(w->p, w->s))", ")"),
    ("flatten.c", "deny ? POLICY_DENY : POLICY_ALLOW", "POLICY_ALLOW"),
    # incremental
    ("flatten.c", "if (r->peers[k]->version > s->flattened)", "if (false)"),
    ("profiles.c", "if (p->labels.dirty)\n\t\tupdate_all_pods(p);", ""),
    ("store.c", "ns->subjects_dirty = p->subjects_dirty = true;", ""),
]
