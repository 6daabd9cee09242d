/* Preloaded into a program: counts what it does to the files of one folder, keeps a log of it, and fails or kills it where it is told
 * to. Built and used by injection.py, which has the other half of what is agreed here.
 *
 *   SHIM_FOLDER  the folder, without symbolic links in its path
 *   SHIM_LOG     a file elsewhere: how many operations were tried (uint64), then a `struct record` with two paths and data for each
 *                that changed something
 *   SHIM_AT      the operation at which something happens, from 1; without it, all is only logged
 *   SHIM_DO      "kill": SIGKILL before it; "tear": SIGKILL before it, or after half of what it writes; else an errno
 *   SHIM_LAST    with an errno: the last operation that fails
 *   SHIM_GROUP   set here: the process group that is killed, that of the first process
 *
 * One operation at a time, among all threads and processes, under a lock on the log: the order in the log is the order on disk.
 * Not seen: mmap, O_TMPFILE, io_uring, and the insides of libc (stdio). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { CREATE, WRITE, RESIZE, SYNC, SYNC_FOLDER, RENAME, UNLINK, RMDIR, MKDIR, SYMLINK, LINK };

struct record {
    uint64_t number;
    int64_t offset; /* of WRITE; the new size of RESIZE */
    uint32_t kind, path_bytes, other_bytes, data_bytes;
};

static const char *root, *log_path;
static size_t root_length;
static uint64_t at, last;
static enum { LOG, KILL, TEAR, FAIL } what;
static int error, group;

static uint64_t number(const char *name)
{
    const char *value = getenv(name);
    return value ? strtoull(value, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *doing = getenv("SHIM_DO");
    char text[24];
    root = getenv("SHIM_FOLDER");
    log_path = getenv("SHIM_LOG");
    if (!root || !log_path) {
        root = NULL;
        return;
    }
    root_length = strlen(root);
    at = number("SHIM_AT");
    last = number("SHIM_LAST");
    if (at && doing) {
        what = !strcmp(doing, "kill") ? KILL : !strcmp(doing, "tear") ? TEAR : FAIL;
        error = atoi(doing);
    }
    group = (int)number("SHIM_GROUP");
    if (!group) {
        group = getpgrp();
        snprintf(text, sizeof text, "%d", group);
        setenv("SHIM_GROUP", text, 1);
    }
}

static void die(void)
{
    kill(-group, SIGKILL);
    kill(getpid(), SIGKILL); /* a process in a group of its own */
    for (;;)
        pause();
}

/* Cuts `path` down to what stands behind the folder's; false where it is outside. */
static bool below(char *path)
{
    if (strncmp(path, root, root_length) || path[root_length] != '/')
        return false;
    memmove(path, path + root_length + 1, strlen(path + root_length));
    return true;
}

static bool path_of(int fd, char path[PATH_MAX])
{
    static const char deleted[] = " (deleted)";
    char link[48];
    ssize_t length;
    if (!root)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return false;
    path[length] = 0;
    if (length > (ssize_t)sizeof deleted && !strcmp(path + length - (sizeof deleted - 1), deleted))
        return false;
    if (!strcmp(path, root)) {
        path[0] = 0;
        return true;
    }
    return below(path);
}

/* As realpath, but a link at the end is not followed, and nothing need be there. */
static bool resolve(int folder, const char *name, char path[PATH_MAX])
{
    char whole[PATH_MAX * 2 + 2], base[PATH_MAX] = "", link[48], *slash;
    ssize_t length;
    if (!root || !name || strlen(name) >= PATH_MAX)
        return false;
    if (name[0] != '/') {
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        length = readlink(link, base, sizeof base - 1);
        if (length < 0)
            return false;
        base[length] = 0;
    }
    length = snprintf(whole, sizeof whole, "%s/%s", base, name);
    while (length > 1 && whole[length - 1] == '/')
        whole[--length] = 0;
    slash = strrchr(whole, '/');
    *slash = 0;
    if (!realpath(*whole ? whole : "/", path) || strlen(path) + strlen(slash + 1) + 2 > PATH_MAX)
        return false;
    strcat(strcat(path, "/"), slash + 1);
    return below(path);
}

static bool exists(int folder, const char *name)
{
    struct stat found;
    return !fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW);
}

struct turn {
    int log, error;
    bool half;
    uint64_t number;
};

static bool refused(enum kind kind, uint64_t n)
{
    bool removal = kind == UNLINK || kind == RMDIR, sync = kind == SYNC || kind == SYNC_FOLDER;
    if (error == ENOSPC) /* what takes no space goes on; only the first operation, whatever it be, is refused */
        return !removal && (n == at || !(sync || kind == RENAME));
    if (error == EROFS)
        return !sync;
    return true;
}

