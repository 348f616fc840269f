/* A disk that fails: after FAILS_AFTER writes and syncs of a store, each further one ends with the error
   number FAILS_WITH. Put before the C library by LD_PRELOAD (durability.py, proof 11). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int file)
{
    static long left = -1;
    const char *after = getenv("FAILS_AFTER"), *with = getenv("FAILS_WITH");
    char name[64], path[4096];
    ssize_t length;
    if (!after || !with)
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    length = readlink(name, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    if (!strstr(path, ".sqlite")) /* the store and its log, nothing else */
        return 0;
    if (left < 0)
        left = atol(after);
    if (left > 0) {
        left--;
        return 0;
    }
    errno = atoi(with);
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int file, const void *from, size_t bytes, off_t at)
{
    return fails(file) ? -1 : REAL(pwrite)(file, from, bytes, at);
}

ssize_t pwrite64(int file, const void *from, size_t bytes, off64_t at)
{
    return fails(file) ? -1 : REAL(pwrite64)(file, from, bytes, at);
}

int fsync(int file)
{
    return fails(file) ? -1 : REAL(fsync)(file);
}

int fdatasync(int file)
{
    return fails(file) ? -1 : REAL(fdatasync)(file);
}
