"""``python -m metalsvd lora-extract``: the difference of two checkpoints as a LoRA adapter that PEFT loads.

Of each weight matrix the difference ``D = tuned - base`` is decomposed, ``D ~ U diag(S) V^H``, and stored as
``B = U S^(1/2)`` and ``A = S^(1/2) V^H``, the best factors of their rank (Eckart and Young 1936) but for what
the randomized algorithm and the rounding of the factors cost; that is measured and printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from . import _peft, lowrank, ops
from ._checkpoint import FLOATING_DTYPES, Checkpoint
from ._cli import UserError, choose_device, positive, require_packages, written_whole
from ._devices import best_device, has_kernels
from ._residual import squares_cut_off

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

DESCRIPTION = """\
Extract a LoRA adapter from a fine-tuned model: low-rank factors of the difference of two checkpoints.

BASE and TUNED are safetensors: a file, the index of a sharded checkpoint, or a folder with either. One pair of tensors
is in memory at a time. PEFT loads what is written:

    PeftModel.from_pretrained(model, OUT)

if OUT is a folder. If it ends in .safetensors the factors go there and adapter_config.json beside it. Weights of linear
layers, of embeddings (modules called *embed*, wte, wpe or shared) and of two-dimensional convolutions get factors; all
else that differs, as biases and norms, is named and left out.
"""

_STORED_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NAMED = 3  # of a long list, so many names are told


# --- arguments --------------------------------------------------------------------------------------------------------


def _tolerance(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, but got {text!r}")
    return number


def _expression(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"expected a regular expression, but got {text!r}: {error}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", type=Path, metavar="BASE", help="the checkpoint that the adapter is to be added to")
    parser.add_argument("tuned", type=Path, metavar="TUNED", help="the checkpoint that this is to give")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="a folder, or a file that ends in .safetensors"
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--rank", type=positive, metavar="R", help="rank of each layer, where it has as many")
    size.add_argument(
        "--tol", type=_tolerance, metavar="T", help="the least rank of each layer with |D - B A|_F <= T |D|_F"
    )
    parser.add_argument(
        "--modules", type=_expression, metavar="REGEX", help="only modules in whose name this is found (default: all)"
    )
    parser.add_argument(
        "--dtype", choices=list(_STORED_DTYPES), help="of the stored factors (default: that of the tuned weight)"
    )
    parser.add_argument("--exact", action="store_true", help="decompose wholly (default: randomized)")
    parser.add_argument(
        "--fan-in-fan-out", action="store_true", help="weights are stored (in, out), as GPT-2's are (Conv1D)"
    )
    parser.add_argument("--base-model-name", metavar="NAME", help="to write into adapter_config.json")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the singular values and errors of the layers")
    parser.add_argument("--force", action="store_true", help="replace an adapter that is there already")
    parser.add_argument(
        "--device",
        choices=["auto", "mps", "cuda", "cpu"],
        default="auto",
        help="mps: an Apple GPU, else the emulated one; cpu: LAPACK; auto: the first GPU there is, else cpu "
        "(default: auto)",
    )


def _chosen_device(wanted: str) -> tuple[torch.device, str]:
    """The device and what the user is told of it."""
    if wanted == "cuda" and not has_kernels("cuda"):
        raise UserError("--device cuda: torch finds no CUDA device, or this metalsvd was built without CUDA kernels")
    device = best_device() if wanted == "auto" else torch.device(wanted)
    if device.type == "cuda":
        return device, torch.cuda.get_device_name()
    return device, choose_device(device.type).description


# --- the two checkpoints ----------------------------------------------------------------------------------------------


class Weight(NamedTuple):
    """A tensor that both checkpoints hold. ``kind`` is None for what PEFT has no factors for."""

    name: str
    module: str
    shape: tuple[int, ...]
    dtype: str
    kind: _peft.Kind | None


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def common_weights(base: Checkpoint, tuned: Checkpoint, modules: re.Pattern[str] | None) -> list[Weight]:
    """The tensors to compare, of the modules wanted, in the order of ``base``.

    Raises:
        UserError: one checkpoint lacks tensors of the other, or they differ in shape or dtype; names some.
    """
    wanted = re.compile("") if modules is None else modules
    in_base, in_tuned = (
        [name for name in checkpoint.names() if wanted.search(_module(name))] for checkpoint in (base, tuned)
    )
    for names, others, checkpoint in ((in_base, in_tuned, tuned), (in_tuned, in_base, base)):
        missing = set(names) - set(others)
        if missing:
            lacking = _listed(name for name in names if name in missing)
            raise UserError(f"{checkpoint.path} lacks {lacking} (--modules chooses what is compared)")
    for what, read in (("shape", Checkpoint.shape), ("dtype", Checkpoint.dtype)):
        different = [name for name in in_base if read(base, name) != read(tuned, name)]
        if different:
            name = different[0]
            raise UserError(
                f"the {what} of {_listed(different)} differs: {name} is {read(base, name)} in {base.path}, "
                f"but {read(tuned, name)} in {tuned.path}"
            )
    if not in_base:
        pattern = f" whose module fits --modules {wanted.pattern}" if modules else ""
        raise UserError(f"{base.path} holds no tensor{pattern}")
    return [_weight(base, name) for name in in_base]


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _weight(checkpoint: Checkpoint, name: str) -> Weight:
    shape, dtype = checkpoint.shape(name), checkpoint.dtype(name)
    has_factors = name.endswith(".weight") and dtype in FLOATING_DTYPES
    return Weight(name, _module(name), shape, dtype, _peft.kind_of(_module(name), shape) if has_factors else None)


def _are_equal(first: Tensor, second: Tensor) -> bool:
    """To the bit, in any dtype."""
    return torch.equal(*(tensor.contiguous().flatten().view(torch.uint8) for tensor in (first, second)))


# --- the factors ------------------------------------------------------------------------------------------------------


class Layer(NamedTuple):
    """What was extracted of one weight: ``A (rank, columns)`` and ``B (rows, rank)`` as stored, on the CPU."""

    weight: Weight
    A: Tensor
    B: Tensor
    S: Tensor  # the singular values of the difference that were computed, float32, descending
    change: float  # |D|_F
    error: float  # |D - B A|_F of the stored factors
    base_norm: float  # |base|_F

    @property
    def rank(self) -> int:
        return len(self.A)


def difference(base: Tensor, tuned: Tensor, device: torch.device) -> Tensor:
    """``tuned - base`` in float32 on ``device``; float64 is subtracted in float64, on the CPU."""
    if base.dtype == torch.float64:
        return (tuned - base).float().to(device)
    return tuned.to(device).float() - base.to(device).float()


def factorize(
    D: Tensor, rank: int | None, tol: float | None, *, is_exact: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """``D (m, n) ~ B A`` of this rank, or the least rank with a relative error of at most ``tol``.

    Returns:
        ``A (r, n)`` and ``B (m, r)`` of ``dtype``, of the same scale, and the singular values that were computed.
    """
    rank = None if rank is None else min(rank, *D.shape)
    if is_exact:
        U, S, V = ops.svd(D)
        kept = rank or _rank_to_tolerance(S, tol)
    else:
        generator = torch.Generator(D.device).manual_seed(0)  # the same files give the same adapter
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a tol that is not reached: the table tells
            U, S, V = lowrank.randomized_svd(D, rank, tol=tol, generator=generator)
        kept = len(S)
    root = S[:kept].sqrt()
    return (V[:, :kept] * root).mT.to(dtype), (U[:, :kept] * root).to(dtype), S


def _rank_to_tolerance(S: Tensor, tol: float) -> int:
    """The least number of singular values without which the rest has a norm of at most ``tol |S|``; at least one."""
    left_out = squares_cut_off(S.cpu().double())
    return max(1, int((left_out > tol**2 * left_out[0]).sum()))


def extract(weight: Weight, base: Tensor, tuned: Tensor, device: torch.device, arguments: argparse.Namespace) -> Layer:
    """The factors of one weight that has changed.

    Raises:
        UserError: a weight holds NaN or Inf, or the factors do not fit their dtype.
    """
    D = _peft.to_matrix(difference(base, tuned, device), weight.kind, arguments.fan_in_fan_out)
    for tensor, path in ((base, arguments.base), (tuned, arguments.tuned)):
        if not tensor.isfinite().all():
            raise UserError(f"{weight.name} holds NaN or Inf in {path}")
    dtype = _STORED_DTYPES[arguments.dtype] if arguments.dtype else FLOATING_DTYPES[weight.dtype]
    try:
        A, B, S = factorize(D, arguments.rank, arguments.tol, is_exact=arguments.exact, dtype=dtype)
    except torch.linalg.LinAlgError as error:
        raise UserError(f"cannot decompose the change of {weight.name}: {error}") from error
    error = torch.linalg.vector_norm(D - B.float() @ A.float()).item()
    if not math.isfinite(error):
        raise UserError(f"the factors of {weight.name} do not fit {dtype}: choose another --dtype")
    change, base_norm = (torch.linalg.vector_norm(tensor).item() for tensor in (D, base.float()))
    return Layer(weight, A.cpu(), B.cpu(), S.float().cpu(), change, error, base_norm)


class Extraction(NamedTuple):
    layers: list[Layer]
    unchanged: list[Weight]
    inexpressible: list[Weight]  # changed, and PEFT has no factors for them


def extract_all(
    base: Checkpoint,
    tuned: Checkpoint,
    weights: list[Weight],
    device: torch.device,
    arguments: argparse.Namespace,
    advance: Callable[[Weight], object],
) -> Extraction:
    """Compares all weights, one pair at a time. Before each ``advance`` is called with it."""
    found = Extraction([], [], [])
    for weight in weights:
        advance(weight)
        _extract_one(weight, base, tuned, device, arguments, found)
    return found


def _extract_one(
    weight: Weight,
    base: Checkpoint,
    tuned: Checkpoint,
    device: torch.device,
    arguments: argparse.Namespace,
    found: Extraction,
) -> None:
    """A function of its own so that the pair is released before the next is read."""
    before, after = base.read(weight.name), tuned.read(weight.name)
    if _are_equal(before, after):
        found.unchanged.append(weight)
    elif weight.kind is None:
        found.inexpressible.append(weight)
    else:
        found.layers.append(extract(weight, before, after, device, arguments))


# --- what is written --------------------------------------------------------------------------------------------------


def output_files(output: Path, inputs: list[Path], is_forced: bool) -> tuple[Path, Path]:
    """Where the factors and the configuration go.

    Raises:
        UserError: something is there that is not to be replaced.
    """
    if output.suffix == ".safetensors":
        files = output, output.with_name(_peft.CONFIG_FILE)
    elif output.exists() and not output.is_dir():
        raise UserError(f"cannot write {output}: expected a folder, or a file that ends in .safetensors")
    else:
        files = output / _peft.WEIGHTS_FILE, output / _peft.CONFIG_FILE
    for file in files:
        if any(file.exists() and file.samefile(path) for path in inputs):
            raise UserError(f"cannot write {file}: it is a part of a checkpoint that is read")
        if file.exists() and not is_forced:
            raise UserError(f"cannot write {file}: it exists already (--force replaces it)")
    return files


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder that is there; one that was made for the purpose goes again where the block ends in an error."""
    is_new = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
    try:
        yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        raise


