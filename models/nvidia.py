"""NVIDIA GPUs through ONNX Runtime: its CUDA provider, and TensorRT where it was asked for.

Options: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and
.../TensorRT-ExecutionProvider.html.
"""

import ctypes
import importlib
import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

import onnxruntime as ort

from models.bucket_session import BUCKETS, BucketSession
from models.errors import InferenceError, ProviderError
from models.gpu_graph import GpuPrecision, gpu_form
from models.host_memory import CudaMemory
from models.onnxruntime_session import CPU, session_options
from models.types import INPUT_SIZE

CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
TENSORRT_LIBRARIES: Final = ("libnvinfer.so.10", "libnvonnxparser.so.10")

ROUNDING: Final[dict[GpuPrecision, float]] = {"fp32": 1e-3, "fp16": 5e-2}
"""For `models.session.Session.rounding`: fp16 has 11 bits, and each batch size may have its own kernels."""

ProviderOptions = tuple[str, dict[str, str]]
logger = logging.getLogger("face_api.models")


def has_device() -> bool:
    """Whether this machine shows an NVIDIA device."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def open_cuda(graph: Path, precision: GpuPrecision) -> BucketSession:
    """A session on CUDA, with CUDA graphs where they can be had.

    Args:
        graph: Made by `graph.prepare`.
        precision: What to compute in.

    Raises:
        ProviderError: CUDA cannot be used.
        ModelGraphError: The graph cannot be brought into the form for GPUs.
        InferenceError: The graph does not run.
    """
    _find_cuda()
    form = gpu_form(graph, precision)
    try:
        return _open(form, [cuda_options(precision, captures=True)], precision)
    except (ProviderError, InferenceError) as error:
        # Nothing is lost when the reason is another: the next line meets it again, and raises.
        logger.warning("no CUDA graphs, so batches are launched kernel by kernel, and slower: %s", error)
    return _open(form, [cuda_options(precision, captures=False)], precision)


def open_tensorrt(graph: Path, precision: GpuPrecision) -> BucketSession:
    """A session on TensorRT. The first start with a model, GPU and version builds the engine.

    Args and errors as for `open_cuda`.
    """
    _find_cuda()
    if TENSORRT not in ort.get_available_providers():
        raise ProviderError("TensorRT cannot be used: this onnxruntime has no TensorRT provider")
    version = _tensorrt_version()
    form = gpu_form(graph, precision)
    engines = graph.parent / "tensorrt" / f"{version}-{_gpu()}" / form.stem  # the stem holds the digest
    engines.mkdir(parents=True, exist_ok=True)
    if not any(engines.glob("*.engine")):
        logger.warning("TensorRT builds its engine for this GPU now; later starts find it in %s", engines)
    providers = [tensorrt_options(engines, precision), cuda_options(precision, captures=False)]
    return _open(form, providers, precision)


def cuda_options(precision: GpuPrecision, *, captures: bool) -> ProviderOptions:
    """The CUDA provider: launches each batch as one CUDA graph if `captures`."""
    return CUDA, {
        # Tries all of cuDNN's algorithms for each shape: there are six, and it happens before readiness.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        # Without it, those that need much memory for themselves are left out.
        "cudnn_conv_use_max_workspace": "1",
        # Grows by what is needed, not by doubling: several replicas may share a GPU.
        "arena_extend_strategy": "kSameAsRequested",
        # Channels last, as tensor cores read them: 24 % more pictures/s of 10g in fp16 on an H100.
        "prefer_nhwc": "1" if precision == "fp16" else "0",
        # TF32 keeps 11 bits of a factor, as fp16 does; who asks for fp32 wants 24.
        "use_tf32": "0" if precision == "fp32" else "1",
        # SCRFD is a hundred short kernels: one launch leaves no gaps between them, and the CPU to others.
        "enable_cuda_graph": "1" if captures else "0",
    }


def tensorrt_options(engines: Path, precision: GpuPrecision) -> ProviderOptions:
    """TensorRT: one engine for all batch sizes, kept in that folder."""
    shapes = {"min": BUCKETS[0], "opt": BUCKETS[-2], "max": BUCKETS[-1]}  # fastest at gpu.yaml's batch size
    profiles = {
        f"trt_profile_{kind}_shapes": f"pictures:{size}x{INPUT_SIZE}x{INPUT_SIZE}x3"
        for kind, size in shapes.items()
    }
    return TENSORRT, profiles | {
        "trt_fp16_enable": "1" if precision == "fp16" else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        # Measured kernel times, so that an engine for a new recipe is built sooner.
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(engines.parent),
        # Its kernels are few already, and it captures for one shape only.
        "trt_cuda_graph_enable": "0",
    }


def nodes_on_cpu(session: ort.InferenceSession) -> list[str]:
    """Operators that a session of ours runs on the CPU, each once."""
    parts = session.get_provider_graph_assignment_info()
    return sorted({node.op_type for part in parts if part.ep_name == CPU for node in part.get_nodes()})


def _open(form: Path, providers: list[ProviderOptions], precision: GpuPrecision) -> BucketSession:
    options = session_options(1)  # the CPU has nothing to compute
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    first = providers[0][0]
    try:
        # Without `enable_fallback=0` it would print an error and go on with the CPU.
        session = ort.InferenceSession(form, options, providers=providers, enable_fallback=0)
    except Exception as error:
        raise ProviderError(f"ONNX Runtime cannot load {form.name} on {first}: {error}") from error
    if session.get_providers()[0] != first:
        raise ProviderError(
            f"{first} cannot be used: CUDA or cuDNN could not be loaded (install the extra `cuda`, or check "
            "the driver)"
        )
    if names := nodes_on_cpu(session):
        logger.warning("parts of the graph run on the CPU, and slow the GPU down: %s", ", ".join(names))
    return BucketSession(session, f"{first} {precision}", memory=CudaMemory(), rounding=ROUNDING[precision])


def _find_cuda() -> None:
    """Load CUDA's libraries, as far as they come with wheels.

    Raises:
        ProviderError: There is no CUDA here.
    """
    if CUDA not in ort.get_available_providers():
        raise ProviderError(
            "CUDA cannot be used: this onnxruntime has no CUDA provider (it needs onnxruntime-gpu)"
        )
    if not has_device():
        raise ProviderError("CUDA cannot be used: this machine shows no NVIDIA device")
    ort.preload_dlls()


def _tensorrt_version() -> int:
    """The version of TensorRT's libraries, such as 101303, which are loaded by that."""
    with suppress(ImportError):
        importlib.import_module("tensorrt_libs")  # NVIDIA's wheel loads its libraries when it is imported
    try:
        inference, _ = [ctypes.CDLL(name) for name in TENSORRT_LIBRARIES]
    except OSError as error:
        cuda = str(getattr(ort, "cuda_version", "")).split(".")[0]
        raise ProviderError(
            f"TensorRT cannot be used: {error}. Install it beside this service: "
            f"pip install 'tensorrt-cu{cuda}<11', or NVIDIA's packages libnvinfer10 and libnvonnxparsers10"
        ) from error
    return int(inference.getInferLibVersion())


def _gpu() -> str:
    """Name and compute capability of the first GPU, such as `NVIDIA-L4-8.9`: engines fit no other.

    CUDA driver API: attributes 75 and 76 are the compute capability's two numbers.
    """
    name, device, major, minor = ctypes.create_string_buffer(256), *(ctypes.c_int() for _ in range(3))
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ProviderError(f"CUDA cannot be used: {error}") from error
    failures = [
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDeviceGetName(name, len(name), device),
        driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device),
        driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device),
    ]
    if any(failures):
        raise ProviderError(f"CUDA cannot be used: the driver answers with error {max(failures)}")
    return re.sub(r"[^A-Za-z0-9]+", "-", name.value.decode()) + f"-{major.value}.{minor.value}"
