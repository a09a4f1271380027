/*
 * Writes down what a PV dom0 asks of the hypervisor for its page tables and frames, and what it
 * is answered: the trace that model/pages replays.
 *
 * A plugin for the TCG plugin interface, version 4 (see count.c). It watches one CPU from outside
 * and knows nothing of the hypervisor but the public interface, its address range, and that all
 * RAM is mapped at DIRECT, so that it works with any.
 *
 *   gcc -O2 -shared -fPIC -o trace.so trace.c
 *   qemu-system-x86_64 -plugin trace.so,out=FILE,until=NN -smp 1 -m 4096 at most ...
 *
 * It ends at marker NN (see count.c). Lines, all numbers hexadecimal but results:
 *   frames MFN COUNT              dom0's memory at its start, a run at a time
 *   lend MFN                      a page of the hypervisor that dom0 may map: shared info, grants
 *   root MFN                      the page tables that it starts with
 *   ram FIRST END                 frames that the machine's memory map calls RAM
 *   word MFN INDEX COUNT VALUE    words of a frame that dom0 wrote itself, each of the next frame;
 *                                 said before the call that may make a page table of it
 *   mmu RESULT DOM PTR VAL ...    mmu_update
 *   ext RESULT DOM CMD A B ...    mmuext_op
 *   va RESULT DOM VA VAL          update_va_mapping
 *   write MFN INDEX OLD NEW       a trapped write to a page table that took place
 *   gdt RESULT MFN ...            set_gdt
 *   desc RESULT ADDRESS VALUE     update_descriptor
 *   less RESULT MFN ...           decrease_reservation
 *   more RESULT MFN ...           populate_physmap, increase_reservation: those it got
 *   swap RESULT N MFN ... MFN ... exchange: N given, the rest got
 *   hold RESULT MFN               a page registered for the hypervisor to write to
 *   table MFN LEVEL HASH          at the end: a table in use; FNV-1a of its words
 * The accessed and dirty bits are left out everywhere.
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
struct qemu_plugin_register;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} plugin_u64;
typedef struct {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
} reg_descriptor;
typedef struct {
    uint8_t *data;
    unsigned len;
} byte_array; /* GLib's GByteArray and GArray begin so */
enum { OP_STORE_U64 = 1, READ_REGISTERS = 1, COND_NE = 3 };

typedef void exec_cb(unsigned, void *);
void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned));
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cond_cb(struct qemu_plugin_tb *, exec_cb *, int, int,
                                               plugin_u64, uint64_t, void *);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *, int, plugin_u64,
                                                       uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, exec_cb *, int, void *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
byte_array *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *, byte_array *);
bool qemu_plugin_read_memory_vaddr(uint64_t, byte_array *, size_t);
byte_array *g_byte_array_new(void);
byte_array *g_byte_array_set_size(byte_array *, unsigned);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;

#define HV_START 0xffff800000000000ull
#define HV_END 0xffff880000000000ull
#define DIRECT 0xffff830000000000ull
#define MAX_FRAMES (1u << 20)
#define ADDRESS 0x000ffffffffff000ull
#define AD 0x60ull
#define UNKNOWN ~0ull
#define GUEST_CS 0xe033
#define MAX_LIST 4096
/* Commands of mmuext_op besides the pins, which are 0 to 3 by level. */
#define UNPIN_TABLE 4
#define NEW_BASEPTR 5
#define NEW_USER_BASEPTR 15

enum { MMU_UPDATE = 1, SET_GDT = 2, UPDATE_DESCRIPTOR = 10, MEMORY_OP = 12, MULTICALL = 13,
       UPDATE_VA_MAPPING = 14, GRANT_TABLE_OP = 20, IRET = 23, VCPU_OP = 24, MMUEXT_OP = 26,
       EVENT_CHANNEL_OP = 32, PHYSDEV_OP = 33, VA_OTHERDOMAIN = 22 };

enum reg { RAX, RSI, RDI, RDX, R8, R10, RSP, CR2, CR3, REGISTERS };
static const char *const reg_names[REGISTERS] = { "rax", "rsi", "rdi", "rdx", "r8",
                                                  "r10", "rsp", "cr2", "cr3" };
