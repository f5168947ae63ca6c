/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler's own tables. Private to src/policy. */
#pragma once

#include "base/list.h"
#include "policy/blocks.h"
#include "policy/policy.h"

struct ns;
struct peer;
struct class_;

/* A number that a named port of a pod stands for. */
struct named_port {
	struct label_key *name;
	uint8_t protocol;
	uint16_t number;
};

/* What the namespace part of a peer can tell apart. */
struct ns_profile {
	struct htab_node node;
	unsigned refs;
	struct ns *fixed; /* set when a peer in use means this namespace by name */
	unsigned n;
	struct label_pair *pairs[];
};

/* Pods that no peer in use tells apart share a profile. */
struct profile {
	struct htab_node node;
	unsigned refs;
	struct ns_profile *ns;
	unsigned n_pairs, n_ports;
	struct label_pair **pairs;
	struct named_port *ports; /* those that some rule in use names */
	unsigned n_peers;
	struct peer **peers; /* in use and matching, by id */
	bool fresh;	     /* peers not computed yet */
	struct block_set *last_blocks; /* the last answer of class_of() */
	struct class_ *last_class;
};

struct ns {
	struct htab_node by_name;
	unsigned refs; /* pods, objects, peers, and one while known */
	bool known;
	struct label_set *labels;
	struct list pods, objects;
	struct ns_profile *profile;
	unsigned fixed_uses; /* peers in use that mean this namespace by name */
	uint64_t changed; /* policy.generation when `profile` was made */
	bool dirty, subjects_dirty;
	char name[];
};

/* An address and who says to own it. */
struct address {
	struct htab_node node;
	struct addr addr;
	struct claim *claims;
	struct block_set *blocks;
	uint64_t build; /* of the table of blocks, when `blocks` was found */
	struct class_ *class_;
	bool dirty, listed, gone; /* listed: in policy.sorted or .added; gone: nobody has it, emit frees it */
};

struct claim {
	struct claim *next;
	struct address *address;
	struct pod *pod; /* or */
	struct node *node_;
	bool reported; /* node: in its status.addresses */
};

struct pod {
	struct htab_node by_name;
	struct list by_ns, local_link, dirty_link; /* local_link: in policy.local while local; dirty_link: in policy.dirty_pods */
	struct ns *ns;
	struct label_set *labels;
	struct profile *profile;
	struct named_port *ports;
	struct claim claims[2];
	uint64_t serial;
	struct pset *pset;
	struct pset *trial; /* if those that only observe were in force too; NULL: none does, or that is `pset` */
	struct pset *failsafe; /* of the node: what is in force where `pset` finds no room; NULL: nothing is */
	unsigned n_ports;
	uint8_t n_claims;
	bool local, subject_dirty;
	bool host, after; /* this node itself (after its trial), whose labels are those of its namespace; it owns no address here: policy.host_addrs */
	bool locked; /* local, and its namespace is not known */
	char name[];
};

struct node {
	struct htab_node by_name;
	struct label_set *labels;
	struct claim *claims;
	unsigned n_claims;
	struct peer **peers; /* in use and matching, by id */
	unsigned n_peers;
	char name[];
};

/* What a rule can name, interned: equal peers of different policies are one. */
struct peer {
	struct htab_node node;
	unsigned refs;
	unsigned in_use; /* by rules of policies in force */
	uint32_t id;
	enum peer_type type;
	struct ns *ns;		/* PODS: fixed, or */
	struct sel *namespaces; /* PODS */
	struct sel *selector;	/* PODS, NODES */
	struct prefix cidr;
	struct prefix *except;
	unsigned n_except;
	bool any_pod;	 /* costs no class: it has a group */
	bool any_node;	 /* likewise */
	bool any_block;	 /* likewise: all of a family */
	struct list used; /* in policy.used: by its type, of those that classes know */
	unsigned in_table; /* BLOCK: uses that need it in the table of blocks */
	uint32_t place;	 /* blocks_count.c: in its list, from 1 on; 0: not there */
	uint64_t seen;	 /* rules_fit.c: policy.seen when it was last looked at */
	struct class_ **classes;
	unsigned n_classes, cap_classes;
	uint64_t version; /* when `classes` last changed */
	bool stale;	  /* one of `classes` is about to go: classes.c */
	char *text;	  /* canonical: the identity */
};

struct object_rule {
	const struct rule_spec *spec;
	uint32_t id;
	struct peer **peers;	  /* spec->n_peers */
	struct label_key **names; /* spec->n_ports; NULL where the port is numbers */
};

