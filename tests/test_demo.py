"""The demo: its parts as functions, then the command as a user runs it, in a process of its own."""

from __future__ import annotations

import argparse
import itertools
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy
import pytest
import torch
from metalsvd import _demo, emulator, plan
from metalsvd.__main__ import main
from PIL import Image
from processes import hide_package, run_command

TILE = 8
# Float32 factors of tiles this small are good to some 1e-6; ten times that is wrong.
SANE_ACCURACY = 1e-5


def synthetic_picture(height: int = 30, width: int = 44) -> numpy.ndarray:
    """Bytes (height, width, 3): smooth colours with a disc and some grain, so that every rank adds something."""
    rows, columns = numpy.mgrid[0:height, 0:width] / max(height, width)
    disc = ((rows - 0.35) ** 2 + (columns - 0.5) ** 2 < 0.06) * 0.5
    grain = numpy.random.default_rng(0).random((height, width)) * 0.1
    channels = [0.4 * rows + disc + grain, 0.4 * columns + 0.3 * disc + grain, 0.3 + 0.3 * rows * columns + grain]
    return (numpy.stack(channels, axis=-1).clip(0, 1) * 255).astype(numpy.uint8)


def as_tensor(pixels: numpy.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(synthetic_picture()).save(path)
    return path


# --- pictures and tiles -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 24), (15, 23), (1, 1), (3, 40), (8, 8)])
def test_tiles_round_trip(channels, height, width):
    picture = torch.rand(channels, height, width)
    tiles = _demo.to_tiles(picture, TILE)
    assert tiles.shape == (channels, -(-height // TILE), -(-width // TILE), TILE, TILE)
    assert torch.equal(_demo.from_tiles(tiles, height, width), picture)


def test_tiles_are_the_pixels_of_their_place_and_the_edge_is_repeated():
    picture = torch.rand(3, 10, 12)
    tiles = _demo.to_tiles(picture, 8)
    assert torch.equal(tiles[1, 0, 0], picture[1, :8, :8])
    assert torch.equal(tiles[2, 1, 1, :2, :4], picture[2, 8:, 8:])
    assert torch.equal(tiles[2, 1, 1, :2, 4:], picture[2, 8:, -1:].expand(2, 4))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 10, 12), (3, 40, 3)])
def test_tile_zero_is_the_whole_picture(shape):
    picture = torch.rand(shape)
    tiles = _demo.to_tiles(picture, 0)
    assert torch.equal(tiles.flatten(0, 2), picture)
    assert torch.equal(_demo.from_tiles(tiles, *shape[-2:]), picture)


def test_load_colour_picture(picture_file):
    picture = _demo.load_picture(picture_file)
    expected = as_tensor(synthetic_picture())
    assert picture.dtype == torch.float32
    assert picture.is_contiguous()
    assert torch.equal(picture, expected)