static struct qemu_plugin_register *regs[REGISTERS];
static FILE *out;
static unsigned until = ~0u;
static plugin_u64 side; /* 1 while the hypervisor runs */
static bool started, ended;
/* The page tables of the last hypercall: programs run on others. */
static uint64_t kernel_root;

/* What stood in a frame that was a table when last looked at, and of which level it was. */
static uint64_t *shadow[MAX_FRAMES];
static uint8_t level_of[MAX_FRAMES];
static uint8_t walked[MAX_FRAMES]; /* in this walk */
/* Frames that were looked at before the call that is being made. */
static uint32_t seen[MAX_FRAMES];
static unsigned seen_count;

struct call {
    uint64_t op, args[5];
};
/* The hypercall that is being made, its multicall's entries if it is one. */
static struct call now;
static uint64_t now_at;
static struct call entries[MAX_LIST];
static bool calling;
/* A trapped write that may be one to a page table. */
static bool writing;
static uint64_t write_mfn, write_index, write_old;

static _Noreturn void fail(const char *what, uint64_t value)
{
    fprintf(stderr, "trace: %s (%llx)\n", what, (unsigned long long)value);
    exit(1);
}

static uint64_t reg(enum reg r)
{
    static byte_array *buffer;
    uint64_t value = 0;
    if (!buffer)
        buffer = g_byte_array_new();
    g_byte_array_set_size(buffer, 0);
    int size = qemu_plugin_read_register(regs[r], buffer);
    if (size < 4 || size > 8)
        fail("cannot read a register", r);
    memcpy(&value, buffer->data, (size_t)size);
    return value;
}

static bool try_read(uint64_t address, void *to, size_t size)
{
    static byte_array *buffer;
    if (!buffer)
        buffer = g_byte_array_new();
    if (!qemu_plugin_read_memory_vaddr(address, buffer, size))
        return false;
    memcpy(to, buffer->data, size);
    return true;
}

static void read_at(uint64_t address, void *to, size_t size)
{
    if (!try_read(address, to, size))
        fail("cannot read memory", address);
}

static uint64_t word_at(uint64_t address)
{
    uint64_t word;
    read_at(address, &word, sizeof word);
    return word;
}

static uint64_t word_of(uint64_t mfn, uint64_t index)
{
    return word_at(DIRECT + (mfn << 12) + index * 8);
}

static uint64_t frame_of(uint64_t entry)
{
    return (entry & ADDRESS) >> 12;
}

static void say(const char *what)
{
    fputs(what, out);
}

static void number(uint64_t n)
{
    fprintf(out, " %llx", (unsigned long long)n);
}

static void head(const char *what, int64_t result)
{
    fprintf(out, "%s %lld", what, (long long)result);
}

static void line(void)
{
    fputc('\n', out);
}

/* A slot of a level 4 table in which the hypervisor puts its own. */
static bool is_hv_slot(uint64_t mfn, unsigned index)
{
    return level_of[mfn] == 4 && index >= 256 && index < 272;
}

/* Says what has changed in a frame since it was last looked at. False if it is no RAM. */
static bool look(uint64_t mfn)
{
    uint64_t words[512];
    if (!try_read(DIRECT + (mfn << 12), words, sizeof words))
        return false;
    if (!shadow[mfn])
        shadow[mfn] = calloc(512, 8);
    unsigned first = 0, count = 0; /* of a run that is to be said */
    for (unsigned i = 0; i <= 512; i++) {
        bool hidden = i == 512 || is_hv_slot(mfn, i);
        uint64_t word = hidden ? 0 : words[i] & ~AD;
        bool new = !hidden && word != shadow[mfn][i];
        if (count && !(new && word == shadow[mfn][i - 1] + 0x1000)) {
            say("word"), number(mfn), number(first), number(count), number(shadow[mfn][first]);
            line();
            count = 0;
        }
        if (new) {
            first = count ? first : i;
            count++;
            shadow[mfn][i] = word;
        }
    }
    if (seen_count < MAX_FRAMES)
        seen[seen_count++] = mfn;
    return true;
}

/* What the hypervisor made of the words of frames that it took as tables: it sets USER in them. In
 * a call that is continued it may have done so late. */
