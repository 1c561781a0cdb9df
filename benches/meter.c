/* Runs a command once and prints what it cost, as JSON: wall, user and system seconds, the largest
 * resident set of it or of a child of its own in KiB, and how it ended.
 *
 *     meter OUT COMMAND ARGUMENT...
 *
 * In C since the kernel counts the memory of whoever forks as the child's until it calls exec: from
 * Python each peer would seem to need 10 MiB. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec / 1e6; }

int main(int argc, char **argv) {
    struct timespec begin, end;
    struct rusage used;
    int status;
    if (argc < 3) return 2;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) < 0) return 2;
    clock_gettime(CLOCK_MONOTONIC, &end);
    FILE *out = fopen(argv[1], "w");
    if (!out) return 2;
    fprintf(out, "{\"wall\":%.6f,\"cpu\":%.6f,\"rss_kib\":%ld,\"code\":%d}\n",
            (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9,
            seconds(used.ru_utime) + seconds(used.ru_stime), used.ru_maxrss,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(out) != 0;
}
