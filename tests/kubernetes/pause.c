/* SPDX-License-Identifier: Apache-2.0 */
/* Sandbox process and node init: waits for ever and reaps orphans. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void down(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) ; }

int main(void) {
    struct sigaction d = {.sa_handler = down}, c = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
    sigaction(SIGINT, &d, 0);
    sigaction(SIGTERM, &d, 0);
    sigaction(SIGCHLD, &c, 0);
    reap(0);
    for (;;) pause();
}
