/* Counts executed instructions of an emulated arm64 program, by kind: a plug-in of QEMU (TCG).
 *
 * The program asks for a line with what its thread has executed so far by getpriority(0x6564, tag),
 * which the kernel refuses. Build: cc -shared -fPIC -O2 $(pkg-config --cflags glib-2.0) -I QEMU/include/qemu
 * arm_counter.c -o arm_counter.so
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

enum { GETPRIORITY = 141, ASKED = 0x6564 }; /* Linux, include/uapi/asm-generic/unistd.h */

/* Arm Architecture Reference Manual for A-profile, C4.1: the encoding index; the first one counts. */
static const struct {
    const char *kind;
    uint32_t mask, value;
} KINDS[] = {
    {"dot", 0x9fe0fc00, 0x0e809400},  /* SDOT, UDOT (vector); the Q and U bits are free */
    {"dot", 0x9fc0f400, 0x0f80e000},  /* SDOT, UDOT (by element) */
    {"dot", 0xbfe0fc00, 0x0e809c00},  /* USDOT (vector) */
    {"dot", 0xbf40f400, 0x0f00f000},  /* SUDOT, USDOT (by element) */
    {"mmla", 0xdfe0fc00, 0x4e80a400}, /* SMMLA, UMMLA */
    {"mmla", 0xffe0fc00, 0x4e80ac00}, /* USMMLA */
    {"mull", 0x9f20fc00, 0x0e208000}, /* SMLAL, UMLAL (vector) */
    {"mull", 0x9f20fc00, 0x0e20c000}, /* SMULL, UMULL (vector) */
    {"mull", 0x9f00f400, 0x0f002000}, /* SMLAL, UMLAL (by element) */
    {"mull", 0x9f00f400, 0x0f00a000}, /* SMULL, UMULL (by element) */
    {"fma", 0xbfa0fc00, 0x0e20cc00},  /* FMLA (vector) */
    {"fma", 0xbf80f400, 0x0f801000},  /* FMLA (by element) */
    {"simd", 0x0e000000, 0x0e000000},   /* all others of the kind */
    {"memory", 0x0a000000, 0x08000000}, /* loads and stores, of vectors, too */
    {"scalar", 0, 0},
};
#define COUNT (sizeof KINDS / sizeof *KINDS)

static qemu_plugin_u64 counts[COUNT];

static unsigned kind_of(uint32_t opcode) {
    unsigned i = 0;
    while ((opcode & KINDS[i].mask) != KINDS[i].value) i++;
    return i;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    uint64_t found[COUNT] = {0};
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        uint32_t opcode = 0;
        qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i), &opcode, sizeof opcode);
        found[kind_of(opcode)]++;
    }
    for (unsigned i = 0; i < COUNT; i++)
        if (found[i])
            qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
                tb, QEMU_PLUGIN_INLINE_ADD_U64, counts[i], found[i]);
}

static void called(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t which,
                   uint64_t tag, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g,
                   uint64_t h) {
    if (number != GETPRIORITY || which != ASKED) return;
    fprintf(stderr, "counted %" PRIu64, tag);
    for (unsigned i = 0; i < COUNT; i++)
        fprintf(stderr, " %s=%" PRIu64, KINDS[i].kind, qemu_plugin_u64_get(counts[i], vcpu));
    fprintf(stderr, "\n");
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                           char **argv) {
    struct qemu_plugin_scoreboard *board = qemu_plugin_scoreboard_new(COUNT * sizeof(uint64_t));
    for (unsigned i = 0; i < COUNT; i++)
        counts[i] =
            (qemu_plugin_u64){.score = board, .offset = i * sizeof(uint64_t)};
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
