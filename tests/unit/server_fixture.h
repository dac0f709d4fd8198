/* SPDX-License-Identifier: MIT */
/*
 * server_fixture - real servers for the unit tests of io/, each test program its own
 *
 * Servers run as an unprivileged user in a directory of their own, die with the test
 * (PDEATHSIG), and are ended by their pid.  Readiness is polled with a deadline.
 */
#ifndef TOCSIN_TESTS_SERVER_FIXTURE_H
#define TOCSIN_TESTS_SERVER_FIXTURE_H
#include <arpa/inet.h>
#include <fcntl.h>
#include <glob.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How many times slower than a quiet machine another may be; limits on success are for that one. */
#define FIXTURE_PATIENCE 6

struct fixture {
    char dir[64];
    uid_t uid; /* whom the servers run as; 0 when we are nobody special ourselves */
    gid_t gid;
};

static inline int64_t fixture_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void fixture_pause(void)
{
    struct timespec pause = {.tv_nsec = 5000000};

    nanosleep(&pause, NULL);
}

/* Standard-looking places only; NULL when there is none. */
static inline bool fixture_find(const char *pattern, char *out, size_t out_bytes)
{
    glob_t found;
    bool is_found = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;

    if (is_found)
        snprintf(out, out_bytes, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return is_found;
}

static inline bool fixture_open(struct fixture *fixture)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam("nobody") : NULL;

    memset(fixture, 0, sizeof *fixture);
    snprintf(fixture->dir, sizeof fixture->dir, "/tmp/tocsin-unit-XXXXXX");
    if (!mkdtemp(fixture->dir))
        return false;
    if (!user)
        return geteuid() != 0;
    fixture->uid = user->pw_uid;
    fixture->gid = user->pw_gid;
    return chown(fixture->dir, user->pw_uid, user->pw_gid) == 0;
}

/* Starts argv in the directory; its output goes to the file "log" there. */
static inline pid_t fixture_spawn(const struct fixture *fixture, const char *const argv[])
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    if (fixture->uid && (setgid(fixture->gid) != 0 || setuid(fixture->uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || chdir(fixture->dir) != 0)
        _exit(126);
    int fd = open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static inline int fixture_run(const struct fixture *fixture, const char *const argv[])
{
    int status = -1;
    pid_t pid = fixture_spawn(fixture, argv);

    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* cert.pem and key.pem for localhost, signed by itself; false without the openssl program. */
static inline bool fixture_make_certificate(const struct fixture *fixture)
{
    static const char *const argv[] = {"/usr/bin/openssl",
                                       "req",
                                       "-x509",
                                       "-newkey",
                                       "ec",
                                       "-pkeyopt",
                                       "ec_paramgen_curve:prime256v1",
                                       "-nodes",
                                       "-keyout",
                                       "key.pem",
                                       "-out",
                                       "cert.pem",
                                       "-days",
                                       "2",
                                       "-subj",
                                       "/CN=localhost",
                                       "-addext",
                                       "subjectAltName=DNS:localhost",
                                       NULL};

    return access(argv[0], X_OK) == 0 && fixture_run(fixture, argv) == 0;
}

static inline void fixture_end(pid_t pid, int signo)
{
    int status;

    if (pid <= 0)
        return;
    kill(pid, SIGCONT);
    kill(pid, signo);
    waitpid(pid, &status, 0);
}

static inline void fixture_remove(const struct fixture *fixture)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf -- '%s'", fixture->dir);
    if (system(command) != 0)
        fprintf(stderr, "could not remove %s\n", fixture->dir);
}

static inline int fixture_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int port = -1;

    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &length) == 0)
        port = ntohs(address.sin_port);
    close(fd);
    return port;
}

static inline bool fixture_wait_socket(const char *path, int64_t within_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        return false;
    memcpy(address.sun_path, path, strlen(path) + 1);
    for (int64_t end = fixture_now_ms() + within_ms * FIXTURE_PATIENCE; fixture_now_ms() < end;
         fixture_pause()) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_up = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;

        close(fd);
        if (is_up)
            return true;
    }
    return false;
}

static inline bool fixture_wait_port(int port, int64_t within_ms)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)port)};

    for (int64_t end = fixture_now_ms() + within_ms * FIXTURE_PATIENCE; fixture_now_ms() < end;
         fixture_pause()) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_up = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;

        close(fd);
        if (is_up)
            return true;
    }
    return false;
}

static inline void fixture_write(const struct fixture *fixture, const char *name, const char *text)
{
    char path[160];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", fixture->dir, name);
    file = fopen(path, "w");
    if (!file)
        abort();
    fputs(text, file);
    fclose(file);
    if (fixture->uid && chown(path, fixture->uid, fixture->gid) != 0)
        abort();
}

#endif