static void look_again(void)
{
    while (seen_count) {
        uint64_t mfn = seen[--seen_count];
        read_at(DIRECT + (mfn << 12), shadow[mfn], 4096);
        for (unsigned i = 0; i < 512; i++)
            shadow[mfn][i] = is_hv_slot(mfn, i) ? UNKNOWN : shadow[mfn][i] & ~AD;
    }
}

/* Looks at all that a table leads to. */
static void look_below(uint64_t mfn, unsigned level)
{
    if (mfn >= MAX_FRAMES || walked[mfn] == level)
        return;
    walked[mfn] = level;
    level_of[mfn] = level;
    if (!look(mfn))
        return;
    for (unsigned i = 0; level > 1 && i < 512; i++)
        if ((shadow[mfn][i] & 1) && !is_hv_slot(mfn, i))
            if (!walked[frame_of(shadow[mfn][i]) % MAX_FRAMES])
                look_below(frame_of(shadow[mfn][i]), level - 1);
}

static void look_from(uint64_t mfn, unsigned level)
{
    memset(walked, 0, sizeof walked);
    look_below(mfn, level);
}

/* A table, with what only it leads to, is none any more; the kernel's half is everybody's. */
static void forget(uint64_t mfn, unsigned level)
{
    if (mfn >= MAX_FRAMES || level_of[mfn] != level || !shadow[mfn])
        return;
    level_of[mfn] = 0;
    for (unsigned i = 0; level > 1 && i < (level == 4 ? 256 : 512); i++)
        if (shadow[mfn][i] & 1)
            forget(frame_of(shadow[mfn][i]), level - 1);
}

/* A word may have been changed by a call. */
static void changed(uint64_t mfn, uint64_t index)
{
    if (mfn >= MAX_FRAMES || !shadow[mfn])
        return;
    uint64_t old = shadow[mfn][index], new = word_of(mfn, index) & ~AD;
    shadow[mfn][index] = new;
    /* Level 1 tables are unpinned one by one, and those of boot are shared. */
    if (level_of[mfn] > 2 && (old & 1) && frame_of(old) != frame_of(new))
        level_of[frame_of(old) % MAX_FRAMES] = 0;
}

/* Where the level 1 entry of an address is, in the tables that are loaded. */
static bool find(uint64_t va, uint64_t *mfn, uint64_t *index)
{
    uint64_t table = frame_of(reg(CR3));
    for (unsigned level = 4; level > 1; level--) {
        uint64_t entry = word_of(table, va >> (3 + 9 * level) & 511);
        if (!(entry & 1) || (entry & 0x80))
            return false;
        table = frame_of(entry);
    }
    *mfn = table;
    *index = va >> 12 & 511;
    return true;
}

static uint64_t count_of(const struct call *c)
{
    return c->args[1] & 0x7fffffff;
}

/* Before a call: looks at the frames that it may make tables of. */
static void before(const struct call *c)
{
    if (c->op == MMU_UPDATE) {
        for (uint64_t i = 0; i < count_of(c); i++) {
            uint64_t r[2];
            read_at(c->args[0] + 16 * i, r, sizeof r);
            uint64_t table = r[0] >> 12;
            if ((r[0] & 3) == 1 || !(r[1] & 1) || table >= MAX_FRAMES || level_of[table] < 2)
                continue;
            look_from(frame_of(r[1]), level_of[table] - 1u);
        }
    } else if (c->op == MMUEXT_OP) {
        for (uint64_t i = 0; i < count_of(c); i++) {
            uint64_t r[3];
            read_at(c->args[0] + 24 * i, r, sizeof r);
            uint32_t cmd = (uint32_t)r[0];
            if (cmd <= 3)
                look_from(r[1], cmd + 1);
            else if ((cmd == NEW_BASEPTR || cmd == NEW_USER_BASEPTR) && r[1])
                look_from(r[1], 4);
        }
    }
}

struct reservation {
    uint64_t list, extents;
    uint32_t order, flags;
    uint16_t dom, pad[3];
};

static void extents(const struct reservation *r, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t first = word_at(r->list + 8 * i);
        for (uint64_t k = 0; k < 1ull << r->order; k++)
            number(first + k);
    }
}

