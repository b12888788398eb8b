/* Fail, or kill the process, at the Nth operation that changes a file below $DISK_ROOT.

   LD_PRELOAD=failing_disk.so DISK_ROOT=/tmp/x DISK_AT=7 DISK_ERRNO=28 pipy ask …

   DISK_AT      number of the operation, from 1; 0 only counts
   DISK_ERRNO   error of that operation and of all later ones, as on a full disk
   DISK_ONCE    only that operation fails
   DISK_HALF    if that operation is a write, half of the bytes are written first
   DISK_KILL    instead of failing: SIGKILL before (1) or after (2) the operation
   DISK_ONLY    only operations of this name count: write, fsync, flock, …
   DISK_LOG     a file, outside the root, for a line per operation */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int count;

static long setting(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

static int is_below_root(const char *path) {
    const char *root = getenv("DISK_ROOT");
    char absolute[PATH_MAX];
    if (!root || !path)
        return 0;
    if (path[0] != '/') {
        if (!getcwd(absolute, sizeof absolute - strlen(path) - 2))
            return 0;
        strcat(strcat(absolute, "/"), path);
        path = absolute;
    }
    return strncmp(path, root, strlen(root)) == 0;
}

static int path_of(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0 && path[0] == '/';
}

/* Return 0 to go on, 1 to fail with errno set, 2 to be killed after the operation. */
static int strike(const char *name, const char *path) {
    const char *only = getenv("DISK_ONLY");
    if (!is_below_root(path) || (only && *only && strcmp(only, name)))
        return 0;
    int number = atomic_fetch_add(&count, 1) + 1;
    const char *log = getenv("DISK_LOG");
    if (log && *log) {
        char line[PATH_MAX + 80];
        int length = snprintf(line, sizeof line, "%d %s %s\n", number, name, path);
        int (*really_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        ssize_t (*really_write)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        int fd = really_open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0) {
            if (really_write(fd, line, length) < 0)
                abort();
            close(fd);
        }
    }
    long at = setting("DISK_AT");
    if (!at || number < at || (number > at && (setting("DISK_ONCE") || setting("DISK_KILL"))))
        return 0;
    if (setting("DISK_KILL") == 1)
        kill(getpid(), SIGKILL);
    if (setting("DISK_KILL"))
        return 2;
    errno = (int)setting("DISK_ERRNO");
    return number == at ? 1 : 3;
}

static void end(int struck) {
    if (struck == 2)
        kill(getpid(), SIGKILL);
}

#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = dlsym(RTLD_NEXT, name)
#define FAILS(struck) ((struck) == 1 || (struck) == 3)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    char path[PATH_MAX];
    int struck = path_of(fd, path) ? strike("write", path) : 0;
    if (struck && struck != 3 && size > 1 && setting("DISK_HALF")) {
        ssize_t half = real(fd, data, size / 2);
        end(struck);
        return half;
    }
    if (FAILS(struck))
        return -1;
    ssize_t result = real(fd, data, size);
    end(struck);
    return result;
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    char path[PATH_MAX];
    int struck = path_of(fd, path) ? strike("fsync", path) : 0;
    int result = FAILS(struck) ? -1 : real(fd);
    end(struck);
    return result;
}

int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    char path[PATH_MAX];
    /* Making a file smaller needs no space. */
    int struck = setting("DISK_KILL") && path_of(fd, path) ? strike("ftruncate", path) : 0;
    int result = FAILS(struck) ? -1 : real(fd, size);
    end(struck);
    return result;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int flock(int fd, int operation) {
    REAL(int, "flock", int, int);
    char path[PATH_MAX];
    /* LOCK_UN is 8. A lock needs no space: it is only tried by its name. */
    int tried = getenv("DISK_ONLY") && !(operation & 8);
    int struck = tried && path_of(fd, path) ? strike("flock", path) : 0;
    int result = FAILS(struck) ? -1 : real(fd, operation);
    end(struck);
    return result;
}

#define OPEN(function)                                                              \
    int function(const char *path, int flags, ...) {                                \
        REAL(int, #function, const char *, int, ...);                               \
        va_list arguments;                                                          \
        va_start(arguments, flags);                                                 \
        mode_t mode = va_arg(arguments, mode_t);                                    \
        va_end(arguments);                                                          \
        struct stat status;                                                         \
        int creates = flags & O_CREAT && stat(path, &status) != 0;                  \
        int struck = creates ? strike("open", path) : 0;                            \
        int result = FAILS(struck) ? -1 : real(path, flags, mode);                  \
        end(struck);                                                                \
        return result;                                                              \
    }
OPEN(open)
OPEN(open64)

#define ON_PATH(name, parameters, path, ...)                       \
    int name parameters {                                          \
        int (*real) parameters = dlsym(RTLD_NEXT, #name);          \
        int struck = strike(#name, path);                          \
        int result = FAILS(struck) ? -1 : real(__VA_ARGS__);       \
        end(struck);                                               \
        return result;                                             \
    }
ON_PATH(mkdir, (const char *path, mode_t mode), path, path, mode)
ON_PATH(rename, (const char *from, const char *to), to, from, to)
ON_PATH(link, (const char *from, const char *to), to, from, to)

int unlink(const char *path) { /* which needs no space */
    REAL(int, "unlink", const char *);
    struct stat status;
    int struck = setting("DISK_KILL") && lstat(path, &status) == 0 ? strike("unlink", path) : 0;
    int result = real(path);
    end(struck);
    return result;
}
