/* Preloaded into a program and its children: every change of a file under RECORD_UNDER, every sync of one, and every
 * message to a socket is written to RECORD_TO in the order in which they happened, whichever process did it.
 *
 * A change is noted once it is done, a message before it is sent; a sync before it begins and again when it is done: only
 * what was noted before its beginning is sure to be on the disk.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct header {
    char op;
    char padding[7];
    uint64_t pid, inode;
    int64_t offset, path_size, data_size;
};

static int kept(const char *path) {
    const char *under = getenv("RECORD_UNDER");
    return under && !strncmp(path, under, strlen(under));
}

static void note(char op, uint64_t inode, int64_t offset, const char *path, const void *data, int64_t size) {
    static int log = -1;
    const char *to = getenv("RECORD_TO");
    if (!to) return;
    if (log < 0 || fcntl(log, F_GETFD) < 0) {
        int plain = syscall(SYS_openat, AT_FDCWD, to, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
        log = fcntl(plain, F_DUPFD_CLOEXEC, 700);
        syscall(SYS_close, plain);
    }
    struct header header = {op, "", getpid(), inode, offset, strlen(path), size};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)path, strlen(path)}, {(void *)data, size}};
    syscall(SYS_writev, log, parts, 3);
}

/* The path of a descriptor that is to be recorded, else NULL. */
static const char *path_of(int fd, char *path, struct stat *status) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size < 0 || fstat(fd, status)) return NULL;
    path[size] = 0;
    return kept(path) ? path : NULL;
}

static const char *absolute(int folder, const char *path, char *whole) {
    char link[64];
    if (path[0] == '/') return path;
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX / 2)) return path;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, whole, PATH_MAX / 2);
        if (size < 0) return path;
        whole[size] = 0;
    }
    strcat(whole, "/");
    return strncat(whole, path, PATH_MAX / 2);
}

static int opened(int folder, const char *name, int flags, mode_t mode) {
    char whole[PATH_MAX] = "";
    const char *path = absolute(folder, name, whole);
    struct stat status;
    int made = (flags & O_CREAT) && kept(path) && lstat(path, &status);
    int fd = syscall(SYS_openat, folder, name, flags, mode);
    if (fd >= 0 && kept(path) && !fstat(fd, &status)) {
        if (made) note('c', status.st_ino, 0, path, "", 0);
        else if (flags & O_TRUNC) note('t', status.st_ino, 0, path, "", 0);
    }
    return fd;
}

#define MODE mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags | O_LARGEFILE, mode); }

static void written(int fd, int64_t offset, const void *data, ssize_t size) {
    char path[PATH_MAX];
    struct stat status;
    if (size > 0 && path_of(fd, path, &status) && S_ISREG(status.st_mode))
        note('w', status.st_ino, offset < 0 ? lseek(fd, 0, SEEK_CUR) - size : offset, path, data, size);
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t done = syscall(SYS_write, fd, data, size);
    written(fd, -1, data, done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, offset);
    written(fd, offset, data, done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }

static void shortened(int fd, off_t size) {
    char path[PATH_MAX];
    struct stat status;
    if (path_of(fd, path, &status)) note('t', status.st_ino, size, path, "", 0);
}

int ftruncate(int fd, off_t size) {
    int result = syscall(SYS_ftruncate, fd, size);
    if (!result) shortened(fd, size);
    return result;
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

static int synced(int fd, long call) {
    char path[PATH_MAX];
    struct stat status;
    const char *found = path_of(fd, path, &status);
    if (found) note('b', status.st_ino, 0, path, "", 0);
    int result = syscall(call, fd);
    if (found && !result) note('s', status.st_ino, 0, path, "", 0);
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlinkat(int folder, const char *name, int flags) {
    char whole[PATH_MAX] = "";
    const char *path = absolute(folder, name, whole);
    struct stat status;
    int there = kept(path) && !lstat(path, &status);
    int result = syscall(SYS_unlinkat, folder, name, flags);
    if (!result && there) note('u', status.st_ino, 0, path, "", 0);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int renameat(int from, const char *old, int to, const char *new) {
    char one[PATH_MAX] = "", two[PATH_MAX] = "";
    const char *before = absolute(from, old, one), *after = absolute(to, new, two);
    int result = syscall(SYS_renameat2, from, old, to, new, 0);
    struct stat status;
    if (!result && kept(after) && !lstat(after, &status)) note('r', status.st_ino, 0, before, after, strlen(after));
    return result;
}

int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }

int mkdirat(int folder, const char *name, mode_t mode) {
    char whole[PATH_MAX] = "";
    const char *path = absolute(folder, name, whole);
    int result = syscall(SYS_mkdirat, folder, name, mode);
    struct stat status;
    if (!result && kept(path) && !lstat(path, &status)) note('m', status.st_ino, 0, path, "", 0);
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

ssize_t send(int fd, const void *data, size_t size, int flags) {
    note('!', 0, 0, "", data, size < 4096 ? size : 4096);
    return syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (message->msg_iovlen) {
        size_t size = message->msg_iov[0].iov_len;
        note('!', 0, 0, "", message->msg_iov[0].iov_base, size < 4096 ? size : 4096);
    }
    return syscall(SYS_sendmsg, fd, message, flags);
}