/* An operation's turn: its number is taken, and it is killed or fails where that was asked for. */
static struct turn enter(enum kind kind)
{
    struct turn turn = {syscall(SYS_openat, AT_FDCWD, log_path, O_RDWR | O_CLOEXEC), 0, false, 0};
    uint64_t n = 0;
    if (turn.log < 0)
        abort();
    while (flock(turn.log, LOCK_EX) && errno == EINTR)
        ;
    if (syscall(SYS_pread64, turn.log, &n, sizeof n, (off_t)0) != sizeof n)
        n = 0;
    turn.number = ++n;
    if (syscall(SYS_pwrite64, turn.log, &n, sizeof n, (off_t)0) != sizeof n)
        abort();
    if (what == LOG || n < at)
        return turn;
    if (what == KILL || (what == TEAR && kind != WRITE))
        die();
    if (what == TEAR) {
        turn.half = true;
        return turn;
    }
    if (n > last || !refused(kind, n))
        return turn;
    if (error == ENOSPC && kind == WRITE && n == at && last > at)
        turn.half = true; /* a disk that fills up takes what it can, and says so */
    else
        turn.error = error;
    return turn;
}

static void put_all(int log, const void *data, size_t length)
{
    while (length) {
        ssize_t done = syscall(SYS_write, log, data, length);
        if (done < 0)
            abort();
        data = (const char *)data + done;
        length -= done;
    }
}

/* The operation was done, or `result` is negative and errno says why: logged, and the next one's turn. */
static void leave(struct turn turn, long result, enum kind kind, const char *path, const char *other, const void *data, size_t length,
                  int64_t offset)
{
    int saved = errno;
    if (result >= 0) {
        struct record record = {turn.number, offset, kind, strlen(path), other ? strlen(other) : 0, length};
        lseek(turn.log, 0, SEEK_END);
        put_all(turn.log, &record, sizeof record);
        put_all(turn.log, path, record.path_bytes);
        put_all(turn.log, other, record.other_bytes);
        put_all(turn.log, data, length);
    }
    syscall(SYS_close, turn.log);
    errno = saved;
}

static long refuse(struct turn turn)
{
    errno = turn.error;
    return -1;
}

/* One operation on names: `call` is done in its turn. */
#define NAMED(kind, path, other, data, length, call)                                                                                       \
    do {                                                                                                                                   \
        struct turn turn = enter(kind);                                                                                                    \
        long result = turn.error ? refuse(turn) : (call);                                                                                  \
        leave(turn, result, kind, path, other, data, length, 0);                                                                           \
        return result;                                                                                                                     \
    } while (0)

static int open_at(int folder, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    struct stat found;
    bool there;
    int result;
    enum kind kind;
    struct turn turn;
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !resolve(folder, name, path))
        return syscall(SYS_openat, folder, name, flags, mode);
    there = !fstatat(folder, name, &found, 0);
    kind = there ? RESIZE : CREATE;
    if (there && (!(flags & O_TRUNC) || found.st_size == 0 || flags & O_EXCL || !S_ISREG(found.st_mode)))
        return syscall(SYS_openat, folder, name, flags, mode);
    if (!there && !(flags & O_CREAT))
        return syscall(SYS_openat, folder, name, flags, mode);
    turn = enter(kind);
    result = turn.error ? refuse(turn) : syscall(SYS_openat, folder, name, flags, mode);
    if (result >= 0)
        path_of(result, path);
    leave(turn, result, kind, path, NULL, NULL, 0, 0);
    return result;
}

#define MODE(flags)                                                                                                                        \
    mode_t mode = 0;                                                                                                                       \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                                                   \
        va_list rest;                                                                                                                      \
        va_start(rest, flags);                                                                                                             \
        mode = va_arg(rest, mode_t);                                                                                                       \
        va_end(rest);                                                                                                                      \
    }

int open(const char *name, int flags, ...)
{
    MODE(flags)
    return open_at(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...)
{
    MODE(flags)
    return open_at(AT_FDCWD, name, flags, mode);
}

int openat(int folder, const char *name, int flags, ...)
{
    MODE(flags)
    return open_at(folder, name, flags, mode);
}

int openat64(int folder, const char *name, int flags, ...)
{
    MODE(flags)
    return open_at(folder, name, flags, mode);
}

/* offset: -1 for where the file stands */
static ssize_t put(int fd, const void *data, size_t length, off_t offset)
{
    char path[PATH_MAX];
    struct turn turn;
    struct stat found;
    off_t start = offset;
    ssize_t result;
    if (!length || !path_of(fd, path))
        return offset < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
    turn = enter(WRITE);
    if (offset < 0)
        start = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &found) ? found.st_size : lseek(fd, 0, SEEK_CUR);
    if (turn.half)
        length = (length + 1) / 2;
    result = turn.error ? refuse(turn) : offset < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
    if (turn.half && what == TEAR)
        die();
    leave(turn, result, WRITE, path, NULL, data, result < 0 ? 0 : result, start);
    return result;
}

