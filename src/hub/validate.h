/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that several kinds need: metadata, names, addresses. Each adds to @e what it finds. */
#pragma once

#include "hub/object.h"
#include "net/addr.h"

void validate_meta(const struct kind *k, const json_t *obj, struct errors *e);
void validate_meta_update(const json_t *obj, const json_t *old, struct errors *e);
void validate_labels(const json_t *labels, const struct path *at, struct errors *e);
void validate_label_selector(const json_t *selector, const struct path *at, struct errors *e);
void validate_label(const json_t *v, const struct path *at, struct errors *e);	 /* DNS-1123 label */
void validate_subdomain(const json_t *v, const struct path *at, struct errors *e); /* DNS-1123 subdomain */
/* As a label's key: example.com/name. */
void validate_qualified_name(const json_t *v, const struct path *at, struct errors *e);
void validate_ip(const json_t *v, const struct path *at, struct errors *e);
/* Why an address can be no endpoint's (nor an external address of a service), or NULL. */
const char *endpoint_address_fault(const struct addr *a);
void validate_cidr(const json_t *v, const struct path *at, struct errors *e);
void validate_port_name(const json_t *v, const struct path *at, struct errors *e); /* IANA service name */
/* A number from 1 to 65535 or a port's name. */
void validate_port_or_name(const json_t *v, const struct path *at, struct errors *e);
void validate_immutable(const json_t *v, const json_t *old, const struct path *at, struct errors *e);

/* Sets a string or an integer that is not there. */
void default_str(json_t *obj, const char *field, const char *value);
void default_int(json_t *obj, const char *field, json_int_t value);
json_t *default_object(json_t *obj, const char *field); /* the object there, made when missing; borrowed */
