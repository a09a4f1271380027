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
 * Of the hypervisor's class are also counted: writes of CR3 (cr3) and CR4 (cr4), flushes of single
 * pages or contexts (flush: invlpg, invpcid, invlpga), stores to the local APIC's command register,
 * which send an interrupt to a CPU (ipi; the x2APIC's way, an MSR, is not seen: leave x2APIC off),
 * writes of MSRs (wrmsr) and stops (hlt). And of all classes: what runs at privilege level 0
 * outside the hypervisor's range (outside).
 *
 * Marker NN is the instruction  prefetchnta [0x4c4142NN]  (0f 18 04 25 NN 42 41 4c), which does
 * nothing at any privilege level.
 *
 *   gcc -O2 -shared -fPIC -o count.so count.c
 *   qemu-system-x86_64 -plugin count.so,out=FILE[,hot=FILE] ...
 *
 * One line for each marker, and one with the name "end" at the end:
 *   NN hv N kernel N low N cr3 N cr4 N flush N ipi N wrmsr N hlt N outside N
 * After the last line, for each 2 MiB of addresses where code ran at privilege level 0 after the
 * first marker 01 (dom0's first program):
 *   ring0 ADDRESS N
 * With hot=FILE also (on one CPU only), at each marker, a line "mark NN" and the blocks of the hypervisor's code that
 * ran since the marker before, each with the number of its executed instructions:
 *   ADDRESS N
 * and after them those of its instructions that have a counter of their own (but for ipi, which most
 * stores might be), each with its counter's name:
 *   cr3 ADDRESS N
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
struct qemu_plugin_hwaddr;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} plugin_u64;
typedef struct {
    void *handle;
    const char *name;
    const char *feature;
} plugin_register;
/* GLib's GArray and GByteArray, whose library QEMU has loaded. */
typedef struct {
    char *data;
    unsigned len;
} g_array;
enum { OP_ADD_U64 = 0, NO_REGISTERS = 0, MEM_WRITE = 2 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *, int, plugin_u64,
                                                       uint64_t);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int,
                                          void *);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *, int, plugin_u64,
                                                         uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *,
                                            void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
                                      void (*)(unsigned, uint32_t, uint64_t, void *), int, int,
                                      void *);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(uint32_t, uint64_t);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *);
g_array *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(void *, g_array *);
g_array *g_byte_array_new(void);
g_array *g_byte_array_set_size(g_array *, unsigned);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
uint64_t qemu_plugin_u64_sum(plugin_u64);
void qemu_plugin_u64_add(plugin_u64, unsigned, uint64_t);
int qemu_plugin_num_vcpus(void);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;

enum counter { HV, KERNEL, LOW, CR3, CR4, FLUSH, IPI, WRMSR, HLT, OUTSIDE, COUNTERS };
static const char *const names[COUNTERS] = { "hv",  "kernel", "low",   "cr3", "cr4",
                                             "flush", "ipi",  "wrmsr", "hlt", "outside" };
static plugin_u64 counters[COUNTERS];
static FILE *out, *hot;

/* The local APIC's interrupt command register, its low half: a store there sends. */
static const uint64_t command_register = 0xfee00300;
static const int dom0_runs = 1; /* marker of dom0's first program */

/* Counts by address: where level 0 runs, and the blocks of a profile. */
struct place {
    struct place *next;
    uint64_t address, before;
    plugin_u64 count;
};
enum { BUCKETS = 1 << 14 };
static struct place *ring0[BUCKETS], *blocks[BUCKETS], *sites[COUNTERS][BUCKETS];

static plugin_u64 new_counter(void)
{
    return (plugin_u64){ qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0 };
}

static plugin_u64 *count_of(struct place **table, uint64_t address)
{
    struct place **at = &table[(address ^ address >> 14 ^ address >> 28) % BUCKETS];
    while (*at && (*at)->address != address)
        at = &(*at)->next;
    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (!*at)
            abort();
        (*at)->address = address;
        (*at)->count = new_counter();
    }
    return &(*at)->count;
}