struct object {
	struct htab_node by_name;
	struct list by_ns; /* namespaced: struct ns.objects; else policy.cluster_objects */
	unsigned refs;	   /* the table's, and those of psets */
	unsigned in_use;   /* psets */
	struct policy_spec *spec;
	struct peer *subject;
	struct ns *ns;
	struct object_rule *rules;
	struct rule_owner *owner;
	uint32_t isolation_rule[POLICY_DIRECTIONS];
	uint64_t serial; /* tells versions of one object apart */
	bool left_out; /* what it names finds no room: it is not in use, and its policies have no entries (blocks_fit.c, rules_fit.c) */
	uint32_t place; /* blocks_fit.c, rules_fit.c: in their lists, from 1 on; 0: not there */
};

/* A class: the addresses that exactly the same peers in use match. Its content never changes. */
struct class_ {
	struct htab_node node;
	uint32_t id, group;
	unsigned members; /* addresses and prefixes, and one while held */
	bool held;
	unsigned n_peers, n_blocks, n_ports;
	struct peer **peers;  /* then blocks: n_peers + n_blocks */
	struct named_port *ports;
	struct class_ *next_gone;
	uint32_t scratch; /* flatten: index of its list, 0 none */
	uint32_t place; /* rules_fit.c: in its list */
	uint64_t seen;	/* likewise, as peer.seen */
};

struct rule_entry {
	struct class_ *class_; /* or NULL and */
	uint32_t wildcard;
	uint8_t direction;
	struct policy_rule_value value;
	struct port_table *ports;
};

struct port_table {
	struct htab_node node;
	unsigned refs;
	uint32_t id;
	uint32_t lens;
	unsigned n;
	bool emitted; /* some entry that is emitted refers to it */
	struct policy_port_entry entries[]; /* key.ports is 0 here */
};

/* The policy of endpoints to which the same objects apply (and for which named ports of their ingress rules mean the same). */
struct pset {
	struct htab_node node;
	unsigned refs; /* pods, by pset and trial */
	unsigned trials; /* of them by trial */
	uint32_t id;
	bool of_host; /* the node's, which has no default but to allow */
	bool locks;   /* but this one denies: the failsafe ports alone, for where the node's own policies find no room */
	bool idle;    /* a trial that finds no room (trials.c): no entries, and its objects' peers are not in use by it */
	bool retiring; /* no pod has it; kept until policy_settle() */
	uint64_t retired; /* while retiring: since when, as struct resting_id */
	unsigned n_objects, n_ports;
	struct object **objects;
	struct named_port *ports;
	uint64_t flattened; /* generation, 0 never */
	bool too_large, no_room; /* @no_room: an object of it is left out */
	uint32_t party; /* rules_fit.c */
	struct rule_entry *entries;
	size_t n_entries, cap_entries;
};

/* Ids from a counter, reused after policy_settle() only. @since: policy.compiled when it was given back; the next compile does without it. */
struct resting_id {
	uint32_t id;
	uint64_t since;
};

struct id_pool {
	uint32_t next;
	uint32_t *free;
	struct resting_id *resting;
	size_t n_free, cap_free, n_resting, cap_resting;
};

struct policy {
	struct label_pool labels;
	struct htab namespaces, pods, nodes, objects, addresses, peers, classes, psets, profiles, ns_profiles, port_tables, owners,
		rule_ids;
	struct list local, cluster_objects, dirty_pods;
	struct list used[PEER_NODES + 1]; /* peers: a table of all is walked through what is left out as well */
	size_t n_used;
	struct addr *host_addrs;
	size_t n_host_addrs;
	struct policy_host_times host_times;
	struct blocks blocks;
	struct prefix *ranges;
	size_t n_ranges;
	struct class_ groups[POLICY_CLASS_FIRST]; /* those that no selector tells apart */
	struct class_ **cidr_classes;		  /* of blocks.prefixes */
	size_t n_cidr_classes;
	struct address **sorted; /* by address; tombstones are NULL until the next emit */
	size_t n_sorted, cap_sorted;
	struct address **added; /* not sorted in yet */
	size_t n_added, cap_added;
	struct address **dirty;
	size_t n_dirty, cap_dirty;
	struct id_pool class_ids, policy_ids, port_ids, peer_ids;
	struct rule_id **rules; /* by id */
	uint32_t n_rules, cap_rules;
	uint32_t *free_rules;
	size_t n_free_rules, cap_free_rules;
	uint64_t generation, serial;
	uint64_t compiled; /* compiles that are done */
	size_t max_entries, max_memberships, max_prefixes, max_rules, trial_room;
	size_t n_table_blocks, n_table_marks; /* blocks in the table; with their exceptions */
	bool trials_left_out; /* all of them: they find no room */
	struct class_ **held; /* classes_hold() */
	size_t n_held;
	size_t n_left_out; /* objects in use, but for that */
	bool room_stale; /* something has changed since it was asked who is left out */
	bool patient, asked; /* policy_set_patient(), policy_ask_room() */
	uint64_t seen;
	unsigned retiring;
	bool observe_all, deny_default; /* policy_set_modes() */
	bool hostless;			/* policy_set_hostless() */
	uint64_t ported_version; /* when classes with named ports last changed */
	struct class_ **ported;	 /* classes with named ports */
	struct class_ *gone;	 /* classes without members, until the end of classes_update() */
	size_t n_ported, cap_ported;
	bool subjects_dirty, all_subjects_dirty, peers_dirty, dead_peers, blocks_dirty, ns_dirty, nodes_dirty, all_classes_dirty;
	struct policy_maps *maps;
};

