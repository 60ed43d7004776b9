"""The peers from other packages: JAX, CuPy, SciPy. Each is imported only when it is asked for, and may be missing."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .contenders import Contender, of_torch
from .targets import Target


class Absent(Exception):
    """A peer does not take part; the message says why, in one line."""


class _FromNumpy(Contender):
    """What takes numpy's arrays and returns U, S, Vh, or S alone, of its own kind."""

    @property
    def name(self) -> str:
        return f"{self.package} {self.driver}" if self.driver else self.package

    def to_numpy(self, array: Any) -> Any:
        raise NotImplementedError

    def factors(self, outputs: Any, job: str) -> tuple[Tensor | None, Tensor, Tensor | None]:
        parts = [outputs] if job == "values" else outputs
        tensors = [torch.from_numpy(self.to_numpy(part)).to(self.target.device) for part in parts]
        return (None, tensors[0], None) if job == "values" else tuple(tensors)


class Jax(_FromNumpy):
    """jax.numpy.linalg.svd under jax.jit; compiling is warming up."""

    package = "jax"

    def __init__(self, target: Target) -> None:
        super().__init__(target, "")
        # Otherwise the first call takes three quarters of the GPU's memory from everybody else, for good.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax

        self.version = jax.__version__
        self._jax = jax
        try:
            self._device = jax.devices(target.device)[0]
        except RuntimeError as error:
            raise Absent(f"jax has no {target.device} device here, left out: {_first_line(error)}") from error
        options = {"thin": {"full_matrices": False}, "full": {"full_matrices": True}, "values": {"compute_uv": False}}
        self._jitted = {job: jax.jit(self._function(**chosen)) for job, chosen in options.items()}

    def _function(self, **options: bool) -> Callable[[Any], Any]:
        return lambda A: self._jax.numpy.linalg.svd(A, **options)

    def adopt(self, A: Tensor) -> Any:
        return self._jax.block_until_ready(self._jax.device_put(A.cpu().numpy(), self._device))

    def svd(self, A: Any, job: str) -> Any:
        return self._jitted[job](A)

    def synchronize(self, outputs: Any) -> None:
        # One stream: what came before is there as well.
        self._jax.block_until_ready(outputs)

    def to_numpy(self, array: Any) -> Any:
        import numpy

        return numpy.array(array)  # a copy: torch wants what it may write to

    def peak_of(self, A: Any, job: str) -> tuple[Any, int | None]:
        outputs = self._jax.block_until_ready(self.svd(A, job))
        try:
            plan = self._jitted[job].lower(A).compile().memory_analysis()
            return outputs, plan.temp_size_in_bytes + plan.output_size_in_bytes
        except Exception:  # no backend promises that analysis
            return outputs, None

    def release_memory(self) -> None:
        self._jax.clear_caches()
        super().release_memory()


class Cupy(_FromNumpy):
    """cupy.linalg.svd."""

    package = "cupy"

    def __init__(self, target: Target) -> None:
        super().__init__(target, "")
        import cupy

        self.version = cupy.__version__
        self._cupy = cupy
        try:
            cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise Absent(f"cupy has no cuda device here, left out: {_first_line(error)}") from error

    def adopt(self, A: Tensor) -> Any:
        return self._cupy.asarray(A.cpu().numpy())

    def svd(self, A: Any, job: str) -> Any:
        return self._cupy.linalg.svd(A, full_matrices=job == "full", compute_uv=job != "values")

    def synchronize(self, outputs: Any) -> None:
        self._cupy.cuda.get_current_stream().synchronize()

    def to_numpy(self, array: Any) -> Any:
        return self._cupy.asnumpy(array)

    def peak_of(self, A: Any, job: str) -> tuple[Any, int | None]:
        pool = self._cupy.get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.total_bytes()
        outputs = self.svd(A, job)
        self.synchronize(outputs)
        # The pool keeps what the call released: what it holds now is what the call needed.
        return outputs, pool.total_bytes() - before

    def release_memory(self) -> None:
        self._cupy.get_default_memory_pool().free_all_blocks()
        super().release_memory()


class Scipy(_FromNumpy):
    """scipy.linalg.svd, one matrix after the other."""

    package = "scipy"

    def __init__(self, target: Target) -> None:
        super().__init__(target, "")
        import scipy

        self.version = scipy.__version__
        from scipy import linalg

        self._linalg = linalg

    def adopt(self, A: Tensor) -> Any:
        return A.numpy()

    def svd(self, A: Any, job: str) -> Any:
        options = {"full_matrices": job == "full", "compute_uv": job != "values"}
        if A.ndim == 2:
            return self._linalg.svd(A, **options)
        return [self._linalg.svd(matrix, **options) for matrix in A]

    def factors(self, outputs: Any, job: str) -> tuple[Tensor | None, Tensor, Tensor | None]:
        if isinstance(outputs, list):
            import numpy

            # Of each matrix S alone, or its U, S and Vh.
            outputs = numpy.stack(outputs) if job == "values" else list(map(numpy.stack, zip(*outputs, strict=True)))
        return super().factors(outputs, job)

    def to_numpy(self, array: Any) -> Any:
        return array


# name -> the devices it works on, and how to make its contenders
_OTHERS: dict[str, tuple[list[str], Callable[[Target], Contender]]] = {
    "jax": (["cuda", "cpu"], Jax),
    "cupy": (["cuda"], Cupy),
    "scipy": (["cpu"], Scipy),
}
PEERS = ["torch", *_OTHERS]


def make_peers(name: str, target: Target, torch_drivers: list[str]) -> list[Contender]:
    """The contenders of one peer on this target.

    Raises:
        Absent: it is not installed, or does not work on that device.
    """
    if name == "torch":
        return of_torch(target, torch_drivers)
    devices, make = _OTHERS[name]
    if target.device not in devices:
        raise Absent(f"{name} does not work on {target.device}, left out")
    if importlib.util.find_spec(name) is None:
        raise Absent(f"{name} is not installed, left out")
    try:
        return [make(target)]
    except ImportError as error:
        raise Absent(f"{name} cannot be imported, left out: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().partition("\n")[0]
