"""The emulated processors, each with the Debian release its board runs."""

from dataclasses import dataclass

from fer_edge.errors import UsageError

from boards.wheels import Target


@dataclass(frozen=True)
class Core:
    """One emulated core. `name` is QEMU's; `part` and `features` are what Linux shows of it in /proc/cpuinfo.

    https://github.com/torvalds/linux/blob/master/arch/arm64/include/asm/cputype.h
    """

    name: str
    board: str
    suite: str
    python: str
    glibc: tuple[int, int]
    part: str
    features: str

    @property
    def target(self) -> Target:
        """The wheels it takes."""
        return Target("aarch64", self.python, self.glibc)

    def cpuinfo(self, count: int = 4) -> str:
        """/proc/cpuinfo of a board with `count` such cores. onnxruntime reads it to choose its kernels."""
        lines = (
            f"Features\t: {self.features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x0",
            f"CPU part\t: {self.part}",
            "CPU revision\t: 3",
        )
        return "\n\n".join("\n".join((f"processor\t: {index}", *lines)) for index in range(count)) + "\n"


_ARM_V8 = "fp asimd evtstrm crc32 cpuid"
_ARM_V82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"

CORES = {
    core.name: core
    for core in (
        Core("cortex-a53", "Raspberry Pi Zero 2 W", "bookworm", "3.11", (2, 36), "0xd03", _ARM_V8),
        Core("cortex-a72", "Raspberry Pi 4", "bookworm", "3.11", (2, 36), "0xd08", _ARM_V8),
        Core("cortex-a76", "Raspberry Pi 5", "trixie", "3.13", (2, 41), "0xd0b", _ARM_V82),
    )
}
COUNTED = ("cortex-a72", "cortex-a76")  # without and with dot products


def core_named(name: str) -> Core:
    """The core `name`. Raises UsageError naming those there are."""
    if name not in CORES:
        raise UsageError(f"core {name!r} is not emulated here; there are: {', '.join(CORES)}.")
    return CORES[name]
