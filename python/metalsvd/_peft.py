"""What PEFT calls a LoRA adapter: the names and shapes of its factors, its configuration, its two files.

PEFT adds ``B A`` (times alpha / r, here 1) to a weight. Its loader reads ``adapter_model.safetensors`` and
``adapter_config.json`` from a folder.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"

# What embeddings are called. A checkpoint holds a matrix, and does not tell what it is used for.
_EMBEDDING = re.compile(r"embed|^wte$|^wpe$|^shared$")


class Kind(NamedTuple):
    """A kind of weight that PEFT has LoRA factors for."""

    name: str
    A: str  # what stands behind the module's name in the keys of the adapter
    B: str


LINEAR = Kind("linear", "lora_A.weight", "lora_B.weight")
CONVOLUTION = Kind("conv2d", "lora_A.weight", "lora_B.weight")
EMBEDDING = Kind("embedding", "lora_embedding_A", "lora_embedding_B")


def kind_of(module: str, shape: tuple[int, ...]) -> Kind | None:
    """What a weight is used for, by its dimensions and its module's name; None: PEFT has no factors for it."""
    if len(shape) == 4:
        return CONVOLUTION
    if len(shape) != 2:
        return None
    return EMBEDDING if _EMBEDDING.search(module.rpartition(".")[2]) else LINEAR


def to_matrix(weight: Tensor, kind: Kind, fan_in_fan_out: bool) -> Tensor:
    """The matrix (rows of B, columns of A) that ``B A`` is to be, a view of the weight.

    Linear: (out, in), stored the other way round with ``fan_in_fan_out``. Embedding: (dimensions, entries), stored the
    other way round. Convolution: (out, in * height * width).
    """
    if kind is CONVOLUTION:
        return weight.flatten(1)
    return weight.mT if kind is EMBEDDING or fan_in_fan_out else weight


def factor_tensors(module: str, kind: Kind, shape: tuple[int, ...], A: Tensor, B: Tensor) -> dict[str, Tensor]:
    """``A (r, columns)`` and ``B (rows, r)`` under the names and in the shapes that PEFT stores them in."""
    if kind is CONVOLUTION:
        A, B = A.reshape(-1, *shape[1:]), B[:, :, None, None]
    prefix = f"base_model.model.{module}"
    return {f"{prefix}.{kind.A}": A.contiguous(), f"{prefix}.{kind.B}": B.contiguous()}


def config(ranks: dict[str, int], other_modules: Iterable[str], fan_in_fan_out: bool, base_model: str | None) -> dict:
    """``adapter_config.json`` for modules of these ranks; alpha is the rank everywhere, so that the scaling is 1.

    ``other_modules`` are those of the model that have no factors: where one ends as a module with factors does, PEFT
    would take it for that one, and the modules are given as an expression that fits them alone.
    """
    (rank, _), *_ = collections.Counter(ranks.values()).most_common(1)
    # A pattern fits every module whose name ends so, and PEFT takes the first that fits: the longer names stand first,
    # and modules of the usual rank that end as another one are listed too.
    unusual = [module for module in ranks if ranks[module] != rank]
    listed = [module for module in ranks if module in unusual or _ends_as_any(module, unusual)]
    patterns = {module: ranks[module] for module in sorted(listed, key=len, reverse=True)}
    targets: list[str] | str = sorted(ranks)
    if any(_ends_as_any(module, targets) for module in other_modules):
        targets = "|".join(map(re.escape, targets))
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": patterns,
        "alpha_pattern": patterns,
        "target_modules": targets,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


def _ends_as_any(module: str, others: Iterable[str]) -> bool:
    return module.endswith(tuple(f".{other}" for other in others))
