/* Loaded before libc: the wall clock is off by as many seconds as the file CLOCK_FILE says, and so are waits until a time
   of it; otherwise Ray's threads, whose time would never come to lie ahead, would not sleep at all.
   The monotonic clock is left alone, as it is when somebody sets a machine's clock. (libfaketime breaks sleeping there.) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*Clock)(clockid_t, struct timespec *);

static int real_clock(clockid_t clock, struct timespec *found) {
    static _Atomic(Clock) real;
    Clock known = atomic_load(&real);
    if (!known) atomic_store(&real, known = (Clock)dlsym(RTLD_NEXT, "clock_gettime"));
    return known(clock, found);
}

/* Read anew every 20 ms: a program asks for the time more often than a file can be opened. */
static long offset(void) {
    static atomic_long last_read = -1, last_value = 0;
    struct timespec now;
    real_clock(CLOCK_MONOTONIC, &now);
    long moment = now.tv_sec * 50 + now.tv_nsec / 20000000;
    if (atomic_exchange(&last_read, moment) == moment) return atomic_load(&last_value);
    const char *path = getenv("CLOCK_FILE");
    char text[32] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t count = read(file, text, sizeof text - 1);
    close(file);
    atomic_store(&last_value, count > 0 ? atol(text) : 0);
    return atomic_load(&last_value);
}

int clock_gettime(clockid_t clock, struct timespec *found) {
    int result = real_clock(clock, found);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) found->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *found, void *zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}

long syscall(long number, ...) {
    static _Atomic(long (*)(long, ...)) real;
    long (*known)(long, ...) = atomic_load(&real);
    if (!known) atomic_store(&real, known = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"));
    long given[6];
    va_list rest;
    va_start(rest, number);
    for (int place = 0; place < 6; place++) given[place] = va_arg(rest, long);
    va_end(rest);
    struct timespec until;
    if (number == SYS_futex && (given[1] & FUTEX_CLOCK_REALTIME) && given[3]) {
        until = *(struct timespec *)given[3];
        until.tv_sec -= offset();
        given[3] = (long)&until;
    }
    return known(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec then = *until;
    then.tv_sec -= offset();
    return real(condition, mutex, &then);
}
