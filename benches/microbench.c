/*
 * Small operations of a Linux program, each repeated between two markers (see count.c).
 *
 *   microbench            runs all; prints "bench KK NAME N": markers KK and KK+1 frame N operations
 *   microbench mark NN    executes marker NN (0 to 15, 64 to 67) and ends
 *
 * Static, so that it runs in any first file system.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MARK(nn) __asm__ volatile("prefetchnta %c0" : : "i"(0x4c414200 + (nn)) : "memory")

static void must(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void system_call(long n)
{
    while (n--)
        syscall(SYS_getpid);
}

static void fork_exit(long n)
{
    while (n--) {
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0)
            _exit(0);
        must(waitpid(child, NULL, 0) == child, "wait");
    }
}

static void fork_exec(long n)
{
    while (n--) {
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0) {
            execl("/usr/bin/busybox", "true", (char *)NULL);
            _exit(1);
        }
        must(waitpid(child, NULL, 0) == child, "wait");
    }
}

/* First touches of fresh 4 KiB pages, 512 to a mapping; mapping and unmapping are part of it. */
static void page_fault(long n)
{
    enum { PAGES = 512, PAGE = 4096 };
    for (long done = 0; done < n; done += PAGES) {
        volatile char *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(area != MAP_FAILED, "mmap");
        madvise((void *)area, PAGES * PAGE, MADV_NOHUGEPAGE);
        for (int page = 0; page < PAGES; page++)
            area[page * PAGE] = 1;
        munmap((void *)area, PAGES * PAGE);
    }
}

/* A touched page made read-only, then writable and written. */
static void protect(long n)
{
    volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(page != MAP_FAILED, "mmap");
    while (n--) {
        *page = 1;
        must(!mprotect((void *)page, 4096, PROT_READ), "mprotect");
        must(!mprotect((void *)page, 4096, PROT_READ | PROT_WRITE), "mprotect");
    }
    munmap((void *)page, 4096);
}

/* A byte to another process and back: two switches. */
static void pipe_round_trip(long n)
{
    int to[2], back[2];
    char byte = 0;
    must(!pipe(to) && !pipe(back), "pipe");
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        close(to[1]);
        while (read(to[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
            ;
        _exit(0);
    }
    while (n--)
        must(write(to[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "pipe");
    close(to[1]);
    waitpid(child, NULL, 0);
    close(to[0]);
    close(back[0]);
    close(back[1]);
}

static void timed_sleep(long n)
{
    struct timespec microsecond = { 0, 1000 };
    while (n--)
        nanosleep(&microsecond, NULL);
}

/* The version hypercall, by way of Linux's driver; nothing where there is no such driver. */
static int privcmd = -1;
static void hypercall(long n)
{
    struct {
        uint64_t op, arguments[5];
    } call = { 17, { 0 } };
    while (n--)
        ioctl(privcmd, _IOC(_IOC_NONE, 'P', 0, sizeof call), &call);
}

static void one_mark(int number)
{
    switch (number) {
#define CASE(nn) case nn: MARK(nn); break;
    CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
    CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14) CASE(15)
    CASE(64) CASE(65) CASE(66) CASE(67)
    }
}

/* A short run first: what the first time costs is not what is asked. */
#define RUN(nn, function, n) do { \
    function((n) / 10 + 1); \
    MARK(nn); \
    function(n); \
    MARK((nn) + 1); \
    printf("bench %02x %s %d\n", nn, #function, n); \
    fflush(stdout); \
} while (0)

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "mark")) {
        one_mark(atoi(argv[2]));
        return 0;
    }
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);
    RUN(0x12, system_call, 20000);
    RUN(0x16, fork_exit, 100);
    RUN(0x18, fork_exec, 60);
    RUN(0x1a, page_fault, 20480);
    RUN(0x1c, protect, 5000);
    RUN(0x1e, pipe_round_trip, 3000);
    RUN(0x22, timed_sleep, 500);
    privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    if (privcmd >= 0)
        RUN(0x24, hypercall, 10000);
    return 0;
}