@pytest.mark.parametrize("mode", ["L", "1", "I;16"])
def test_load_grey_picture(tmp_path, mode):
    pixels = numpy.array([[0, 255, 0], [255, 255, 0]], dtype=numpy.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(numpy.uint16) * 257)
        assert image.mode == mode
    else:
        image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "grey.png")
    picture = _demo.load_picture(tmp_path / "grey.png")
    assert torch.equal(picture, torch.tensor([[[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]))


def test_load_transparent_picture_on_white(tmp_path):
    pixels = numpy.zeros((2, 2, 4), dtype=numpy.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "transparent.png")
    picture = _demo.load_picture(tmp_path / "transparent.png")
    assert picture.shape == (3, 2, 2)
    assert picture[:, 0, 0].tolist() == [1, 0, 0]
    assert picture[:, 1, 1].tolist() == [1, 1, 1]


def test_load_default_photograph():
    picture = _demo.load_picture()
    assert picture.shape == (3, 600, 512)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.std() > 0.1


def test_shrink_keeps_proportions_and_leaves_small_pictures():
    assert _demo.shrink(torch.rand(3, 600, 512), 256).shape == (3, 256, 218)
    assert _demo.shrink(torch.rand(1, 4, 4000), 100).shape == (1, 1, 100)
    small = torch.rand(3, 20, 30)
    assert _demo.shrink(small, 256) is small


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_truncation_reaches_the_known_error():
    A = torch.randn(5, 8, 8)
    factors = _demo.decompose(A, "cpu")
    for rank in (1, 4, 8):
        tail = factors.S[:, rank:].norm() / A.norm()
        assert _demo.relative_error(_demo.truncate(factors, rank), A) == pytest.approx(tail.item(), abs=1e-5)


def test_decompose_reports_every_matrix():
    done = []
    factors = _demo.decompose(torch.randn(1000, 2, 2), "cpu", done.append)
    assert sum(done) == 1000
    assert len(done) > 10
    assert [factor.shape for factor in factors] == [(1000, 2, 2), (1000, 2), (1000, 2, 2)]


@pytest.mark.parametrize(("shape", "steps"), [((3, 256, 218), [1, 1, 1]), ((20, 32, 32), [8, 8, 4]), ((1, 2, 2), [1])])
def test_large_matrices_go_one_by_one_and_small_ones_in_chunks(shape, steps):
    done = []
    _demo.decompose(torch.randn(shape), "cpu", done.append)
    assert done == steps


def test_ratio_and_error():
    assert _demo.compression_ratio(32, 32, 1) == pytest.approx(1024 / 65)
    assert _demo.compression_ratio(20, 30, 3) == pytest.approx(600 / (20 * 3 + 3 + 3 * 30))
    assert _demo.relative_error(torch.zeros(2, 2), torch.zeros(2, 2)) == 0
    assert _demo.relative_error(torch.zeros(2), torch.tensor([3.0, 4.0])) == 1


def test_device_names_say_what_they_are(target):
    assert _demo.choose_device("cpu").torch_name == "cpu"
    if target.type == "mps":
        device = _demo.choose_device("auto")
        assert device.torch_name == "mps"
        assert device.emulated == emulator.is_enabled()
        assert ("emulated" in device.description) == device.emulated


# --- the figure -------------------------------------------------------------------------------------------------------


def make_figure(picture: torch.Tensor, ranks: list[int], tile: int = TILE):
    tiles = _demo.to_tiles(picture, tile)
    A = tiles.flatten(0, 2)
    factors = _demo.decompose(A, "cpu")
    reconstructions = []
    for rank in ranks:
        rebuilt = _demo.from_tiles(_demo.truncate(factors, rank).reshape(tiles.shape), *picture.shape[-2:])
        error = _demo.relative_error(rebuilt, picture)
        reconstructions.append(_demo.Reconstruction(rebuilt, rank, _demo.compression_ratio(*A.shape[1:], rank), error))
    spectrum = _demo.Spectrum(factors.S, factors.S, torch.linalg.svdvals(A.double()), "tile" if tile else "channel")
    return _demo.draw(picture, reconstructions, spectrum, "heading", "cpu")


def panels_of(figure, pixels: numpy.ndarray) -> list[numpy.ndarray]:
    """The middle of every picture of ``figure``, cut out of its rendering (rows, columns, channels)."""
    figure.savefig(os.devnull, format="png", dpi=100)  # lays the figure out
    width, height = figure.bbox.size
    cut = []
    for axes in figure.axes:
        if not axes.images:
            continue
        box = axes.get_window_extent()
        x0, x1 = (round(pixels.shape[1] * x / width) for x in (box.x0 + 0.1 * box.width, box.x1 - 0.1 * box.width))
        y0, y1 = (round(pixels.shape[0] * y / height) for y in (box.y0 + 0.1 * box.height, box.y1 - 0.1 * box.height))
        cut.append(pixels[pixels.shape[0] - y1 : pixels.shape[0] - y0, x0:x1, :3])
    return cut


@pytest.mark.parametrize("ranks", [[1], [1, 2, 4, 8], [1, 2, 3, 4, 5, 6, 7]])
def test_figure_has_a_panel_for_each_rank_and_two_curves(ranks):
    figure = make_figure(torch.rand(1, 20, 20), ranks)
    assert len([axes for axes in figure.axes if axes.images]) == 1 + len(ranks)
    assert len([axes for axes in figure.axes if axes.lines]) == 2
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles[0].startswith("original")
    assert [title.split(maxsplit=2)[1] for title in titles[1:]] == [str(rank) for rank in ranks]


@pytest.mark.parametrize(("channels", "tile", "mean"), [(3, 0, "channels"), (1, 0, None), (1, TILE, "tiles")])
def test_figure_shows_the_mean_of_the_singular_values(channels, tile, mean):
    picture = torch.rand(channels, 20, 60)
    figure = make_figure(picture, [1, 2], tile)
    curve, distance = (axes for axes in figure.axes if axes.lines)
    assert curve.get_title() == ("Singular values" if mean is None else f"Singular values, mean over the {mean}")
    assert ("worst" in distance.get_title()) == (mean is not None)
    expected = torch.linalg.svdvals(_demo.to_tiles(picture, tile).flatten(0, 2).double()).mean(0)
    for line in curve.lines[:2]:
        assert line.get_ydata() == pytest.approx(expected.numpy(), rel=1e-4)


@pytest.mark.parametrize("tile", [0, TILE])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_figure_of_a_flat_picture(value, tile, tmp_path):
    make_figure(torch.full((3, 16, 16), value), [1], tile).savefig(tmp_path / "flat.png")


# --- the command ------------------------------------------------------------------------------------------------------


class Mode(NamedTuple):
    """What a run of the demo decomposes, and what it says about it."""

    size: tuple[int, int]
    arguments: list[object]
    ranks: list[int]
    says: list[str]
    heading: str
    matrices: int


MODES = {
    "tiles": Mode(
        size=(30, 44),
        arguments=["--tile", TILE, "--ranks", "1,4,2"],
        ranks=[1, 2, 4],
        says=["30 x 44, RGB, edge-padded to 32 x 48", "3 x 4 x 6 of 8 x 8 = 72 tiles, torch.float32"],
        heading="worst tile",
        matrices=72,
    ),
    # Large enough for the ranks by default, and for a method that takes many threadgroups to a matrix.
    "whole": Mode(
        size=(70, 90),
        arguments=[],
        ranks=[2, 8, 24, 64],
        says=["70 x 90, RGB\n", "3 of 70 x 90, torch.float32", "in 3 calls"],
        heading="worst channel",
        matrices=3,
    ),
}


@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("mode", MODES)
def test_demo_end_to_end(device, mode, target, tmp_path):
    if device == "auto" and target.type != "mps":
        pytest.skip("needs mps, real or emulated")
    size, arguments, ranks, says, heading, matrices = MODES[mode]
    picture = synthetic_picture(*size)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    finished = run_command("demo", "--image", "picture.png", *arguments, "--device", device, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    assert f"{matrices}/{matrices}" in finished.stderr  # the progress bar

    # The table.
    out = re.sub(" +$", "", finished.stdout, flags=re.MULTILINE)
    for text in [*says, heading]:
        assert text in out
    number = r"(\d\.\d\de[+-]\d\d)"
    for label in (
        "|A - U S Vh|_F / |A|_F",
        "|U^H U - I|_max",
        "|Vh Vh^H - I|_max",
        "max |sigma - sigma64| / sigma64_1",
    ):
        row = re.search(rf"{re.escape(label)} +{number} +{number}", out)
        assert row, f"no row {label!r} in\n{out}"
        assert all(float(text) < SANE_ACCURACY for text in row.groups()), row.group()
    if device == "cpu":
        assert "CPU (LAPACK through torch)" in out
    else:
        rows, columns = (TILE, TILE) if mode == "tiles" else size
        assert plan((1, rows, columns)).split(":")[0] in out
        if emulator.is_enabled():
            assert "emulated Apple GPU on this CPU" in out
            dispatches, threadgroups = (
                int(re.search(rf"^ *{name} +(\d+)", out, re.MULTILINE)[1]) for name in ("dispatches", "threadgroups")
            )
            assert dispatches > 0
            # A threadgroup holds one small matrix, or some of the methods to come up to 32.
            assert threadgroups >= matrices / 32

    # The picture: the panels show what they say.
    written = tmp_path / "metalsvd-demo.png"
    assert written.stat().st_size > 20_000
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["metalsvd-demo.png", "picture.png"]
    pixels = numpy.asarray(Image.open(written).convert("RGB"), dtype=float)
    layout = make_figure(as_tensor(picture), ranks, TILE if mode == "tiles" else 0)
    original, *rebuilt = panels_of(layout, pixels)
    assert len(rebuilt) == len(ranks)
    assert original.std() > 20
    smallest = numpy.min([panel.shape[:2] for panel in [original, *rebuilt]], axis=0)
    distances = [
        numpy.abs(panel[: smallest[0], : smallest[1]] - original[: smallest[0], : smallest[1]]).mean()
        for panel in rebuilt
    ]
    assert all(worse > better for worse, better in itertools.pairwise(distances)), distances


def errors() -> dict[str, tuple[list[str], str]]:
    return {
        "no such picture": (["--image", "absent.png"], "no such picture: absent.png"),
        "not a picture": (["--image", "text.png"], "cannot read the picture text.png"),
        "truncated picture": (["--image", "truncated.png"], "cannot read the picture truncated.png"),
        "a folder as picture": (["--image", "."], "cannot read the picture"),
        "rank too large": (
            ["--image", "picture.png", "--ranks", "30,31"],
            "rank 31 is out of range: a picture of 30 x 44 has ranks 1 to 30",
        ),
        "rank too large for a tile": (
            ["--image", "picture.png", "--tile", "8", "--ranks", "1,9"],
            "rank 9 is out of range: a tile of 8 x 8 has ranks 1 to 8",
        ),
        "rank zero": (["--ranks", "0,1"], "expected a whole number of at least 1, but got '0'"),
        "rank no number": (["--ranks", "1,two"], "but got 'two'"),
        "ranks empty": (["--ranks", ""], "but got ''"),
        "tile too large": (["--image", "picture.png", "--tile", "45"], "--tile 45 is larger than the picture"),
        "tile negative": (["--tile", "-1"], "expected a whole number of at least 0, but got '-1'"),
        "tile no number": (["--tile", "whole"], "expected a whole number of at least 0, but got 'whole'"),
        "size zero": (["--size", "0"], "expected a whole number of at least 1, but got '0'"),
        "unknown device": (["--device", "tpu"], "invalid choice: 'tpu'"),
        "unknown option": (["--nonsense"], "--nonsense"),
        "no folder to write to": (["--output", "absent/out.png"], "cannot write absent/out.png: No such file"),
        "output is a folder": (["--output", "folder.png"], "cannot write folder.png: it is a folder"),
        "output is no PNG": (["--output", "out.jpg"], "--output must end in .png"),
    }


@pytest.mark.parametrize("case", errors())
def test_bad_input_is_one_line_and_status_2(case, picture_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    Path("truncated.png").write_bytes(picture_file.read_bytes()[:200])
    Path("folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    arguments, message = errors()[case]
    try:
        status = main(["demo", "--device", "cpu", *arguments])
    except SystemExit as stop:  # how argparse ends
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("python -m metalsvd")
    assert message in captured.err
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_input_from_the_shell(tmp_path):
    finished = run_command("demo", "--image", "absent.png", cwd=tmp_path)
    assert finished.returncode == 2
    assert finished.stderr == "python -m metalsvd demo: no such picture: absent.png\n"
    assert list(tmp_path.iterdir()) == []


def test_missing_optional_package(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    finished = run_command("demo", cwd=tmp_path, PYTHONPATH=hide_package("rich", hidden))
    assert finished.returncode == 2
    assert finished.stderr == "python -m metalsvd demo: the demo needs rich: pip install 'metalsvd[demo]'\n"


def test_failure_while_writing_leaves_the_old_picture(tmp_path):
    output = tmp_path / "out.png"
    output.write_text("old")

    def stop_half_way():
        with _demo.written_whole(output) as unfinished:
            unfinished.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert output.read_text() == "old"
    assert list(tmp_path.iterdir()) == [output]


def test_interruption(monkeypatch, capsys, tmp_path):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_demo, "decompose", interrupt)
    assert main(["demo", "--device", "cpu"]) == 130
    assert capsys.readouterr().err.endswith("python -m metalsvd demo: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "demo" in capsys.readouterr().out


def test_the_usual_ranks_are_those_that_a_small_picture_has():
    arguments = argparse.Namespace(ranks=None, tile=0)
    assert _demo._chosen_ranks(arguments, torch.zeros(3, 30, 44)) == [2, 8, 24]
    assert _demo._chosen_ranks(arguments, torch.zeros(1, 1, 9)) == [1]
