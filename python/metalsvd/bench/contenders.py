"""Who decomposes: metalsvd by its drivers, and torch by its. The peers from other packages stand in ``peers.py``.

A contender takes the same inputs as all others. :meth:`Contender.adopt` turns a tensor into what its package works on,
outside of what is timed; :meth:`Contender.svd` is timed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .. import __version__, _route, ops
from .._devices import is_built_for
from .cases import Case
from .targets import Target

OUR_DRIVERS = ["auto", "thread", "simdgroup", "threadgroup", "block", "qr", "cholesky", "recover", "whole"]
UNCHECKED = "svd_ex"  # as auto, but nobody waits for errors
TORCH_DRIVERS = ["default", "gesvdj", "gesvda", "gesvd"]  # all but the first on cuda alone


class Contender:
    """One way to decompose. The base class suits whatever works on torch's tensors."""

    package: str
    driver: str
    version: str
    is_ours = False

    def __init__(self, target: Target, driver: str) -> None:
        self.target = target
        self.driver = driver

    @property
    def name(self) -> str:
        return f"{self.package} {self.driver}"

    def method(self, case: Case, job: str) -> str | None:
        """What runs, in words, where the package tells. Raises what :meth:`svd` would where nothing can run."""
        return None

    def session(self) -> contextlib.AbstractContextManager:
        """Around all calls for one cell."""
        return contextlib.nullcontext()

    def adopt(self, A: Tensor) -> Any:
        return A

    def svd(self, A: Any, job: str) -> Any:
        """Decompose; need not wait for the device. ``job``: ``thin``, ``full`` or ``values``."""
        raise NotImplementedError

    def synchronize(self, outputs: Any) -> None:
        """Wait until ``outputs``, the last that :meth:`svd` returned, and all before are there."""
        self.target.synchronize()

    def factors(self, outputs: Any, job: str) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """What :meth:`svd` returned, as U, S, Vh of torch; U and Vh None for the job ``values``."""
        return (None, outputs, None) if job == "values" else outputs

    def peak_of(self, A: Any, job: str) -> tuple[Any, int | None]:
        """One call: its outputs, and the most bytes of the device it held, outputs included; None if unknown."""
        return self.target.peak_of(lambda: self.svd(A, job))

    def release_memory(self) -> None:
        self.target.release_memory()


class Metalsvd(Contender):
    package = "metalsvd"
    version = __version__
    is_ours = True

    @property
    def _driver(self) -> str | None:
        return None if self.driver == "auto" else self.driver

    def method(self, case: Case, job: str) -> str:
        device = self.target.device
        if not is_built_for(device):
            raise RuntimeError(f"this metalsvd was built without kernels for {device}")
        if device == "cpu":
            if case.dtype in (torch.float16, torch.bfloat16):
                raise RuntimeError(f"LAPACK on the CPU has no {case.dtype_name}")
            return "LAPACK"
        options = {"full_matrices": job == "full", "compute_uv": job != "values"}
        return ops.plan(case.shape, case.dtype, driver=self._driver, device=device, **options)

    def fits(self, case: Case, job: str) -> bool:
        """Whether the driver takes such matrices; ``auto`` takes all, and if not, its failure says why."""
        try:
            self.method(case, job)
        except RuntimeError:
            return self.driver == "auto"
        return True

    def svd(self, A: Tensor, job: str) -> Any:
        if job == "values":
            return ops.svdvals(A, driver=self._driver)
        return ops.svd(A, job == "full", driver=self._driver)

    def factors(self, outputs: Any, job: str) -> tuple[Tensor | None, Tensor, Tensor | None]:
        return (None, outputs, None) if job == "values" else (outputs.U, outputs.S, outputs.Vh)


class MetalsvdUnchecked(Metalsvd):
    """metalsvd.svd_ex: what calls cost that follow each other on the device, since none waits to raise an error."""

    _driver = None

    def __init__(self, target: Target) -> None:
        super().__init__(target, UNCHECKED)

    def svd(self, A: Tensor, job: str) -> Any:
        outputs = ops.svd_ex(A, job == "full", job != "values")
        return outputs.S if job == "values" else outputs


class Torch(Contender):
    """torch.linalg.svd as it is without metalsvd."""

    package = "torch"
    version = torch.__version__

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        patched = [device for device in ("mps", "cuda") if _route.is_patched(device)]
        _route.unpatch_torch()
        try:
            yield
        finally:
            if patched:
                _route.patch_torch(devices=patched)

    def svd(self, A: Tensor, job: str) -> Any:
        driver = None if self.driver == "default" else self.driver
        if job == "values":
            return torch.linalg.svdvals(A, driver=driver)
        return torch.linalg.svd(A, full_matrices=job == "full", driver=driver)


class TorchThroughCpu(Contender):
    """What users of mps do today: to the CPU, LAPACK there, and back."""

    package = "torch"
    version = torch.__version__

    def __init__(self, target: Target) -> None:
        super().__init__(target, "via cpu")

    def svd(self, A: Tensor, job: str) -> Any:
        on_cpu = A.cpu()
        if job == "values":
            return torch.linalg.svdvals(on_cpu).to(A.device)
        return tuple(factor.to(A.device) for factor in torch.linalg.svd(on_cpu, full_matrices=job == "full"))


def ours(target: Target, drivers: list[str]) -> list[Contender]:
    """metalsvd by the drivers asked for; ``auto`` where none of ours is among them."""
    if "all" in drivers:
        there = OUR_DRIVERS[:1] if target.device == "cpu" else OUR_DRIVERS
        return [Metalsvd(target, driver) for driver in there]
    unchecked: list[Contender] = [MetalsvdUnchecked(target)] if UNCHECKED in drivers else []
    asked = [driver for driver in OUR_DRIVERS if driver in drivers]
    asked = asked or ([] if unchecked else ["auto"])
    return [Metalsvd(target, driver) for driver in asked] + unchecked


def of_torch(target: Target, drivers: list[str]) -> list[Contender]:
    """torch by the drivers asked for; by all that it has on this device where none of them is torch's."""
    there = TORCH_DRIVERS if target.device == "cuda" else TORCH_DRIVERS[:1]
    asked = [driver for driver in TORCH_DRIVERS if driver in drivers]
    contenders: list[Contender] = [Torch(target, driver) for driver in asked or there]
    if target.device == "mps":
        contenders.append(TorchThroughCpu(target))
    return contenders