/* Writes what was counted since the last call; without a file only begins anew. */
static void report_places(struct place **table, const char *word, FILE *file)
{
    for (int i = 0; i < BUCKETS; i++)
        for (struct place *at = table[i]; at; at = at->next) {
            uint64_t now = qemu_plugin_u64_sum(at->count);
            if (file && now != at->before)
                fprintf(file, "%s%016llx %llu\n", word, (unsigned long long)at->address,
                        (unsigned long long)(now - at->before));
            at->before = now;
        }
}

static void report(const char *label)
{
    fputs(label, out);
    for (int i = 0; i < COUNTERS; i++)
        fprintf(out, " %s %llu", names[i], (unsigned long long)qemu_plugin_u64_sum(counters[i]));
    fputc('\n', out);
    fflush(out);
    if (hot) {
        fprintf(hot, "mark %s\n", label);
        report_places(blocks, "", hot);
        for (int i = CR3; i < OUTSIDE; i++) {
            char word[16];
            snprintf(word, sizeof word, "%s ", names[i]);
            report_places(sites[i], word, hot);
        }
    }
}

static void at_marker(unsigned cpu, void *number)
{
    static bool began;
    char label[8];
    (void)cpu;
    snprintf(label, sizeof label, "%02x", (unsigned)(uintptr_t)number & 0xff);
    report(label);
    if (!began && (uintptr_t)number == dom0_runs) {
        began = true;
        report_places(ring0, "", NULL);
    }
}

static void at_end(plugin_id id, void *unused)
{
    (void)id;
    (void)unused;
    report("end");
    report_places(ring0, "ring0 ", out);
    fflush(out);
    if (hot)
        fflush(hot);
}

static void at_store(unsigned cpu, uint32_t info, uint64_t address, void *unused)
{
    (void)unused;
    if ((address ^ command_register) & 0xfff)
        return;
    const struct qemu_plugin_hwaddr *place = qemu_plugin_get_hwaddr(info, address);
    if (place && qemu_plugin_hwaddr_phys_addr(place) == command_register)
        qemu_plugin_u64_add(counters[IPI], cpu, 1);
}

static enum counter class_of(uint64_t address)
{
    if (address >= 0xffff880000000000ull)
        return KERNEL;
    return address >= 0xffff800000000000ull ? HV : LOW;
}

/* The privilege level that the CPU is at, which is the level of the code it is about to translate:
 * QEMU translates anew for each level. */
static unsigned level(void)
{
    static void *cs;
    static g_array *value;
    if (!value) {
        g_array *list = qemu_plugin_get_registers();
        const plugin_register *all = (const plugin_register *)list->data;
        for (unsigned i = 0; i < list->len; i++)
            if (!strcmp(all[i].name, "cs"))
                cs = all[i].handle;
        value = g_byte_array_new();
        if (!cs) {
            fprintf(stderr, "count: this QEMU does not show the register cs\n");
            abort();
        }
    }
    g_byte_array_set_size(value, 0);
    if (qemu_plugin_read_register(cs, value) <= 0) {
        fprintf(stderr, "count: cannot read the register cs\n");
        abort();
    }
    return (unsigned char)value->data[0] & 3;
}

/* Which of the special counters an instruction of the hypervisor belongs to; COUNTERS for none.
 * IPI for those that may send one: 32-bit stores. */
static enum counter special(const uint8_t *code, size_t size)
{
    size_t i = 0;
    while (i < size && (code[i] == 0x66 || (code[i] & 0xf0) == 0x40))
        i++; /* operand-size and REX prefixes */
    if (i < size && code[i] == 0xf4)
        return HLT;
    if (i < size && (code[i] == 0x89 || code[i] == 0xc7 || code[i] == 0xa3))
        return IPI;
    if (i + 2 >= size + (size == 2) || code[i] != 0x0f)
        return COUNTERS;
    uint8_t op = code[i + 1], modrm = i + 2 < size ? code[i + 2] : 0;
    if (op == 0x30)
        return WRMSR;
    if (op == 0x22 && (modrm & 0x38) == 0x18)
        return CR3;
    if (op == 0x22 && (modrm & 0x38) == 0x20)
        return CR4;
    if (op == 0x01 && ((modrm & 0x38) == 0x38) && (modrm < 0xc0 || modrm == 0xdf))
        return FLUSH; /* invlpg, or with a register form of its own invlpga */
    if (op == 0x38 && modrm == 0x82)
        return FLUSH; /* invpcid */
    return COUNTERS;
}

