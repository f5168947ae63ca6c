/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs whose work is done in this directory. */
#pragma once

#define DEFAULT_SOCKET "/run/weft/weftd.sock" /* of the agent */

/* Takes a word of a verb and, when it needs it, the one behind (NULL: there is none). Return: how many of those behind were taken, or
 * -EINVAL, which has been said. */
typedef int verb_word_fn(void *wish, const char *word, const char *next);

/**
 * verb_words() - all words behind a verb
 *
 * Return: 0; 1 when help was asked for, and printed; what @take refused with.
 */
int verb_words(int argc, char **argv, const char *usage, verb_word_fn *take, void *wish);

int verb_mesh(int argc, char **argv);
int verb_observe(int argc, char **argv);
int verb_policy(int argc, char **argv);
int policy_live(int argc, char **argv); /* list, show. Return: exit code, -EINVAL when it is not understood */
int verb_service(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_why(int argc, char **argv);
