/* A disk that fails, for a process that is started with LD_PRELOAD set to this:
 *
 *   FAULT_PATH    whose path begins with this is on the faulty disk
 *   FAULT_SWITCH  while this file exists, what would change the disk fails; it holds
 *                     ERRNO [AFTER]
 *                 the errno to fail with, and after how many more operations to begin;
 *                 -1 lies: says that it is done, and does nothing
 *
 * Without a switch file all works. What a test removes and makes again counts anew. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct timespec made;
static long done;

static int on_disk(const char *path) {
    const char *disk = getenv("FAULT_PATH");
    return disk && !strncmp(path, disk, strlen(disk));
}

/* The errno that this operation fails with, -1 if it is to lie, or 0. */
static int fault(const char *path) {
    const char *name = getenv("FAULT_SWITCH");
    struct stat now;
    if (!name || !on_disk(path) || stat(name, &now))
        return 0;
    int number = 0, failing = 0;
    long after = 0;
    pthread_mutex_lock(&lock);
    if (memcmp(&made, &now.st_mtim, sizeof made)) {
        made = now.st_mtim;
        done = 0;
    }
    FILE *file = fopen(name, "r");
    if (file) {
        failing = fscanf(file, "%d %ld", &number, &after) >= 1 && done++ >= after;
        fclose(file);
    }
    pthread_mutex_unlock(&lock);
    return failing ? number : 0;
}

static int fault_fd(int fd) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fault(path);
}

#define REAL(result, name, ...) ((result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

/* Ends the function where there is a fault. */
#define FAULT(number, lie)   \
    do {                     \
        int n_ = (number);   \
        if (n_ < 0)          \
            return (lie);    \
        if (n_ > 0) {        \
            errno = n_;      \
            return -1;       \
        }                    \
    } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    FAULT(fault_fd(fd), (ssize_t)size);
    return REAL(ssize_t, write, int, const void *, size_t)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    FAULT(fault_fd(fd), (ssize_t)size);
    return REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return pwrite64(fd, data, size, at);
}

int ftruncate64(int fd, off64_t size) {
    FAULT(fault_fd(fd), 0);
    return REAL(int, ftruncate64, int, off64_t)(fd, size);
}

int fsync(int fd) {
    FAULT(fault_fd(fd), 0);
    return REAL(int, fsync, int)(fd);
}

int fdatasync(int fd) {
    FAULT(fault_fd(fd), 0);
    return REAL(int, fdatasync, int)(fd);
}

int fallocate64(int fd, int mode, off64_t at, off64_t size) {
    FAULT(fault_fd(fd), 0);
    return REAL(int, fallocate64, int, int, off64_t, off64_t)(fd, mode, at, size);
}

int fallocate(int fd, int mode, off_t at, off_t size) {
    return fallocate64(fd, mode, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    int number = fault_fd(fd);
    return number > 0 ? number : REAL(int, posix_fallocate64, int, off64_t, off64_t)(fd, at, size);
}

int posix_fallocate(int fd, off_t at, off_t size) {
    return posix_fallocate64(fd, at, size);
}

int rename(const char *from, const char *to) {
    FAULT(fault(to), 0);
    return REAL(int, rename, const char *, const char *)(from, to);
}

int unlink(const char *path) {
    FAULT(fault(path), 0);
    return REAL(int, unlink, const char *)(path);
}

/* A full disk may still be opened for writing, a read-only one may not. */
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if ((flags & O_ACCMODE) != O_RDONLY) {
        int number = fault(path);
        if (number > 0 && number != ENOSPC)
            FAULT(number, 0);
    }
    return REAL(int, open64, const char *, int, ...)(path, flags, mode);
}