static void after_memory_op(const struct call *c, int64_t result)
{
    struct reservation r[2];
    uint32_t cmd = c->args[0] & 0x3f;
    uint64_t done_before = c->args[0] >> 6;
    if (cmd == 10 && result == 0) { /* XENMEM_machine_memory_map */
        uint32_t count;
        read_at(c->args[1], &count, sizeof count);
        uint64_t map = word_at(c->args[1] + 8);
        for (uint32_t i = 0; i < count; i++) {
            struct { uint64_t start, size; uint32_t type; } __attribute__((packed)) e;
            read_at(map + i * sizeof e, &e, sizeof e);
            if (e.type == 1)
                say("ram"), number(e.start >> 12), number((e.start + e.size) >> 12), line();
        }
        return;
    }
    if (cmd != 0 && cmd != 1 && cmd != 6 && cmd != 11)
        return;
    if (done_before)
        fail("a continued memory_op", c->args[0]);
    read_at(c->args[1], r, cmd == 11 ? sizeof r : sizeof r[0]);
    if (cmd == 11) {
        head("swap", result);
        number(result ? 0 : r[0].extents << r[0].order);
        if (result == 0)
            extents(&r[0], r[0].extents), extents(&r[1], r[1].extents);
    } else {
        head(cmd == 1 ? "less" : "more", result);
        extents(&r[0], result > 0 ? (uint64_t)result : 0);
    }
    line();
}

static void after_grant_op(const struct call *c, int64_t result)
{
    /* GNTTABOP_setup_table: dom, nr_frames, status, frames; GNTTABOP_get_status_frames: nr_frames,
     * dom, status, frames. */
    if (result != 0 || (c->args[0] != 2 && c->args[0] != 9))
        return;
    struct { uint32_t first, second; int16_t status; uint16_t pad[3]; uint64_t list; } op;
    struct { uint32_t count; uint16_t dom; int16_t status; uint64_t list; } status_op;
    uint64_t count, list;
    if (c->args[0] == 2) {
        read_at(c->args[1], &op, sizeof op);
        count = op.status ? 0 : op.second, list = op.list;
    } else {
        read_at(c->args[1], &status_op, sizeof status_op);
        count = status_op.status ? 0 : status_op.count, list = status_op.list;
    }
    for (uint64_t i = 0; i < count; i++)
        say("lend"), number(word_at(list + 8 * i)), line();
}

static void hold(int64_t result, uint64_t mfn)
{
    head("hold", result), number(mfn), line();
}

/* After a call: what was asked and answered. `count` is how much of a list was done. */
static void after(const struct call *c, uint64_t count, int64_t result)
{
    const uint64_t *a = c->args;
    uint64_t mfn, index;
    switch (c->op) {
    case MMU_UPDATE:
    case MMUEXT_OP: {
        unsigned words = c->op == MMU_UPDATE ? 2 : 3;
        if (!count)
            return;
        head(words == 2 ? "mmu" : "ext", result);
        number(a[3] & 0xffffffff);
        for (uint64_t i = 0; i < count; i++) {
            uint64_t r[3];
            read_at(a[0] + 8 * words * i, r, 8 * words);
            if (words == 3)
                r[0] &= 0xffffffff;
            for (unsigned k = 0; k < words; k++)
                number(words == 2 && k == 1 && (r[0] & 3) != 1 ? r[k] & ~AD : r[k]);
            if (words == 2 && (r[0] & 3) != 1)
                changed(r[0] >> 12, r[0] >> 3 & 511);
            else if (words == 3 && r[0] == UNPIN_TABLE && r[1] < MAX_FRAMES)
                forget(r[1], level_of[r[1]]);
        }
        line();
        return;
    }
    case UPDATE_VA_MAPPING:
    case VA_OTHERDOMAIN:
        head("va", result);
        number(c->op == VA_OTHERDOMAIN ? a[3] : 0x7ff0), number(a[0]), number(a[1] & ~AD), line();
        if (find(a[0], &mfn, &index))
            changed(mfn, index);
        return;
    case SET_GDT:
        head("gdt", result);
        for (uint64_t i = 0; i < (a[1] + 511) / 512 && i < 16; i++)
            number(word_at(a[0] + 8 * i));
        line();
        return;
    case UPDATE_DESCRIPTOR:
        head("desc", result), number(a[0]), number(a[1]), line();
        return;
    case MEMORY_OP:
        after_memory_op(c, result);
        return;
    case GRANT_TABLE_OP:
        after_grant_op(c, result);
        return;
    case VCPU_OP:
        if (a[0] == 10) /* VCPUOP_register_vcpu_info */
            hold(result, word_at(a[2]));
        return;
    case EVENT_CHANNEL_OP:
        if (a[0] == 11 || a[0] == 12) /* EVTCHNOP_init_control, EVTCHNOP_expand_array */
            hold(result, word_at(a[1]));
        return;
    case PHYSDEV_OP:
        if (a[0] == 17 || a[0] == 28) /* PHYSDEVOP_pirq_eoi_gmfn_v1, _v2 */
            hold(result, word_at(a[1]));
        return;
    }
}

