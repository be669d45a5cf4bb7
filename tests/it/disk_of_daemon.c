/* A disk in trouble, for one process that this is loaded before (LD_PRELOAD): `DISK_IS=full` leaves no room for a byte more in files
   but those that it was started with (its log is elsewhere), `DISK_IS=read-only` opens no database for writing and writes to none that is open. What begins with `@` names a file that says it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int disk_is(const char *trouble) {
    const char *is = getenv("DISK_IS");
    if (!is || *is != '@') return is && !strcmp(is, trouble);
    char said[32] = "";
    int file = syscall(SYS_openat, AT_FDCWD, is + 1, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return 0;
    syscall(SYS_read, file, said, sizeof said - 1);
    syscall(SYS_close, file);
    return !strcmp(said, trouble);
}

static int is_of_database(int file) {
    char link[32], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    return readlink(link, path, sizeof path - 1) > 0 && strstr(path, "crm.db");
}

static int takes_nothing(int file) {
    struct stat found;
    if (disk_is("read-only") && is_of_database(file)) {
        errno = EROFS;
        return 1;
    }
    if (file <= STDERR_FILENO || !disk_is("full") || fstat(file, &found) || !S_ISREG(found.st_mode)) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t size) {
    return takes_nothing(file) ? -1 : syscall(SYS_write, file, bytes, size);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
    return takes_nothing(file) ? -1 : syscall(SYS_pwrite64, file, bytes, size, at);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) {
    return pwrite64(file, bytes, size, at);
}

static int opened(const char *path, int flags, mode_t mode) {
    if ((flags & O_ACCMODE) != O_RDONLY && strstr(path, "crm.db") && disk_is("read-only")) {
        errno = EROFS;
        return -1;
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, mode);
}