def _save(layers: list[Layer], configuration: dict, weights_file: Path, config_file: Path) -> None:
    import safetensors
    import safetensors.torch

    tensors: dict[str, Tensor] = {}
    for layer in layers:
        weight = layer.weight
        tensors |= _peft.factor_tensors(weight.module, weight.kind, weight.shape, layer.A, layer.B)
    mode = weights_file.stat().st_mode
    try:
        safetensors.torch.save_file(tensors, weights_file, metadata={"format": "pt"})
        weights_file.chmod(mode)  # safetensors makes files that their owner alone may read
        config_file.write_text(json.dumps(configuration, indent=2) + "\n", encoding="utf-8")
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot write the adapter: {error}") from error


# --- what the user sees -----------------------------------------------------------------------------------------------


def layers_table(layers: list[Layer]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("module", overflow="fold")
    for heading in ("weight", "rank", "|D - B A| / |D|", "|D| / |base|"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in layers:
        shape = "x".join(map(str, layer.weight.shape))
        share = layer.change / layer.base_norm if layer.base_norm else math.inf
        table.add_row(layer.weight.module, shape, f"{layer.rank}", f"{layer.error / layer.change:.2e}", f"{share:.2e}")
    return table


def draw(layers: list[Layer], heading: str) -> Figure:
    """The figure: singular values of each layer's difference, relative to the first, and the error of each layer."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5), layout="constrained")
    figure.suptitle(heading, fontsize=13)
    left, right = figure.subplots(1, 2)
    colours = colormaps["viridis"]([place / max(1, len(layers) - 1) for place in range(len(layers))])
    for layer, colour in zip(layers, colours, strict=True):
        values = (layer.S / layer.S[0]).numpy()
        left.semilogy(range(1, len(values) + 1), values, color=colour, linewidth=1)
        left.plot(layer.rank, values[layer.rank - 1], "o", color=colour, markersize=3)
    left.set_title("Singular values of tuned - base, first layer dark; dots: the rank kept", fontsize=11)
    left.set_xlabel("index")
    left.set_ylabel(r"$\sigma_i / \sigma_1$")
    errors = [layer.error / layer.change for layer in layers]
    right.bar(range(1, len(layers) + 1), errors, color=colours)
    right.set_title("What the adapter leaves out of each layer", fontsize=11)
    right.set_xlabel("layer, in the order of the table")
    right.set_ylabel(r"$|D - BA|_F \,/\, |D|_F$")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _facts(found: Extraction, arguments: argparse.Namespace, device: str, files: tuple[Path, Path]) -> dict[str, str]:
    layers = found.layers
    change, error = (math.hypot(*(getattr(layer, field) for layer in layers)) for field in ("change", "error"))
    ranks = sorted({layer.rank for layer in layers})
    facts = {
        "device": device,
        "layers": f"{len(layers)} of rank {ranks[0]}" + (f" to {ranks[-1]}" if len(ranks) > 1 else ""),
        "error of all": f"{error / change:.2e} of the Frobenius norm of the change",
        "unchanged": f"{len(found.unchanged)} tensors, left out",
        "written": f"{files[0]} ({files[0].stat().st_size / 2**20:.1f} MiB) and {files[1]}",
    }
    if arguments.plot:
        facts["plot"] = str(arguments.plot)
    if files[0].name != _peft.WEIGHTS_FILE:
        facts["to load it"] = f"PEFT reads it from a folder under the name {_peft.WEIGHTS_FILE}"
    return facts


# --- the command ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _progress(weights: list[Weight]) -> Iterator[Callable[[Weight], None]]:
    """A bar that moves with the entries compared, and names what is being worked on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=sum(math.prod(weight.shape) for weight in weights))
        done = 0

        def advance(weight: Weight) -> None:
            nonlocal done
            progress.update(task, completed=done, description=weight.module)
            done += math.prod(weight.shape)

        yield advance
        progress.update(task, completed=done, description="")


def run(arguments: argparse.Namespace) -> None:
    require_packages("extraction", ["safetensors", "rich", *(["matplotlib"] if arguments.plot else [])], extra="lora")
    from rich.console import Console

    from ._demo import facts_table

    if arguments.plot and arguments.plot.suffix.lower() != ".png":
        raise UserError(f"--plot must end in .png, but got {arguments.plot}")
    device, description = _chosen_device(arguments.device)
    with contextlib.ExitStack() as stack:
        base, tuned = (stack.enter_context(Checkpoint(path)) for path in (arguments.base, arguments.tuned))
        files = output_files(arguments.output, base.files() + tuned.files(), arguments.force)
        weights = common_weights(base, tuned, arguments.modules)
        stack.enter_context(_made(files[0].parent))
        unfinished = [stack.enter_context(written_whole(file)) for file in files]
        if arguments.plot:
            unfinished_plot = stack.enter_context(written_whole(arguments.plot))
        with _progress(weights) as advance:
            found = extract_all(base, tuned, weights, device, arguments, advance)
        if not found.layers:
            changed = (
                f"only {_listed(weight.name for weight in found.inexpressible)}" if found.inexpressible else "nothing"
            )
            raise UserError(f"there is nothing to extract: {changed} differs between {base.path} and {tuned.path}")
        ranks = {layer.weight.module: layer.rank for layer in found.layers}
        others = {_module(name) for name in base.names()} - set(ranks)
        configuration = _peft.config(ranks, others, arguments.fan_in_fan_out, arguments.base_model_name)
        _save(found.layers, configuration, *unfinished)
        if arguments.plot:
            draw(found.layers, f"{base.path} to {tuned.path}").savefig(unfinished_plot, format="png", dpi=110)

    console = Console()
    console.print(layers_table(found.layers))
    console.print(facts_table(_facts(found, arguments, description, files)))
    if found.inexpressible:
        names = _listed(weight.name for weight in found.inexpressible)
        print(f"{arguments.prog}: changed too, but LoRA cannot express it: {names}", file=sys.stderr)
