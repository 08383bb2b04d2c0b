"""onnxruntime's execution providers: in which order they are tried, a session with them, which one really ran a node.

TensorRT and CUDA exist only with NVIDIA's wheel, on a board with its GPU. Untested here: no Jetson was at hand.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.contract import METADATA_KEY, parse_contract
from fer_edge.errors import ModelError, UsageError
from fer_edge.native import native_path, native_text

_LOG = logging.getLogger(__name__)
# Numpy's names of the types that a model's input may have.
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}
TENSORRT, _CUDA, _CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"


def engine_cache() -> Path:
    """Where TensorRT keeps the engines it built: FER_EDGE_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("FER_EDGE_CACHE"):
        return Path(chosen).expanduser() / "tensorrt"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer-edge" / "tensorrt"


def usable_cache() -> Path | None:
    """The folder of `engine_cache`, made; None, with a word to the log, where nothing can be read or kept there."""
    try:
        cache = engine_cache()
        native_text(str(cache), f"the name {cache}")
        cache.mkdir(parents=True, exist_ok=True)
        # One with an engine in it is of use where it cannot be written, too.
        if any(cache.glob("*.engine")) or os.access(cache, os.W_OK):
            return cache
        reason = f"{cache} cannot be written"
    except (OSError, RuntimeError, UsageError) as error:  # RuntimeError: a user without a home
        reason = str(error)
    _LOG.warning("TensorRT's engine is not kept, and built at every start: %s. Set FER_EDGE_CACHE to a folder.", reason)
    return None


def chosen_providers(available: Collection[str], *, int8: bool, cache: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """TensorRT, then CUDA, then the CPU: those `available` has, each with its options.

    A float model runs in FP16 under TensorRT; an INT8 one by its own scales (QDQ). The engine built from it is kept in
    `cache`, where there is one. https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
    """
    kept = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(cache),
    }
    options: dict[str, dict[str, Any]] = {
        TENSORRT: {"trt_fp16_enable": True, "trt_int8_enable": int8, **(kept if cache else {})},
        _CUDA: {},
        _CPU: {},
    }
    return [(name, options[name]) for name in options if name in available or name == _CPU]


def announce_build(providers: list[tuple[str, dict[str, Any]]], cache: Path | None, model: Path) -> None:
    """Say before the first engine is built that it takes minutes; TensorRT itself says nothing."""
    if providers[0][0] != TENSORRT or (cache and any(cache.glob("*.engine"))):
        return
    where = f"once; kept in {cache}" if cache else "at every start"
    _LOG.warning("TensorRT builds its engine for %s: minutes, %s", model.name, where)


def is_cpu_alone() -> bool:
    """Whether the installed onnxruntime has no provider for a GPU."""
    import onnxruntime

    return not {TENSORRT, _CUDA} & set(onnxruntime.get_available_providers())


def open_session(path: Path, options: Any) -> Any:
    """An onnxruntime session with the providers this machine has, in order of preference.

    Where TensorRT is among them, the CPU opens the model first: its contract says whether it is INT8.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    int8, cache = False, None
    if TENSORRT in available:
        cache = usable_cache()
        contract = _cpu_session(path, None).get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        int8 = contract is not None and parse_contract(contract, str(path)).precision == "int8"
    providers = chosen_providers(available, int8=int8, cache=cache)
    if len(providers) == 1:
        return _cpu_session(path, options)
    announce_build(providers, cache, path)
    with native_path(path, ModelError) as name:
        return onnxruntime.InferenceSession(name, options, providers=providers)


def _cpu_session(path: Path, options: Any) -> Any:
    import onnxruntime

    with native_path(path, ModelError) as name:
        return onnxruntime.InferenceSession(name, options, providers=["CPUExecutionProvider"])


def trial_shape(shape: tuple[int, ...], contract: str | None) -> tuple[int, ...]:
    """An input's shape for one face. Dimensions that may vary (-1) are as the contract says, if there is one, else 1.

    A network of any height and width may take no picture of one pixel.
    """
    of_face: tuple[int, ...] = ()
    with contextlib.suppress(ModelError):
        of_face = parse_contract(contract or "{}", "").input.tensor_shape
    filled = (1, *of_face) if len(shape) == 1 + len(of_face) else (1,) * len(shape)
    return tuple(expected if size == -1 else size for size, expected in zip(shape, filled, strict=True))


def nodes_by_provider(path: Path) -> Counter[str]:
    """How many nodes of the model each provider ran, from onnxruntime's own profile of one inference."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(path, options)
        argument = session.get_inputs()[0]
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        shape = tuple(size if isinstance(size, int) else -1 for size in argument.shape)
        session.run(None, {argument.name: np.zeros(trial_shape(shape, text), DTYPES[argument.type])})
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = {event["name"]: event["args"]["provider"] for event in events if event.get("args", {}).get("provider")}
    return Counter(ran.values())
