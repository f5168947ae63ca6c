/* SPDX-License-Identifier: Apache-2.0 */
/* YAML (1.1 core, as Kubernetes reads it) into jansson values: configuration, kubeconfig, manifests. */
#pragma once

#include "base/json.h"

/**
 * yaml_parse() - all documents of a text
 * @what: names the text in errors, for example a file name
 * @ret_docs: a JSON array with one value a document, empty documents left out; the caller's reference
 * @ret_error: on failure, when not NULL: "what: line 3, column 7: …", owned by the caller
 *
 * Aliases are resolved, within a bound of 100,000 values a text (the "billion laughs" guard); duplicate keys, keys
 * that are no scalars and more than 64 levels are errors. Plain scalars become null, booleans (true/false only) and
 * numbers as in the JSON schema of YAML; everything quoted is a string.
 *
 * Return: 0, -EINVAL for bad text, -E2BIG past a bound.
 */
int yaml_parse(const char *what, const char *text, size_t len, json_t **ret_docs, char **ret_error);

/**
 * yaml_key_line() - where a key stands, for an error about its value
 * @path: keys joined by dots, as in "datapath.attach"; a key may itself hold dots
 *
 * Only for texts that yaml_parse() accepted. Return: the line, counted from 1; 0 when there is no such key.
 */
size_t yaml_key_line(const char *text, size_t len, const char *path);
