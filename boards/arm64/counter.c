/* A QEMU TCG plugin: executed guest instructions, and the int8 dot products among them, between markers.
 *
 * A marker is the system call prctl(0x46455245, k): the kernel, and QEMU, refuse that option without side effects.
 * At each marker one line "k instructions dot_products" goes to the file of the argument out=FILE.
 *
 * Counters are added to once a translation block and belong to the process, not to a thread: count with one thread.
 * The plugin interface is declared here because Debian packages no header; it is version 1 of
 * https://www.qemu.org/docs/master/devel/tcg-plugins.html
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
typedef struct qemu_info qemu_info;
typedef struct qemu_plugin_tb block;
typedef struct qemu_plugin_insn instruction;
enum { ADD_U64 = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, block *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(block *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t));
extern size_t qemu_plugin_tb_n_insns(const block *);
extern instruction *qemu_plugin_tb_get_insn(const block *, size_t);
extern const void *qemu_plugin_insn_data(const instruction *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static const int64_t PRCTL = 167; /* aarch64, include/uapi/asm-generic/unistd.h */
static const uint64_t MARK = 0x46455245;
static uint64_t instructions, dot_products;
static FILE *out;

/* Arm Architecture Reference Manual, C7.2: SDOT and UDOT, vector and by element; SMMLA, UMMLA and USMMLA do the
 * same work for 8x8 products at once and count as one. */
static bool is_dot_product(uint32_t word) {
    bool vector = (word & 0x9fe0fc00u) == 0x0e809400u;
    bool by_element = (word & 0x9fc0f400u) == 0x0f80e000u;
    bool matrix = (word & 0x9fe0f400u) == 0x0e80a400u;
    return vector || by_element || matrix;
}

static void translated(plugin_id id, block *translation) {
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(translation);
    uint64_t dots = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(translation, i)), sizeof word);
        dots += is_dot_product(word);
    }
    qemu_plugin_register_vcpu_tb_exec_inline(translation, ADD_U64, &instructions, count);
    if (dots > 0)
        qemu_plugin_register_vcpu_tb_exec_inline(translation, ADD_U64, &dot_products, dots);
}

static void system_call(plugin_id id, unsigned cpu, int64_t number, uint64_t option, uint64_t mark, uint64_t a3,
                        uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != PRCTL || option != MARK)
        return;
    fprintf(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", mark, instructions, dot_products);
    fflush(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const qemu_info *info, int argc,
                                                               char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || !(out = fopen(argv[0] + 4, "a"))) {
        fprintf(stderr, "counter: expected one argument, out=FILE, a file that can be written\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, system_call);
    return 0;
}