/* store.c */
struct ns *ns_get(struct policy *p, const char *name); /* a reference */
void ns_put(struct policy *p, struct ns *ns);
/* Who has the address: a pod, else (NULL) a node, by @ret_node if rules about nodes mean this address; else NULL. */
struct pod *claim_winner(const struct address *a, struct node **ret_node);
void address_touch(struct policy *p, struct address *a);

/* compile.c: what an object lacks room for, and what comes of it; NULL: nothing */
const char *object_trouble(const struct policy *p, const struct object *o);

/* object.c */
struct object *object_new(struct policy *p, struct policy_spec *spec);
void object_put(struct policy *p, struct object *o);
void object_use(struct policy *p, struct object *o, int by);
void object_leave_out(struct policy *p, struct object *o, bool out);
int object_cmp(const struct object *a, const struct object *b); /* order of judgement */
bool subject_means(const struct peer *subject, const struct pod *pod);
bool object_selects(const struct object *o, const struct pod *pod);
/* store.c: this node; NULL when there was no policy_set_host() */
const struct pod *policy_host(const struct policy *p);
/* The node itself, whether or not it is in force there. */
bool object_means_host(const struct policy *p, const struct object *o);

/* peer.c */
struct peer *peer_get(struct policy *p, const struct peer_spec *spec);
void peer_put(struct policy *p, struct peer *peer);
void peer_use(struct policy *p, struct peer *peer, bool names_ports, int by);
void peers_sweep(struct policy *p);
uint64_t peer_word(const struct peer *peer); /* blocks_count.c: the sum of some tells which they are */

/* profiles.c */
void profiles_update(struct policy *p);
void profile_put(struct policy *p, struct profile *pr);
void ns_profile_put(struct policy *p, struct ns_profile *np);

/* classes.c */
void classes_init(struct policy *p);
void classes_update(struct policy *p);
/* Those that there are stay, though nobody may be in them, until they are released. */
void classes_hold(struct policy *p);
void classes_release(struct policy *p);
static inline bool class_is_empty(const struct class_ *c)
{
	return c->members == c->held;
}
void classes_done(struct policy *p);

/* subjects.c */
void subjects_update(struct policy *p);
void pset_put(struct policy *p, struct pset *s); /* a pod lets go */
void trial_put(struct policy *p, struct pset *s); /* likewise, of its trial */
void pset_free(struct policy *p, struct pset *s);
/* It cannot be in force. */
static inline bool pset_is_unfit(const struct pset *s)
{
	return s->too_large || s->no_room;
}

/* trials.c */
bool trials_take_part(const struct policy *p);
void trials_update(struct policy *p, bool left_out); /* of all that are in use now */
bool trials_lack_room(const struct policy *p);

/* blocks_fit.c; @anew: what is left out is asked for as well */
bool blocks_are_too_many(struct policy *p, bool anew);
void blocks_fit(struct policy *p, bool anew);

/* rules_fit.c: of the classes as they are */
bool rules_are_too_many(struct policy *p);
bool rules_fit(struct policy *p); /* return: whether more was left out; then classes are to be made again */

/* flatten.c */
void flatten_update(struct policy *p);
void pset_clear_entries(struct policy *p, struct pset *s);
typedef void flatten_class_fn(struct class_ *c, enum policy_direction direction, void *ctx);
/* Which classes, beside the wildcards, it has entries for: those of one direction, then of the other. Return: how many entries, wildcards and all; without those
 * of port tables. SIZE_MAX: its rules meet more often than can be looked at. */
size_t flatten_each_class(struct policy *p, struct pset *s, flatten_class_fn *fn, void *ctx);
struct port_table *port_table_put(struct policy *p, struct port_table *t);

/* emit.c */
struct policy_maps *maps_emit(struct policy *p);

/* rules.c */
struct rule_owner *rule_owner_get(struct policy *p, enum policy_kind kind, const char *ns, const char *name);
void rule_owner_put(struct policy *p, struct rule_owner *o);
uint32_t rule_id_get(struct policy *p, struct rule_owner *o, enum policy_direction d, int index, const char *rule_name);
void rule_id_put(struct policy *p, uint32_t id);

/* ids.c */
uint32_t id_take(struct id_pool *pool);
void id_rest(struct id_pool *pool, uint32_t id, uint64_t since);
void id_pool_settle(struct id_pool *pool, uint64_t compiled);
void id_pool_done(struct id_pool *pool);
