"""Memory of the host from which a device is fed, and the copies between them."""

import ctypes
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from models.errors import InferenceError, ProviderError

PORTABLE: Final = 1  # cudaHostAllocPortable: page-locked for every context
TO_DEVICE: Final = 1  # cudaMemcpyHostToDevice
TO_HOST: Final = 2  # cudaMemcpyDeviceToHost

AnyArray = npt.NDArray[Any]


class HostMemory(Protocol):
    """Where arrays lie that go to a device or come from it."""

    device: str  # as ONNX Runtime names the device

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """A new array.

        Raises:
            InferenceError: There is no such memory left.
        """
        ...

    def to_device(self, source: AnyArray, buffer: ort.OrtValue) -> None:
        """Copy a whole array to a buffer of its size.

        Raises:
            InferenceError: The device failed.
        """
        ...

    def to_host(self, buffer: ort.OrtValue, target: AnyArray) -> None:
        """Copy a whole buffer to an array of its size.

        Raises:
            InferenceError: The device failed.
        """
        ...


class OrdinaryMemory:
    """For sessions on the CPU."""

    device = "cpu"

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """See `HostMemory`."""
        return np.zeros(shape, dtype)

    def to_device(self, source: AnyArray, buffer: ort.OrtValue) -> None:
        """See `HostMemory`."""
        buffer.update_inplace(source)

    def to_host(self, buffer: ort.OrtValue, target: AnyArray) -> None:
        """See `HostMemory`."""
        np.copyto(target, buffer.numpy())


class CudaMemory:
    """Page-locked memory, which a GPU reads and writes itself, without a copy by the CPU.

    ONNX Runtime's Python has none, and its copies keep other threads waiting, which `ctypes` does not.
    https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__MEMORY.html
    """

    device = "cuda"

    def __init__(self) -> None:
        """Find CUDA's runtime, which ONNX Runtime has loaded.

        Raises:
            ProviderError: It is not there.
        """
        name = f"libcudart.so.{str(getattr(ort, 'cuda_version', '')).split('.')[0]}"
        try:
            self._runtime = ctypes.CDLL(name)
        except OSError as error:
            raise ProviderError(f"CUDA cannot be used: {error}") from error
        self._runtime.cudaGetErrorString.restype = ctypes.c_char_p

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """See `HostMemory`."""
        array = np.asarray(_PageLocked(self, shape, np.dtype(dtype)))
        array[:] = 0
        return array

    def to_device(self, source: AnyArray, buffer: ort.OrtValue) -> None:
        """See `HostMemory`."""
        self._copy(buffer.data_ptr(), source.ctypes.data, source.nbytes, TO_DEVICE)

    def to_host(self, buffer: ort.OrtValue, target: AnyArray) -> None:
        """See `HostMemory`."""
        self._copy(target.ctypes.data, buffer.data_ptr(), target.nbytes, TO_HOST)

    def allocate(self, size_bytes: int) -> int:
        """The address of new memory."""
        address = ctypes.c_void_p()
        size = ctypes.c_size_t(size_bytes)
        self._check(self._runtime.cudaHostAlloc(ctypes.byref(address), size, PORTABLE))
        if address.value is None:
            raise InferenceError("CUDA gave no memory")
        return address.value

    def free(self, address: int) -> None:
        """Give memory back; at the end of the process CUDA may be gone already, which is no error."""
        self._runtime.cudaFreeHost(ctypes.c_void_p(address))

    def _copy(self, target: int, source: int, size_bytes: int, kind: int) -> None:
        """Returns when all is there. Waits for no kernel: ONNX Runtime's stream is not the default one."""
        size = ctypes.c_size_t(size_bytes)
        self._check(self._runtime.cudaMemcpy(ctypes.c_void_p(target), ctypes.c_void_p(source), size, kind))

    def _check(self, error: int) -> None:
        if error:
            said = self._runtime.cudaGetErrorString(error).decode()
            raise InferenceError(f"CUDA failed: {said}")


class _PageLocked:
    """Memory for NumPy to use without a copy; an array made of it keeps it alive.

    https://numpy.org/doc/stable/reference/arrays.interface.html
    """

    def __init__(self, memory: CudaMemory, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._memory, self._address = memory, 0
        self._address = memory.allocate(int(np.prod(shape)) * dtype.itemsize)
        data = (self._address, False)
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": data, "version": 3}

    def __del__(self) -> None:
        if self._address:
            self._memory.free(self._address)