static void read_entry(uint64_t i, struct call *c, int64_t *result)
{
    uint64_t e[8];
    read_at(now.args[0] + 64 * i, e, sizeof e);
    c->op = e[0];
    memcpy(c->args, e + 2, sizeof c->args);
    *result = (int64_t)e[1];
}

/* The guest's kernel executes SYSCALL. */
static void at_syscall(unsigned cpu, void *address)
{
    static const enum reg order[5] = { RDI, RSI, RDX, R10, R8 };
    int64_t unused;
    (void)cpu;
    if (!started || ended)
        return;
    kernel_root = frame_of(reg(CR3));
    now.op = reg(RAX);
    now_at = (uint64_t)address;
    for (unsigned i = 0; i < 5; i++)
        now.args[i] = reg(order[i]);
    calling = now.op != IRET;
    if (now.op == MULTICALL) {
        if (now.args[1] > MAX_LIST)
            fail("a long multicall", now.args[1]);
        for (uint64_t i = 0; i < now.args[1]; i++) {
            read_entry(i, &entries[i], &unused);
            before(&entries[i]);
        }
    } else {
        before(&now);
    }
}

/* How much of a list was done before it is to be continued from `later`. */
static uint64_t part(const struct call *c, const struct call *later)
{
    return c->op == MMU_UPDATE || c->op == MMUEXT_OP ? count_of(c) - count_of(later) : 0;
}

static void call_ended(uint64_t rip)
{
    bool again = rip == now_at;
    if (!again && rip != now_at + 2) {
        /* An event's upcall came first: rcx, r11, and the interrupted rip are on the stack. */
        uint64_t back = word_at(reg(RSP) + 16);
        if (back != now_at && back != now_at + 2)
            return; /* it has left for good: a new stack, another task */
        again = back == now_at;
    }
    if (now.op != MULTICALL) {
        struct call later = now;
        later.args[1] = reg(RSI);
        if (again)
            after(&now, part(&now, &later), 0);
        else
            after(&now, count_of(&now), (int64_t)reg(RAX));
        return;
    }
    uint64_t done = again ? now.args[1] - reg(RSI) : now.args[1];
    for (uint64_t i = 0; i < done + again && i < now.args[1]; i++) {
        struct call later;
        int64_t result;
        read_entry(i, &later, &result);
        if (i < done)
            after(&entries[i], count_of(&entries[i]), result);
        else
            after(&entries[i], part(&entries[i], &later), 0);
    }
}

/* The guest was left for the hypervisor: by a write fault at a page table of its own? */
static void enter(unsigned cpu, void *unused)
{
    uint64_t frame[3], mfn, index;
    (void)cpu;
    (void)unused;
    if (!started || ended || calling || !try_read(reg(RSP), frame, sizeof frame))
        return;
    bool fault = frame[0] == 7 && frame[1] >= HV_END && (frame[2] & 0xffff) == GUEST_CS;
    if (!fault || !find(reg(CR2), &mfn, &index))
        return;
    uint64_t target = frame_of(word_of(mfn, index));
    if (target < MAX_FRAMES && level_of[target] == 1 && shadow[target]) {
        writing = true;
        write_mfn = target;
        write_index = reg(CR2) >> 3 & 511;
        write_old = shadow[target][write_index];
    }
}

