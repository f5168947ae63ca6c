/* SPDX-License-Identifier: Apache-2.0 */
/* The ServiceCIDR "kubernetes" and an IPAddress for each cluster address: what the API's readers are told of the ranges and of
 * what is taken of them. The pools decide (service_ip.c), these objects follow. */
#pragma once

#include "hub/hub.h"

/* Makes them as the options and the stored services are; follows services from then on. After services_claim(). */
void address_objects_start(struct hub *hub);
