/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs whose work is done in this directory. */
#pragma once

int verb_mesh(int argc, char **argv);
int verb_observe(int argc, char **argv);
int verb_policy(int argc, char **argv);
int policy_live(int argc, char **argv); /* list, show. Return: exit code, -EINVAL when it is not understood */
int verb_service(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_why(int argc, char **argv);
