/*
 * Counts executed instructions in QEMU, by where their code lies, and reports at markers.
 *
 * A plugin for the TCG plugin interface, version 4 (QEMU 9.1 and later). That interface's header is
 * not packaged everywhere, so what is used of it is declared below.
 *
 * Classes, by code address:
 *   hv      0xffff800000000000 to 0xffff87ffffffffff, where the interface puts the hypervisor
 *   kernel  above that
 *   low     below: programs, firmware, early boot
 * Marker NN is the instruction  prefetchnta [0x4c4142NN]  (0f 18 04 25 NN 42 41 4c), which does
 * nothing at any privilege level. In the hypervisor's class are also counted: writes of CR3,
 * flushes of single pages or contexts (invlpg, invpcid, invlpga), writes of MSRs, and stops (hlt).
 *
 *   gcc -O2 -shared -fPIC -o count.so count.c
 *   qemu-system-x86_64 -plugin count.so,out=FILE ...
 *
 * One line for each marker, and one with the name "end" at the end:
 *   NN hv N kernel N low N cr3 N flush N wrmsr N hlt N
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} plugin_u64;
enum { OP_ADD_U64 = 0, NO_REGISTERS = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *, int, plugin_u64,
                                                         uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *,
                                            void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
uint64_t qemu_plugin_u64_sum(plugin_u64);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;

enum counter { HV, KERNEL, LOW, CR3, FLUSH, WRMSR, HLT, COUNTERS };
static const char *const names[COUNTERS] = { "hv", "kernel", "low", "cr3", "flush", "wrmsr", "hlt" };
static plugin_u64 counters[COUNTERS];
static FILE *out;

static void report(const char *label)
{
    fputs(label, out);
    for (int i = 0; i < COUNTERS; i++)
        fprintf(out, " %s %llu", names[i], (unsigned long long)qemu_plugin_u64_sum(counters[i]));
    fputc('\n', out);
    fflush(out);
}

static void at_marker(unsigned cpu, void *number)
{
    char label[8];
    (void)cpu;
    snprintf(label, sizeof label, "%02x", (unsigned)(uintptr_t)number & 0xff);
    report(label);
}

static void at_end(plugin_id id, void *unused)
{
    (void)id;
    (void)unused;
    report("end");
}

static enum counter class_of(uint64_t address)
{
    if (address >= 0xffff880000000000ull)
        return KERNEL;
    return address >= 0xffff800000000000ull ? HV : LOW;
}

/* Which of the special counters an instruction of the hypervisor belongs to; COUNTERS for none. */
static enum counter special(const uint8_t *code, size_t size)
{
    size_t i = 0;
    while (i < size && (code[i] == 0x66 || (code[i] & 0xf0) == 0x40))
        i++; /* operand-size and REX prefixes */
    if (i < size && code[i] == 0xf4)
        return HLT;
    if (i + 2 >= size + (size == 2) || code[i] != 0x0f)
        return COUNTERS;
    uint8_t op = code[i + 1], modrm = i + 2 < size ? code[i + 2] : 0;
    if (op == 0x30)
        return WRMSR;
    if (op == 0x22 && (modrm & 0x38) == 0x18)
        return CR3;
    if (op == 0x01 && ((modrm & 0x38) == 0x38) && (modrm < 0xc0 || modrm == 0xdf))
        return FLUSH; /* invlpg, or with a register form of its own invlpga */
    if (op == 0x38 && modrm == 0x82)
        return FLUSH; /* invpcid */
    return COUNTERS;
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint8_t code[16] = { 0 };
        size_t size = qemu_plugin_insn_size(insn);
        enum counter class = class_of(qemu_plugin_insn_vaddr(insn));
        qemu_plugin_insn_data(insn, code, sizeof code);
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, OP_ADD_U64, counters[class], 1);
        if (class == HV) {
            enum counter extra = special(code, size);
            if (extra != COUNTERS)
                qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, OP_ADD_U64,
                                                                    counters[extra], 1);
        }
        static const uint8_t head[4] = { 0x0f, 0x18, 0x04, 0x25 }, tail[3] = { 0x42, 0x41, 0x4c };
        if (size == 8 && !memcmp(code, head, 4) && !memcmp(code + 5, tail, 3))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_marker, NO_REGISTERS,
                                                   (void *)(uintptr_t)code[4]);
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
    if (!out) {
        fprintf(stderr, "count: give out=FILE\n");
        return -1;
    }
    for (int i = 0; i < COUNTERS; i++)
        counters[i] = (plugin_u64){ qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0 };
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, at_end, NULL);
    return 0;
}
