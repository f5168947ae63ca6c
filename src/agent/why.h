/* SPDX-License-Identifier: Apache-2.0 */
/* A packet's way, walked with its tables: what the files of the method `why` share. */
#pragma once

#include "agent/agent.h"
#include "datapath/walk.h"

enum verdict {
	WHY_DELIVERED,	 /* to its receiver, on this node */
	WHY_SENT,	 /* it leaves this node; what the receiver's node does must be asked there */
	WHY_DROPPED,	 /* by a program, with a reason */
	WHY_DENIED,	 /* by a policy */
	WHY_REFUSED,	 /* a Service that nobody serves: the sender is told */
	WHY_UNREACHABLE, /* the stack answers so */
	WHY_ELSEWHERE,	 /* this node does not see it */
	WHY_DEPENDS,	 /* on the Service's endpoint that is chosen */
};

/* What is asked about: packets of a conversation that the destination began? */
enum why_answers {
	WHY_BEGINS,	      /* no: a first packet */
	WHY_ANSWERS,	      /* judged as what the destination began */
	WHY_ANSWERS_UNSURELY, /* nobody saw who began it: judged as if either had */
	WHY_ANSWERS_NODE,     /* this node itself began it: not judged */
};

struct walk {
	struct agent *a;
	struct observe_end src, dst;
	struct dp_endpoint src_ep, dst_ep; /* id 0: no pod of this node */
	uint8_t proto;
	uint32_t bytes;
	enum why_answers answers;
	bool translated; /* the destination is an endpoint that was chosen: no Service is looked for any more */
	json_t *steps;
	enum verdict verdict;
	enum drop_reason reason;
	char *rule; /* that denied it, or NULL */
	json_t *anew; /* of answers: what a conversation that the source began would be denied for ({ reason, rule }), or NULL */
	json_t *would_deny; /* array: the rules of policies that only observe which would deny it */
	char *ask;  /* the node that decides the rest, or NULL */
	json_t *service, *endpoints, *others; /* whom the destination is, what becomes of it at each endpoint, and at how many more of them; or NULL */
};

const char *why_verdict_name(enum verdict v);
/* Where a packet is looked at, and what is found. */
void why_step(struct walk *w, const char *at, const char *fmt, ...) _printf_(3, 4);
void why_dropped(struct walk *w, const char *at, enum drop_reason why);
/* @ask: a node's name, copied; or NULL. */
void why_ends(struct walk *w, enum verdict v, const char *ask);

/* Its node; NULL: it has none, or is not known. Borrowed. */
const char *why_node_of(const struct observe_end *e);
/* This node's, as the programs are told, or as the kernel knows. */
bool why_is_own(struct walk *w, const struct addr *a);
/* Return: whether the flow table lets it pass. @beginner: the endpoint that begins the flow here; 0: one receives it, for which there is always room. */
bool why_check_flow(struct walk *w, const char *at, uint32_t beginner);
/* Does policy let it pass at that end? */
bool why_check_policy(struct walk *w, const char *at, bool egress);
void why_deliver_to_pod(struct walk *w, const char *at, bool past_stack);
void why_send_to_node(struct walk *w, const char *at, const struct dp_node_route *route);
/* It has come in at @at, and is believed. */
void why_arrive(struct walk *w, const char *at);
void why_walk(struct walk *w);

/* Names both ends, and finds which are pods of this node. */
void why_find_ends(struct walk *w);
void why_put_verdict(const struct walk *w, json_t *o);
void why_done(struct walk *w);

/* why_service.c. Is the destination a Service's where the packet is seen? Then it walks on to each endpoint. Return: whether it was one. */
bool why_service(struct walk *w);
