/* SPDX-License-Identifier: Apache-2.0 */
/* OpenAPI documents, generated from the schemas of the kind table. */
#pragma once

#include "base/buf.h"
#include "hub/kind.h"

enum openapi_version { OPENAPI_V2, OPENAPI_V3 };

/* name -> definition, for a group and version, or (group NULL) all of them. A new reference. */
json_t *openapi_definitions(const char *group, const char *version, enum openapi_version v);

/* The definitions in the protobuf form of OpenAPI v2 (gnostic's openapi.v2.Document), which older clients insist on. */
void openapi_encode_v2(const json_t *definitions, const json_t *paths, struct buf *out);
