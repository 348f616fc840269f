/* Hides AVX-512, AMX and AVX-VNNI from a program and from all that it starts, so that every library chooses the kernels that
 * it has for a CPU with AVX2 (scripts/with_avx2_alone). Who asks the CPU: the kernel is told to fault on CPUID
 * (arch_prctl(2)), and the fault is answered here. Who asks the kernel: /proc/cpuinfo is read here, without those flags. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012 /* asm/prctl.h, which the C library's headers may lack */
#define BIT(n) (1u << (n))
#define CPUINFO "/proc/cpuinfo"

static const char *const HIDDEN[] = {"avx512", "avx_vnni", "avx_ifma", "avx_ne_convert", "avx10", "amx_"};

/* The C library's own function, found when it is first called. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static struct sigaction theirs; /* what the program itself would do on SIGSEGV */

static void ask(unsigned leaf, unsigned sub, unsigned *a, unsigned *b, unsigned *c, unsigned *d) {
    __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(sub));
    if (leaf == 7 && sub == 0) {
        *b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31)); /* AVX512F to VL */
        *c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));                    /* AVX512 VBMI, VNNI, BITALG, POPCNT */
        *d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25)); /* AVX512-FP16 and others, AMX */
    } else if (leaf == 7 && sub == 1) {
        *a &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23));          /* AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA */
        *d &= ~(BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19)); /* AVX-VNNI-INT8, NE-CONVERT, AMX-COMPLEX, INT16, AVX10 */
    } else if (leaf == 0xd && sub == 0) {
        *a &= ~(BIT(5) | BIT(6) | BIT(7) | BIT(17) | BIT(18)); /* their registers, which the kernel would save */
    }
}

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    /* A CPUID that faults has no address. One who jumped to nowhere has one, and must not be read from. */
    if (info->si_code == SI_KERNEL && at[0] == 0x0f && at[1] == 0xa2) {
        unsigned a, b, c, d;
        syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
        ask(registers[REG_RAX], registers[REG_RCX], &a, &b, &c, &d);
        syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
        registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
        registers[REG_RIP] += 2;
    } else if (theirs.sa_flags & SA_SIGINFO) {
        theirs.sa_sigaction(number, info, context);
    } else if (theirs.sa_handler != SIG_DFL && theirs.sa_handler != SIG_IGN) {
        theirs.sa_handler(number);
    } else {
        NEXT(sigaction)(SIGSEGV, &theirs, NULL); /* the instruction runs again, and ends the program as it would have */
        if (info->si_code <= 0)                   /* somebody sent the signal: no instruction to run again */
            raise(number);
    }
}

/* A program's own handler, as compilers and Python have one, must not take our place. */
int sigaction(int number, const struct sigaction *new, struct sigaction *old) {
    if (number != SIGSEGV)
        return NEXT(sigaction)(number, new, old);
    if (old)
        *old = theirs;
    if (new)
        theirs = *new;
    return 0;
}

sighandler_t signal(int number, sighandler_t handler) {
    struct sigaction new = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    return sigaction(number, &new, &old) ? SIG_ERR : old.sa_handler;
}

static int is_hidden(const char *flag) {
    for (size_t each = 0; each < sizeof HIDDEN / sizeof *HIDDEN; each++)
        if (!strncmp(flag, HIDDEN[each], strlen(HIDDEN[each])))
            return 1;
    return 0;
}

/* Opens a copy of /proc/cpuinfo without the hidden flags. */
static int open_cpuinfo(void) {
    int file = memfd_create("cpuinfo", MFD_CLOEXEC);
    FILE *real = NEXT(fopen)(CPUINFO, "re"), *copy = fdopen(dup(file), "w");
    char *line = NULL, *word, *rest;
    size_t room = 0;
    while (real && copy && getline(&line, &room, real) >= 0) {
        if (strncmp(line, "flags", 5)) {
            fputs(line, copy);
            continue;
        }
        for (word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
            if (!is_hidden(word))
                fprintf(copy, "%s ", word);
        fputs("\n", copy);
    }
    free(line);
    if (real)
        fclose(real);
    if (copy)
        fclose(copy);
    lseek(file, 0, SEEK_SET);
    return file;
}

#define OPENS(name, parameters, ...)                                                   \
    int name parameters {                                                               \
        va_list more;                                                                   \
        va_start(more, flags);                                                          \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;       \
        va_end(more);                                                                   \
        return strcmp(path, CPUINFO) ? NEXT(name)(__VA_ARGS__, mode) : open_cpuinfo(); \
    }
#define OPENS_FILE(name)                                                                \
    FILE *name(const char *path, const char *mode) {                                    \
        return strcmp(path, CPUINFO) ? NEXT(name)(path, mode) : fdopen(open_cpuinfo(), mode); \
    }
OPENS(open, (const char *path, int flags, ...), path, flags)
OPENS(open64, (const char *path, int flags, ...), path, flags)
OPENS(openat, (int folder, const char *path, int flags, ...), folder, path, flags)
OPENS(openat64, (int folder, const char *path, int flags, ...), folder, path, flags)
OPENS_FILE(fopen)
OPENS_FILE(fopen64)

__attribute__((constructor)) static void hide(void) {
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (NEXT(sigaction)(SIGSEGV, &ours, &theirs) || syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) {
        perror("with_avx2_alone: this kernel or CPU cannot make CPUID fault, so that nothing is hidden");
        exit(2);
    }
}
