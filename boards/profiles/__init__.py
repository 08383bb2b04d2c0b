"""Board profiles: one TOML file a board, validated when it is read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from fer_edge.errors import UsageError
from fer_edge.tables import Range, Text, build, read_toml

from boards.arm64.cores import CORES
from boards.wheels import LOCKS, Target, workbench_versions

PROFILES = Path(__file__).parent
_DETECTOR_ENGINES = {
    "mediapipe": ("ai-edge-litert", "tflite-runtime"),
    "yunet": ("ai-edge-litert", "tflite-runtime", "onnxruntime"),
}
_SUFFIXES = {"ai-edge-litert": "tflite", "tflite-runtime": "tflite", "onnxruntime": "onnx"}
# The web page, /metrics and MQTT: pure Python and small, so that a bundle leaves nothing to be downloaded.
_EXTRAS = ("microdot", "prometheus-client", "paho-mqtt")
Count = Annotated[int, Range(1, 10**6)]
Line = Annotated[str, Text(200)]
Pin = Annotated[str, Text(100, r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", "numpy==2.4.6")]
EngineName = Literal["ai-edge-litert", "tflite-runtime", "onnxruntime"]


@dataclass(frozen=True, kw_only=True)
class System:
    """An operating system the bundle installs on, with exact versions of what goes into its venv.

    `alternative` is the same for the board's second engine, which runs the models its first has no file of.
    """

    os: Line
    python: Annotated[str, Text(10, r"3\.[0-9]+", "3.11")]
    glibc: Annotated[str, Text(10, r"2\.[0-9]+", "2.36")]
    requirements: tuple[Pin, ...]
    alternative: tuple[Pin, ...] = ()

    @property
    def wheels(self) -> tuple[str, ...]:
        """`requirements`, and what the runtime's extras for a program left running need besides."""
        older = ("tomli",) if self.python == "3.10" else ()
        return (*self.requirements, *workbench_versions((*_EXTRAS, *older)))

    def version_of(self, package: str) -> str | None:
        """The pinned version of a package, None where it is not asked for."""
        pins = dict(requirement.split("==") for requirement in self.requirements)
        return pins.get(package)


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """Engine that runs the networks, and the one for models that have no file for it.

    `providers` are onnxruntime's, in the order they are tried.
    """

    name: EngineName
    threads: Count
    alternative: EngineName | None = None
    excluded: tuple[Line, ...] = ()
    providers: tuple[Line, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which artifact of a model is bundled: fp16 is the float file, halved by TensorRT on the board."""

    precision: Literal["int8", "fp16", "fp32"]


@dataclass(frozen=True, kw_only=True)
class DetectorChoice:
    """The face detector and how far it looks, as `--range` says."""

    name: Literal["mediapipe", "yunet"]
    range: Literal["near", "far", "auto"]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The stack that reads the camera; frames larger than this buy nothing on the board."""

    stack: Literal["picamera2", "v4l2"]
    width_px: Count
    height_px: Count
    buffer_count: Annotated[int, Range(1, 8)]


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Where temperature (thousandths of a degree), throttling and power are read; absent where there is no probe."""

    temperature: Line
    throttled: Line | None = None
    power: Line | None = None
    throttles_at_c: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One board. `name` is that of its file; `emulated_as` is QEMU's name of its core."""

    name: Line
    title: Line
    arch: Literal["aarch64", "x86_64"]
    cpu: Line
    cores: Count
    memory_mb: Count
    dot_product: bool
    emulated_as: Line | None = None
    note: Line
    system: tuple[System, ...]
    engine: EngineChoice
    model: ModelChoice
    detector: DetectorChoice
    camera: Camera
    probes: Probes

    def problems(self) -> list[str]:
        """Yield every inconsistency."""
        found = [] if self.system else ["no [[system]]"]
        if self.engine.threads > self.cores:
            found.append(f"{self.engine.threads} threads on {self.cores} cores")
        if self.emulated_as not in (None, *CORES):
            found.append(f"no emulated core {self.emulated_as!r}; there are: {', '.join(CORES)}")
        if self.engine.name not in _DETECTOR_ENGINES[self.detector.name]:
            found.append(f"the {self.detector.name} detector does not run on {self.engine.name}")
        for system in self.system:
            found += _problems_of(system, self.engine)
        for other in self.with_each_engine()[1:]:
            if other.file_type == self.file_type:
                found.append(f"{self.engine.name} and {other.engine.name} take the same files")
            found += [f"alternative: {problem}" for problem in other.problems()]
        return found

    def with_each_engine(self) -> tuple["Profile", ...]:
        """The board with its own engine, and with the alternative where it has one."""
        other = self.engine.alternative
        return (self,) if other is None else (self, self._with_alternative(other))

    def running(self, file_type: str) -> "Profile":
        """The board with the engine that takes `file_type`, "tflite" or "onnx". Raises UsageError where it has none."""
        for board in self.with_each_engine():
            if board.file_type == file_type:
                return board
        raise UsageError(f"board {self.name} runs .{self.file_type} files alone, and this model is a .{file_type}.")

    def _with_alternative(self, name: EngineName) -> "Profile":
        systems = tuple(replace(system, requirements=system.alternative) for system in self.system)
        return replace(self, engine=replace(self.engine, name=name, alternative=None, providers=()), system=systems)

    @property
    def system_site_packages(self) -> bool:
        """Whether the venv must see apt's packages: picamera2 exists only there."""
        return self.camera.stack == "picamera2"

    @property
    def quantize_target(self) -> str | None:
        """The TARGET of `make quantize` whose outcome fits the board's processor; None where it takes float files."""
        if self.model.precision != "int8":
            return None
        if self.arch == "x86_64":
            return "x86"
        if "TensorrtExecutionProvider" in self.engine.providers:
            return "jetson-trt"
        return "armv8.2-dot" if self.dot_product else "armv8"

    @property
    def file_type(self) -> str:
        """Suffix of the model files its engine takes, "tflite" or "onnx"."""
        return _SUFFIXES[self.engine.name]

    @property
    def model_suffix(self) -> str:
        """End of the artifact's name, such as "int8.tflite"."""
        precision = "int8" if self.model.precision == "int8" else "fp32"
        return f"{precision}.{self.file_type}"

    def target(self, system: System) -> Target:
        """The wheels `system` takes."""
        major, minor = system.glibc.split(".")
        return Target(self.arch, system.python, (int(major), int(minor)))

    def lock(self, system: System) -> Path:
        """The lock file of `system`; boards with the same needs share it."""
        names = (self.engine.name, "numpy")
        pins = "-".join(f"{name}{system.version_of(name)}" for name in names)
        return LOCKS / f"{self.arch}-python{system.python}-{pins}.txt"


def _problems_of(system: System, engine: EngineChoice) -> list[str]:
    found = []
    if system.version_of(engine.name) is None:
        found.append(f"{system.os} does not ask for the engine {engine.name}")
    excluded = set(engine.excluded) & set(system.requirements)
    if excluded:
        found.append(f"{system.os} asks for {', '.join(excluded)}, which is excluded")
    numpy = system.version_of("numpy") or ""
    if engine.name == "tflite-runtime" and not numpy.startswith("1."):
        found.append(f"{system.os}: tflite-runtime needs numpy below 2")
    return found


def load_profile(name: str, folder: Path = PROFILES) -> Profile:
    """Read profile `name`. Raises UsageError naming the file, the key and what is wrong with it."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise UsageError(f"board {name!r} has no profile; there are: {', '.join(profile_names(folder))}.")
    table = read_toml(path)
    if "name" in table:
        raise UsageError(f"{path}: unknown key 'name'; a board is named by its file.")
    profile = build(Profile, {"name": name, **table}, f"{path}: profile", UsageError)
    for problem in profile.problems():
        raise UsageError(f"{path}: {problem}.")
    return profile


def profile_names(folder: Path = PROFILES) -> list[str]:
    """Every board there is a file for."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def table(profiles: list[Profile]) -> str:
    """The profiles as text for a terminal."""
    head = ("BOARD", "NAME", "CORES", "MB", "PYTHON", "ENGINE", "MODEL", "DETECTOR", "CAMERA", "NOTE")
    rows = [head, *(_cells(profile) for profile in profiles)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    )


def _cells(profile: Profile) -> tuple[str, ...]:
    camera = (
        f"{profile.camera.stack} {profile.camera.width_px}x{profile.camera.height_px}x{profile.camera.buffer_count}"
    )
    return (
        profile.name,
        profile.title,
        profile.cpu.partition(",")[0],
        str(profile.memory_mb),
        "/".join(system.python for system in profile.system),
        f"{profile.engine.name} x{profile.engine.threads}",
        profile.model.precision,
        f"{profile.detector.name} {profile.detector.range}",
        camera,
        profile.note,
    )
