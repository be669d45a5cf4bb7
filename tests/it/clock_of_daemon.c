/* This machine's clocks for one process: loaded before it (LD_PRELOAD), and ahead by the seconds in the files CLOCK_OFF_BY, of the time
   of day, and STEADY_OFF_BY, of the steady clock: as a clock that somebody sets while the process runs, and as time that passes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long off_by(const char *variable) {
    char text[32] = {0};
    const char *path = getenv(variable);
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_REALTIME) time->tv_sec += off_by("CLOCK_OFF_BY");
    if (!failed && clock == CLOCK_MONOTONIC) time->tv_sec += off_by("STEADY_OFF_BY");
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int failed = syscall(SYS_gettimeofday, time, zone);
    if (!failed) time->tv_sec += off_by("CLOCK_OFF_BY");
    return failed;
}