ssize_t write(int fd, const void *data, size_t length)
{
    return put(fd, data, length, -1);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return put(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    return put(fd, data, length, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    char path[PATH_MAX];
    if (!path_of(fd, path))
        return syscall(SYS_writev, fd, parts, count);
    while (count > 1 && !parts->iov_len)
        parts++, count--;
    return count ? put(fd, parts->iov_base, parts->iov_len, -1) : 0; /* less than all of it is allowed */
}

static ssize_t copy_some(int out, int in, off_t *offset, size_t length)
{
    static _Thread_local char buffer[64 * 1024];
    char path[PATH_MAX];
    ssize_t got;
    if (!path_of(out, path))
        return syscall(SYS_sendfile, out, in, offset, length);
    if (length > sizeof buffer)
        length = sizeof buffer;
    got = offset ? pread(in, buffer, length, *offset) : read(in, buffer, length);
    if (got <= 0)
        return got;
    length = got;
    got = put(out, buffer, length, -1);
    if (got > 0 && offset)
        *offset += got;
    else if (!offset)
        lseek(in, (got < 0 ? 0 : got) - (off_t)length, SEEK_CUR); /* what was read and not written */
    return got;
}

ssize_t sendfile(int out, int in, off_t *offset, size_t length)
{
    return copy_some(out, in, offset, length);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t length)
{
    return copy_some(out, in, offset, length);
}

ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length, unsigned int flags)
{
    char path[PATH_MAX];
    if (!path_of(out, path))
        return syscall(SYS_copy_file_range, in, in_offset, out, out_offset, length, flags);
    errno = ENOSYS; /* who calls it falls back to read and write */
    return -1;
}

static int resize(int fd, off_t size)
{
    char path[PATH_MAX];
    struct turn turn;
    struct stat found;
    int result;
    if (!path_of(fd, path) || fstat(fd, &found) || found.st_size == size)
        return syscall(SYS_ftruncate, fd, size);
    turn = enter(RESIZE);
    result = turn.error ? refuse(turn) : syscall(SYS_ftruncate, fd, size);
    leave(turn, result, RESIZE, path, NULL, NULL, 0, size);
    return result;
}

int ftruncate(int fd, off_t size)
{
    return resize(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return resize(fd, size);
}

static int truncate_named(const char *name, off_t size)
{
    int result, fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    result = resize(fd, size);
    syscall(SYS_close, fd);
    return result;
}

int truncate(const char *name, off_t size)
{
    return truncate_named(name, size);
}

int truncate64(const char *name, off64_t size)
{
    return truncate_named(name, size);
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
    struct stat found;
    if (fstat(fd, &found))
        return errno;
    return found.st_size >= offset + length || !resize(fd, offset + length) ? 0 : errno;
}

int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
    return posix_fallocate(fd, offset, length);
}

static int sync_one(int fd, long call)
{
    char path[PATH_MAX];
    struct stat found;
    enum kind kind;
    if (!path_of(fd, path) || fstat(fd, &found))
        return syscall(call, fd);
    kind = S_ISDIR(found.st_mode) ? SYNC_FOLDER : SYNC;
    NAMED(kind, path, NULL, NULL, 0, 0); /* logged, not done: this computer stays on */
}

int fsync(int fd)
{
    return sync_one(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_one(fd, SYS_fdatasync);
}

/* `path` is empty where a file comes from elsewhere. */
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags)
{
    char path[PATH_MAX], other[PATH_MAX];
    if (!resolve(to_folder, to, other) || !exists(from_folder, from))
        return syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (!resolve(from_folder, from, path))
        path[0] = 0;
    NAMED(RENAME, path, other, NULL, 0, syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return renameat2(from_folder, from, to_folder, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int folder, const char *name, int flags)
{
    char path[PATH_MAX];
    enum kind kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    if (!resolve(folder, name, path) || !exists(folder, name))
        return syscall(SYS_unlinkat, folder, name, flags);
    NAMED(kind, path, NULL, NULL, 0, syscall(SYS_unlinkat, folder, name, flags));
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    if (!resolve(folder, name, path) || exists(folder, name))
        return syscall(SYS_mkdirat, folder, name, mode);
    NAMED(MKDIR, path, NULL, NULL, 0, syscall(SYS_mkdirat, folder, name, mode));
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}

int symlinkat(const char *target, int folder, const char *name)
{
    char path[PATH_MAX];
    if (!resolve(folder, name, path) || exists(folder, name))
        return syscall(SYS_symlinkat, target, folder, name);
    NAMED(SYMLINK, path, NULL, target, strlen(target), syscall(SYS_symlinkat, target, folder, name));
}

int symlink(const char *target, const char *name)
{
    return symlinkat(target, AT_FDCWD, name);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    char path[PATH_MAX], other[PATH_MAX];
    if (!resolve(to_folder, to, other) || exists(to_folder, to))
        return syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    if (!resolve(from_folder, from, path))
        path[0] = 0;
    NAMED(LINK, path, other, NULL, 0, syscall(SYS_linkat, from_folder, from, to_folder, to, flags));
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}
