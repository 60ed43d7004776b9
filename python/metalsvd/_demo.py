"""``python -m metalsvd demo``: a photograph, its singular values and its low-rank reconstructions.

Every colour channel of the picture is a matrix, and ``torch.linalg.svd`` on mps decomposes them. With ``--tile`` the
channels are cut into square tiles first, and all tiles of all channels are one batch of small matrices.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from . import _route, emulator, ops
from ._accuracy import Accuracy, accuracy
from ._cli import Device, UserError, choose_device, not_negative, positive, require_packages, written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

DESCRIPTION = """\
Decompose a photograph on the best device there is, and show what it takes to rebuild it.

Runs torch.linalg.svd on the colour channels of the picture, each a matrix (with --tile: on the batch of their square
tiles), writes a picture of the rank-r reconstructions with the singular value curve, and prints how accurate the
factors are beside LAPACK's.
"""

# A call takes about a tenth of a second on the emulated GPU, or is one large matrix: the progress bar moves.
_MATRICES_PER_CALL = 8
_NUMBERS_PER_CALL = 8 * 32 * 32
_MOST_CALLS = 64
_WHOLE_RANKS = [2, 8, 24, 64]
_TILE_RANKS = [1, 2, 4, 8]
_PANELS_PER_ROW = 5


# --- arguments --------------------------------------------------------------------------------------------------------


def _ranks(text: str) -> list[int]:
    return sorted({positive(part.strip()) for part in text.split(",")})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image", type=Path, metavar="PATH", help="a PNG, JPEG, ... (default: a photograph that comes with matplotlib)"
    )
    parser.add_argument(
        "--size", type=positive, default=256, help="shrink a picture whose longer side has more pixels (default: 256)"
    )
    parser.add_argument(
        "--tile",
        type=not_negative,
        default=0,
        help="cut the picture into tiles with sides of so many pixels; 0: take it whole (default: 0)",
    )
    whole, tiles = (",".join(map(str, ranks)) for ranks in (_WHOLE_RANKS, _TILE_RANKS))
    parser.add_argument(
        "--ranks", type=_ranks, metavar="R,R,...", help=f"ranks to rebuild with (default: {whole}; for tiles: {tiles})"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("metalsvd-demo.png"),
        metavar="PNG",
        help="the picture to write (default: metalsvd-demo.png)",
    )
    parser.add_argument(
        "--device",
        choices=["auto", "mps", "cpu"],
        default="auto",
        help="mps: an Apple GPU, else the emulated one; cpu: LAPACK; auto: the best there is (default: auto)",
    )


# --- the picture ------------------------------------------------------------------------------------------------------


def load_picture(path: Path | None = None) -> Tensor:
    """A picture as float32 in [0, 1], shape ``(channels, height, width)``, one channel if it is grey, else three.

    Transparent parts are laid on white. None loads the photograph of Grace Hopper that comes with matplotlib.

    Raises:
        UserError: no such file, or no picture in it.
    """
    import numpy
    from PIL import Image, ImageOps, UnidentifiedImageError

    if path is None:
        import matplotlib.cbook

        path = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)  # telephones store the turn of a photograph beside it
            if image.mode.startswith("I"):  # 16 bit grey
                return torch.from_numpy(numpy.asarray(image, dtype=numpy.float32) / 65535).clamp(0, 1).unsqueeze(0)
            if image.mode in ("1", "L"):
                image = image.convert("L")
            else:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image).convert("RGB")
            values = torch.from_numpy(numpy.array(image, dtype=numpy.float32) / 255)
    except FileNotFoundError:
        raise UserError(f"no such picture: {path}") from None
    # SyntaxError is how Pillow reports a broken PNG.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "not a picture in a format that Pillow reads"
        raise UserError(f"cannot read the picture {path}: {reason}") from error
    return values.unsqueeze(0) if values.dim() == 2 else values.permute(2, 0, 1).contiguous()


def shrink(picture: Tensor, longest: int) -> Tensor:
    """The picture with its longer side at most ``longest`` pixels, in the same proportions."""
    height, width = picture.shape[-2:]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    smaller = torch.nn.functional.interpolate(picture.unsqueeze(0), size, mode="bilinear", antialias=True)
    return smaller.squeeze(0).clamp(0, 1)


def to_tiles(picture: Tensor, tile: int) -> Tensor:
    """``(channels, height, width)`` -> ``(channels, rows, columns, tile, tile)``.

    A side that is no multiple of ``tile`` is padded with copies of the last row or column. ``tile`` 0 stands for one
    tile as large as the picture: ``(channels, 1, 1, height, width)``.
    """
    height, width = picture.shape[-2:]
    if tile == 0:
        return picture[:, None, None].contiguous()
    right, below = -width % tile, -height % tile
    padded = torch.nn.functional.pad(picture, (0, right, 0, below), mode="replicate")
    return padded.unfold(1, tile, tile).unfold(2, tile, tile).contiguous()


def from_tiles(tiles: Tensor, height: int, width: int) -> Tensor:
    """The inverse of :func:`to_tiles`: the padding is cut off again."""
    channels, rows, columns, m, n = tiles.shape
    return tiles.transpose(2, 3).reshape(channels, rows * m, columns * n)[:, :height, :width]


# --- the decomposition ------------------------------------------------------------------------------------------------


class Factors(NamedTuple):
    U: Tensor
    S: Tensor
    Vh: Tensor


def matrices_per_call(count: int, m: int, n: int) -> int:
    return min(count, max(1, min(_MATRICES_PER_CALL, _NUMBERS_PER_CALL // (m * n)), math.ceil(count / _MOST_CALLS)))


def decompose(A: Tensor, device: str, advance: Callable[[int], object] = lambda count: None) -> Factors:
    """``torch.linalg.svd`` of ``A (count, m, n)`` on ``device``, some matrices a call. The factors are on the CPU."""
    parts = []
    for chunk in A.split(matrices_per_call(*A.shape)):
        parts.append([factor.cpu() for factor in torch.linalg.svd(chunk.to(device), full_matrices=False)])
        advance(len(chunk))
    return Factors(*(torch.cat(part) for part in zip(*parts, strict=True)))


def truncate(factors: Factors, rank: int) -> Tensor:
    """The nearest matrices of that rank (Eckart and Young 1936)."""
    U, S, Vh = factors
    return (U[..., :rank] * S[..., None, :rank]) @ Vh[..., :rank, :]


def compression_ratio(m: int, n: int, rank: int) -> float:
    """Numbers in an m x n matrix over numbers in its factors of that rank."""
    return m * n / (rank * (m + n + 1))


def relative_error(approximation: Tensor, exact: Tensor) -> float:
    """``|approximation - exact|_F / |exact|_F``; absolute where ``exact`` is zero."""
    norm = exact.norm().item()
    return (approximation - exact).norm().item() / (norm or 1.0)


# --- what the user sees -----------------------------------------------------------------------------------------------


class Reconstruction(NamedTuple):
    picture: Tensor
    rank: int
    ratio: float
    error: float


class Spectrum(NamedTuple):
    """Singular values ``(count, k)`` of all matrices: on the device, by LAPACK in float32 and by LAPACK in float64.

    ``piece`` is what of the picture a matrix is: a channel or a tile.
    """

    device: Tensor
    lapack: Tensor
    exact: Tensor
    piece: str

    @property
    def marker_size(self) -> float:
        return 4 if self.exact.shape[-1] <= 40 else 1.5


def _show(axes, picture: Tensor, title: str) -> None:
    image = picture.clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy()
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()


def _draw_spectrum(axes, spectrum: Spectrum, ranks: list[int], device: str) -> None:
    index = range(1, spectrum.exact.shape[-1] + 1)
    # Zero has no logarithm: what is below this is zero for a picture.
    exact, ours = (values.double().mean(0).clamp_min(1e-12) for values in (spectrum.exact, spectrum.device))
    axes.semilogy(index, exact.numpy(), color="0.75", linewidth=6, solid_capstyle="round", label="LAPACK, float64")
    style = {"color": "C1", "markersize": spectrum.marker_size, "linewidth": 1}
    axes.semilogy(index, ours.numpy(), "o-", **style, label=f"{device}, float32")
    for rank in ranks:
        axes.axvline(rank, color="C0", linewidth=1, linestyle=":", label="ranks above" if rank == ranks[0] else None)
    mean = f", mean over the {spectrum.piece}s" if len(spectrum.exact) > 1 else ""
    axes.set_title(f"Singular values{mean}", fontsize=11)
    _finish(axes)


def _draw_sigma_error(axes, spectrum: Spectrum, device: str) -> None:
    largest = spectrum.exact[:, :1]
    largest = torch.where(largest == 0, torch.ones_like(largest), largest)
    index = range(1, spectrum.exact.shape[-1] + 1)
    for values, style, color, label in (
        (spectrum.lapack, "s-", "0.6", "LAPACK, float32"),
        (spectrum.device, "o-", "C1", f"{device}, float32"),
    ):
        error = ((values - spectrum.exact).abs() / largest).amax(0).clamp_min(1e-12)
        axes.semilogy(
            index, error.numpy(), style, color=color, markersize=spectrum.marker_size, linewidth=1, label=label
        )
    axes.axhline(2.0**-24, color="C0", linewidth=1, linestyle=":", label="rounding of float32, $2^{-24}$")
    worst = f", worst {spectrum.piece}" if len(spectrum.exact) > 1 else ""
    axes.set_title(rf"Distance from float64, $|\sigma_i - \sigma_i^{{64}}|\,/\,\sigma_1^{{64}}${worst}", fontsize=11)
    _finish(axes)


def _finish(axes) -> None:
    axes.set_xlabel("index")
    axes.spines[["top", "right"]].set_visible(False)
    # Below the axes, where it hides no point of any curve.
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def draw(
    original: Tensor, reconstructions: list[Reconstruction], spectrum: Spectrum, heading: str, device: str
) -> Figure:
    """The figure: the picture and its reconstructions above, the singular values below."""
    from matplotlib.figure import Figure

    panels = 1 + len(reconstructions)
    columns = min(panels, _PANELS_PER_ROW)
    rows = math.ceil(panels / columns)
    height, width = original.shape[-2:]
    figure_width = 13.0
    pictures_height = rows * (0.5 + min(max(figure_width / columns * height / width, 1.0), 6.0))
    curves_height = 3.9
    figure = Figure(figsize=(figure_width, 0.5 + pictures_height + curves_height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08)
    figure.suptitle(heading, fontsize=13)
    above, below = figure.subfigures(2, 1, height_ratios=[pictures_height, curves_height])

    axes = above.subplots(rows, columns, squeeze=False).flatten()
    _show(axes[0], original, f"original\n{height} x {width} pixels")
    for place, (picture, rank, ratio, error) in zip(axes[1:], reconstructions, strict=False):
        _show(place, picture, f"rank {rank}\n{ratio:.3g} : 1, error {error:.1%}")
    for unused in axes[panels:]:
        unused.set_axis_off()

    left, right = below.subplots(1, 2)
    _draw_spectrum(left, spectrum, [one.rank for one in reconstructions], device)
    _draw_sigma_error(right, spectrum, device)
    return figure


ACCURACY_ROWS = {
    "residual": "|A - U S Vh|_F / |A|_F",
    "u_orthogonality": "|U^H U - I|_max",
    "v_orthogonality": "|Vh Vh^H - I|_max",
    "sigma_error": "max |sigma - sigma64| / sigma64_1",
}


def facts_table(facts: dict[str, str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def accuracy_table(ours: Accuracy, lapack: Accuracy, device: str, heading: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column(heading, style="bold", no_wrap=True)
    table.add_column(device, justify="right")
    table.add_column("LAPACK sgesdd", justify="right")
    for field, name in ACCURACY_ROWS.items():
        table.add_row(name, f"{getattr(ours, field):.2e}", f"{getattr(lapack, field):.2e}")
    return table


# --- the command ------------------------------------------------------------------------------------------------------


def _largest_rank(arguments: argparse.Namespace, picture: Tensor) -> int:
    return arguments.tile or min(picture.shape[-2:])


def _chosen_ranks(arguments: argparse.Namespace, picture: Tensor) -> list[int]:
    """Those asked for, or as many of the usual ones as the picture has."""
    usual = _TILE_RANKS if arguments.tile else _WHOLE_RANKS
    most = _largest_rank(arguments, picture)
    return arguments.ranks or [rank for rank in usual if rank <= most] or [most]


def _check(arguments: argparse.Namespace, picture: Tensor) -> None:
    tile, (height, width) = arguments.tile, picture.shape[-2:]
    if tile > max(height, width):
        raise UserError(f"--tile {tile} is larger than the picture, {height} x {width} pixels")
    most = _largest_rank(arguments, picture)
    of = f"a tile of {tile} x {tile}" if tile else f"a picture of {height} x {width}"
    for rank in _chosen_ranks(arguments, picture):
        if rank > most:
            raise UserError(f"rank {rank} is out of range: {of} has ranks 1 to {most} (choose with --ranks)")
    if arguments.output.suffix.lower() != ".png":
        raise UserError(f"--output must end in .png, but got {arguments.output}")


def _method(device: Device, shape: tuple[int, ...]) -> str:
    if device.torch_name == "cpu":
        return "LAPACK sgesdd"
    try:
        return ops.plan(shape, device=device.torch_name)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"matrices of {shape[-2]} x {shape[-1]} do not work: {error}") from error


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _describe_picture(arguments: argparse.Namespace, loaded: Tensor, picture: Tensor, tiles: Tensor) -> str:
    channels, height, width = picture.shape
    rows, columns, m, n = tiles.shape[1:]
    text = f"{arguments.image or 'Grace Hopper (matplotlib sample)'}, {height} x {width}, "
    text += "grey" if channels == 1 else "RGB"
    if loaded.shape != picture.shape:
        text += f", shrunk from {loaded.shape[-2]} x {loaded.shape[-1]}"
    padded = rows * m, columns * n
    if padded != (height, width):
        text += f", edge-padded to {padded[0]} x {padded[1]}"
    return text


def run(arguments: argparse.Namespace) -> None:
    require_packages("demo", ["matplotlib", "rich"], extra="demo")
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    loaded = load_picture(arguments.image)
    picture = shrink(loaded, arguments.size)
    _check(arguments, picture)
    height, width = picture.shape[-2:]
    tiles = to_tiles(picture, arguments.tile)
    piece = "tile" if arguments.tile else "channel"
    A = tiles.flatten(0, 2)
    count, m, n = A.shape
    per_call = matrices_per_call(count, m, n)
    device = choose_device(arguments.device)
    method = _method(device, (per_call, m, n))
    _route.patch_torch()  # METALSVD_ROUTE=0 may have left torch.linalg.svd as it was
    label = "emulated mps" if device.emulated else device.torch_name

    with written_whole(arguments.output) as unfinished:
        if device.emulated:
            emulator.reset_counters()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(f"{m} x {n} matrices on {label}", total=count)
            start = time.perf_counter()
            factors = decompose(A, device.torch_name, lambda done: progress.advance(task, done))
            seconds = time.perf_counter() - start
        counters = emulator.counters() if device.emulated else None

        lapack = Factors(*torch.linalg.svd(A, full_matrices=False))
        exact = torch.linalg.svdvals(A.double())
        reconstructions = []
        for rank in _chosen_ranks(arguments, picture):
            rebuilt = from_tiles(truncate(factors, rank).reshape(tiles.shape), height, width)
            error = relative_error(rebuilt, picture)
            reconstructions.append(Reconstruction(rebuilt, rank, compression_ratio(m, n, rank), error))
        heading = f"torch.linalg.svd of {_counted(count, piece)} of {m} x {n}: {device.description}"
        spectrum = Spectrum(factors.S, lapack.S, exact, piece)
        figure = draw(picture, reconstructions, spectrum, heading, label)
        figure.savefig(unfinished, format="png", dpi=110)

    if arguments.tile:
        shapes = f"{' x '.join(map(str, tiles.shape[:3]))} of {m} x {n} = {_counted(count, piece)}, {A.dtype}"
    else:
        shapes = f"{count} of {m} x {n}, {A.dtype}"
    facts = {
        "device": device.description,
        "torch": torch.__version__,
        "picture": _describe_picture(arguments, loaded, picture, tiles),
        f"{piece}s": shapes,
        "method": f"{method}, in {_counted(math.ceil(count / per_call), 'call')}",
        "seconds": f"{seconds:.2f}",
    }
    if counters:
        facts["dispatches"] = f"{counters.dispatches}"
        facts["threadgroups"] = f"{counters.threadgroups}"
        facts["threads"] = f"{counters.threads}"
        facts["seconds"] += " (emulated: tells nothing of a GPU's speed)"
    facts["written"] = str(arguments.output)
    console = Console()
    console.print(facts_table(facts))
    heading = f"worst {piece}" if count > 1 else piece
    console.print(accuracy_table(accuracy(A, *factors, exact), accuracy(A, *lapack, exact), label, heading))