static void start(void)
{
    struct {
        char magic[32];
        uint64_t nr_pages, shared_info, flags, store[2], console[2], pt_base, nr_pt_frames, mfn_list;
    } info;
    uint64_t mfn, index, first = 0, count = 0;
    if (!try_read(reg(RSI), &info, sizeof info) || strncmp(info.magic, "xen-3.0-x86_64", 14))
        fail("the first guest has no start_info", reg(RSI));
    started = true;
    for (uint64_t i = 0; i < info.nr_pages; i++) {
        mfn = word_at(info.mfn_list + 8 * i);
        if (count && mfn == first + count) {
            count++;
            continue;
        }
        if (count)
            say("frames"), number(first), number(count), line();
        first = mfn, count = 1;
    }
    say("frames"), number(first), number(count), line();
    say("lend"), number(info.shared_info >> 12), line();
    if (!find(info.pt_base, &mfn, &index))
        fail("pt_base is not mapped", info.pt_base);
    look_from(frame_of(reg(CR3)), 4);
    say("root"), number(frame_of(reg(CR3))), line();
}

/* The hypervisor was left for the guest. */
static void leave(unsigned cpu, void *address)
{
    (void)cpu;
    if (ended)
        return;
    if (!started) {
        if ((uint64_t)address >= HV_END)
            start();
        return;
    }
    if (calling)
        call_ended((uint64_t)address);
    if (writing) {
        uint64_t new = word_of(write_mfn, write_index) & ~AD;
        if (new != write_old)
            say("write"), number(write_mfn), number(write_index), number(write_old), number(new),
                line();
        changed(write_mfn, write_index);
    }
    look_again();
    calling = writing = false;
}

static void at_marker(unsigned cpu, void *which)
{
    (void)cpu;
    if (!started || ended || (uint64_t)which != until)
        return;
    ended = true;
    look_from(kernel_root, 4);
    for (uint64_t mfn = 0; mfn < MAX_FRAMES; mfn++) {
        if (!walked[mfn])
            continue;
        uint64_t hash = 0xcbf29ce484222325ull;
        for (unsigned i = 0; i < 512; i++) {
            hash = (hash ^ (is_hv_slot(mfn, i) ? 0 : shadow[mfn][i])) * 0x100000001b3ull;
        }
        say("table"), number(mfn), number(walked[mfn]), number(hash), line();
    }
    fclose(out);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    uint64_t start = qemu_plugin_tb_vaddr(block);
    bool hv = start >= HV_START && start < HV_END;
    qemu_plugin_register_vcpu_tb_exec_cond_cb(block, hv ? enter : leave, READ_REGISTERS, COND_NE,
                                              side, hv, (void *)start);
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, OP_STORE_U64, side, hv);
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint8_t code[16] = { 0 };
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        size_t size = qemu_plugin_insn_size(insn);
        static const uint8_t first[4] = { 0x0f, 0x18, 0x04, 0x25 }, last[3] = { 0x42, 0x41, 0x4c };
        qemu_plugin_insn_data(insn, code, sizeof code);
        if (address >= HV_END && size == 2 && code[0] == 0x0f && code[1] == 0x05)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_syscall, READ_REGISTERS,
                                                   (void *)address);
        if (size == 8 && !memcmp(code, first, 4) && !memcmp(code + 5, last, 3))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_marker, READ_REGISTERS,
                                                   (void *)(uint64_t)code[4]);
    }
}

static void cpu_started(plugin_id id, unsigned cpu)
{
    (void)id;
    if (cpu)
        fail("only one CPU can be watched", cpu);
    byte_array *list = qemu_plugin_get_registers();
    for (unsigned i = 0; i < list->len; i++) {
        reg_descriptor *d = (reg_descriptor *)list->data + i;
        for (unsigned r = 0; r < REGISTERS; r++)
            if (!strcmp(d->name, reg_names[r]))
                regs[r] = d->handle;
    }
    for (unsigned r = 0; r < REGISTERS; r++)
        if (!regs[r])
            fail("no such register", r);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
        if (!strncmp(argv[i], "until=", 6))
            until = (unsigned)strtoul(argv[i] + 6, NULL, 16);
    }
    if (!out || until == ~0u) {
        fprintf(stderr, "trace: give out=FILE,until=NN\n");
        return -1;
    }
    side = (plugin_u64){ qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0 };
    qemu_plugin_register_vcpu_init_cb(id, cpu_started);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