/* With several CPUs in one thread, as instruction counting has them, QEMU 10.0 computes wrong addresses
 * for inline counting by any CPU but the first, and dies of it. Then functions count: whole blocks of
 * code at once, as that is slow enough. A block that a fault ends is counted whole. */
static bool several(void)
{
    return qemu_plugin_num_vcpus() > 1;
}

static void at_insn(unsigned cpu, void *counter)
{
    qemu_plugin_u64_add(*(plugin_u64 *)counter, cpu, 1);
}

static void add_one(struct qemu_plugin_insn *insn, plugin_u64 *counter)
{
    if (several())
        qemu_plugin_register_vcpu_insn_exec_cb(insn, at_insn, NO_REGISTERS, counter);
    else
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, OP_ADD_U64, *counter, 1);
}

/* A block of code with several CPUs: lives for as long as QEMU may run it, which is for ever. */
struct block {
    uint64_t count;
    plugin_u64 *class, *region, *outside;
};

static void at_block(unsigned cpu, void *data)
{
    const struct block *block = data;
    qemu_plugin_u64_add(*block->class, cpu, block->count);
    if (block->region)
        qemu_plugin_u64_add(*block->region, cpu, block->count);
    if (block->outside)
        qemu_plugin_u64_add(*block->outside, cpu, block->count);
}

static void count_block(struct qemu_plugin_tb *tb, struct block counts)
{
    struct block *kept = malloc(sizeof *kept);
    if (!kept)
        abort();
    *kept = counts;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, at_block, NO_REGISTERS, kept);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(block);
    uint64_t start = qemu_plugin_tb_vaddr(block);
    enum counter class = class_of(start);
    bool supreme = level() == 0;
    plugin_u64 *region = supreme ? count_of(ring0, start & ~0x1fffffull) : NULL;
    plugin_u64 *outside = supreme && class != HV ? &counters[OUTSIDE] : NULL;
    if (several())
        count_block(block, (struct block){ count, &counters[class], region, outside });
    else if (hot && class == HV)
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, OP_ADD_U64,
                                                          *count_of(blocks, start), count);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint8_t code[16] = { 0 };
        size_t size = qemu_plugin_insn_size(insn);
        qemu_plugin_insn_data(insn, code, sizeof code);
        if (!several()) {
            add_one(insn, &counters[class]);
            if (region)
                add_one(insn, region);
            if (outside)
                add_one(insn, outside);
        }
        enum counter extra = class == HV ? special(code, size) : COUNTERS;
        if (extra == IPI)
            qemu_plugin_register_vcpu_mem_cb(insn, at_store, NO_REGISTERS, MEM_WRITE, NULL);
        else if (extra != COUNTERS)
            add_one(insn, &counters[extra]);
        if (hot && !several() && extra != COUNTERS && extra != IPI)
            add_one(insn, count_of(sites[extra], qemu_plugin_insn_vaddr(insn)));
        static const uint8_t head[4] = { 0x0f, 0x18, 0x04, 0x25 }, tail[3] = { 0x42, 0x41, 0x4c };
        if (size == 8 && !memcmp(code, head, 4) && !memcmp(code + 5, tail, 3))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_marker, NO_REGISTERS,
                                                   (void *)(uintptr_t)code[4]);
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
        if (!strncmp(argv[i], "hot=", 4))
            hot = fopen(argv[i] + 4, "w");
    }
    if (!out) {
        fprintf(stderr, "count: give out=FILE\n");
        return -1;
    }
    for (int i = 0; i < COUNTERS; i++)
        counters[i] = new_counter();
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, at_end, NULL);
    return 0;
}
