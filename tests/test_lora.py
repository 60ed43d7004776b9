"""``lora-extract``: the factors beside the best ones by LAPACK in float64, loaded back by PEFT itself."""

from __future__ import annotations

import json
import warnings
import weakref
from pathlib import Path

import pytest
import torch
from metalsvd import _checkpoint, _lora, _peft
from metalsvd.__main__ import main
from processes import hide_package, run_code, run_command
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Error of a randomized rank over that of the best rank: block Krylov of two steps is far better than this.
NEAR_BEST = 1.02
# Rounding of both factors to their dtype, relative to the change: eps each, and some for sums.
ROUNDING = {"float32": 1e-5, "float16": 3e-3, "bfloat16": 2e-2}
RANK = 4


class Model(nn.Module):
    """Every kind of weight there is, in modules whose names end alike."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(40, 12)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"q": nn.Linear(24, 16, bias=False), "o": nn.Linear(16, 24)}) for _ in range(2)
        )
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.LayerNorm(24)
        self.q = nn.Linear(20, 20)


CHANGED = ["layers.0.q", "layers.0.o", "layers.1.q"]


def decaying(m: int, n: int, seed: int, decay: float = 0.7) -> Tensor:
    """Random singular vectors, singular values 0.1 decay^i."""
    generator = torch.Generator().manual_seed(seed)
    U, V = (
        torch.linalg.qr(torch.randn(size, min(m, n), dtype=torch.float64, generator=generator)).Q for size in (m, n)
    )
    return (U * 0.1 * decay ** torch.arange(min(m, n))) @ V.mT


def base_tensors(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: tensor.to(dtype) for name, tensor in Model().state_dict().items()}


def tuned_tensors(base: dict[str, Tensor], modules: list[str]) -> dict[str, Tensor]:
    """Those of ``base`` with low-rank changes of the weights of ``modules``."""
    tuned = dict(base)
    for seed, module in enumerate(modules):
        weight = base[f"{module}.weight"]
        change = decaying(len(weight), weight[0].numel(), seed, 0.5 + 0.1 * (seed % 3)).reshape(weight.shape)
        tuned[f"{module}.weight"] = (weight.double() + change).to(weight.dtype)
    return tuned


class Files:
    """A base and a tuned checkpoint in a folder, and the command on them."""

    def __init__(self, folder: Path, target: torch.device) -> None:
        self.folder, self.device = folder, target.type
        self.base, self.tuned, self.out = (folder / name for name in ("base.safetensors", "tuned.safetensors", "out"))

    def write(self, modules: list[str] = CHANGED, dtype: torch.dtype = torch.float32, **changes: Tensor) -> None:
        before = base_tensors(dtype)
        save_file(before, self.base)
        save_file(tuned_tensors(before, modules) | changes, self.tuned)

    def run(self, *arguments: object, out: Path | None = None) -> int:
        words = [self.base, self.tuned, "-o", out or self.out, "--device", self.device, *arguments]
        try:
            return main(["lora-extract", *map(str, words)])
        except SystemExit as stop:  # how argparse ends
            return stop.code

    def changes(self) -> dict[str, Tensor]:
        """``tuned - base`` in float64, of each tensor that differs."""
        before, after = (load_file(path) for path in (self.base, self.tuned))
        differences = {name: after[name].double() - before[name].double() for name in before}
        return {name: difference for name, difference in differences.items() if difference.any()}

    def config(self) -> dict:
        return json.loads((self.out / "adapter_config.json").read_text())


@pytest.fixture
def files(tmp_path, target) -> Files:
    return Files(tmp_path, target)


def loaded_changes(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """What PEFT adds to each parameter of a float64 model when it loads the adapter and merges it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*adapter keys")  # factors missing, or too many
        import peft

        before = {name: tensor.clone() for name, tensor in model.double().state_dict().items()}
        adapted = peft.PeftModel.from_pretrained(model, str(folder), torch_device="cpu").double()
        merged = adapted.merge_and_unload().state_dict()
    assert merged.keys() == before.keys()
    return {name: merged[name] - before[name] for name in before if not torch.equal(merged[name], before[name])}


def best_error(change: Tensor, rank: int) -> float:
    """Of any matrix of that rank (Eckart and Young 1936), relative."""
    S = torch.linalg.svdvals(change.flatten(1))
    return (S[rank:].norm() / S.norm()).item()


def assert_near_best(change: Tensor, loaded: Tensor, rank: int, rounding: float, name: str) -> None:
    error = ((change - loaded).norm() / change.norm()).item()
    best = best_error(change, rank)
    bound = NEAR_BEST * best + rounding
    assert error <= bound, f"{name}: error {error:.3e}, bound {bound:.3e}, best rank-{rank} error {best:.3e}"
    assert error >= best * (1 - 1e-6) - 1e-12, f"{name}: error {error:.3e} is below the best, {best:.3e}: wrong check"


# --- what PEFT loads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--exact"]], ids=["randomized", "exact"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_adapter_is_near_the_best_of_its_rank(files, dtype, options):
    files.write(dtype=DTYPES[dtype])
    assert files.run("--rank", RANK, *options) == 0
    changes, loaded = files.changes(), loaded_changes(Model(), files.out)
    assert loaded.keys() == changes.keys() == {f"{module}.weight" for module in CHANGED}
    for name, change in changes.items():
        assert_near_best(change, loaded[name], RANK, ROUNDING[dtype], name)
    stored = load_file(files.out / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {DTYPES[dtype]}
    assert stored["base_model.model.layers.0.q.lora_A.weight"].shape == (RANK, 24)
    assert stored["base_model.model.layers.0.q.lora_B.weight"].shape == (16, RANK)
    assert len(stored) == 2 * len(CHANGED)


@pytest.mark.parametrize("options", [[], ["--exact"]], ids=["randomized", "exact"])
def test_a_tolerance_gives_each_layer_the_least_rank(files, options):
    files.write()
    tol = 0.1
    assert files.run("--tol", tol, *options) == 0
    changes, loaded = files.changes(), loaded_changes(Model(), files.out)
    config, ranks = files.config(), set()
    for name, change in changes.items():
        rank = config["rank_pattern"].get(name.removesuffix(".weight"), config["r"])
        error = ((change - loaded[name]).norm() / change.norm()).item()
        assert error <= tol * (1 + 1e-3), f"{name}: error {error:.4f} of tol {tol}"
        assert best_error(change, rank - 1) > tol * (1 - 1e-2), f"{name}: rank {rank - 1} would have done"
        ranks.add(rank)
    assert len(ranks) > 1
    assert config["alpha_pattern"] == config["rank_pattern"]
    assert config["lora_alpha"] == config["r"]


def test_a_merged_adapter_comes_out_as_it_was(files):
    before = base_tensors()
    change = decaying(16, 24, 1)
    U, S, Vh = torch.linalg.svd(change, full_matrices=False)
    low_rank = ((U[:, :3] * S[:3]) @ Vh[:3]).float()
    save_file(before, files.base)
    save_file(before | {"layers.1.q.weight": before["layers.1.q.weight"] + low_rank}, files.tuned)
    assert files.run("--rank", 3) == 0
    loaded = loaded_changes(Model(), files.out)["layers.1.q.weight"]
    error = ((loaded - low_rank).norm() / low_rank.norm()).item()
    assert error < 1e-5, f"{error:.2e}"


def test_embeddings_and_convolutions(files):
    files.write(["embed_tokens", "conv", "q"])
    assert files.run("--rank", 3) == 0
    changes, loaded = files.changes(), loaded_changes(Model(), files.out)
    assert loaded.keys() == changes.keys()
    for name, change in changes.items():
        assert_near_best(change, loaded[name], 3, ROUNDING["float32"], name)


def test_weights_that_are_stored_the_other_way_round(files):
    from transformers.pytorch_utils import Conv1D

    model = nn.ModuleDict({"c_attn": Conv1D(16, 24), "c_proj": Conv1D(20, 20)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(before, files.base)
    save_file(tuned_tensors(before, ["c_attn", "c_proj"]), files.tuned)
    assert files.run("--rank", RANK, "--fan-in-fan-out") == 0
    changes, loaded = files.changes(), loaded_changes(model, files.out)
    for name, change in changes.items():
        assert_near_best(change, loaded[name], RANK, ROUNDING["float32"], name)


def test_a_rank_beyond_that_of_the_layer_gives_all_of_it(files):
    files.write(["layers.0.q", "q"])
    assert files.run("--rank", 18) == 0
    assert files.config()["r"] in (16, 18)
    changes, loaded = files.changes(), loaded_changes(Model(), files.out)
    for name, change in changes.items():
        assert_near_best(change, loaded[name], min(18, *change.shape), ROUNDING["float32"], name)


@pytest.mark.parametrize("changed", [["q"], ["q", "layers.0.q"], ["layers.0.q", "layers.1.q", "q"]])
def test_names_that_end_alike_are_kept_apart(files, changed):
    files.write(changed)
    assert files.run("--tol", 0.3) == 0
    changes, loaded = files.changes(), loaded_changes(Model(), files.out)
    assert loaded.keys() == changes.keys()
    for name, change in changes.items():
        assert ((change - loaded[name]).norm() / change.norm()).item() <= 0.3


def test_factors_in_another_dtype(files):
    files.write(dtype=torch.bfloat16)
    assert files.run("--rank", RANK, "--dtype", "float32") == 0
    changes, loaded = files.changes(), loaded_changes(Model(), files.out)
    for name, change in changes.items():
        assert_near_best(change, loaded[name], RANK, ROUNDING["float32"], name)


# --- what is read and written -----------------------------------------------------------------------------------------


def write_shards(folder: Path, tensors: dict[str, Tensor]) -> None:
    """A folder as transformers writes it: two shards and their index."""
    folder.mkdir()
    names = list(tensors)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / shard)
    weight_map = {name: shard for shard, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize("given", ["folder", "index", "file beside a folder"])
def test_sharded_checkpoints(files, given):
    files.write()
    assert files.run("--rank", RANK) == 0
    expected = load_file(files.out / "adapter_model.safetensors")
    sharded = files.folder / "sharded"
    write_shards(sharded, load_file(files.tuned))
    single = files.folder / "single"
    single.mkdir()
    files.base = files.base.rename(single / "weights.safetensors")
    if given == "folder":
        files.base = single
    files.tuned = sharded if given == "folder" else sharded / "model.safetensors.index.json"
    out = files.folder / "again"
    assert files.run("--rank", RANK, out=out) == 0
    found = load_file(out / "adapter_model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_the_output_as_a_file(files, capsys):
    files.write()
    assert files.run("--rank", RANK, out=files.folder / "adapter_model.safetensors") == 0
    assert loaded_changes(Model(), files.folder).keys() == files.changes().keys()
    assert "to load it" not in capsys.readouterr().out
    (files.folder / "adapter_config.json").unlink()
    assert files.run("--rank", RANK, out=files.folder / "mine.safetensors") == 0
    assert (files.folder / "adapter_config.json").exists()
    assert "PEFT reads it from a folder under the name adapter_model.safetensors" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("limits", "decay"), [({"rank": 8, "tol": None}, 0.99), ({"rank": None, "tol": 0.2}, 0.9)], ids=["rank", "tol"]
)
def test_larger_layers_are_near_the_best_and_the_same_each_time(limits, decay, target):
    """Large enough for the randomized algorithm not to decompose them wholly."""
    D = decaying(150, 110, 0, decay)
    A, B, S = _lora.factorize(D.float().to(target), **limits, is_exact=False, dtype=torch.float32)
    error, best = ((D - (B @ A).cpu()).norm() / D.norm()).item(), best_error(D, len(A))
    assert best * (1 - 1e-6) <= error <= NEAR_BEST * best, f"error {error:.4f} beside the best {best:.4f}"
    if limits["tol"]:
        assert error <= limits["tol"] * (1 + 1e-5)
        assert best_error(D, len(A) - 1) > limits["tol"] / NEAR_BEST, f"rank {len(A)} is too much"
    assert (A.norm() / B.norm()).item() == pytest.approx(1, rel=1e-5)
    again = _lora.factorize(D.float().to(target), **limits, is_exact=False, dtype=torch.float32)
    assert all(torch.equal(first, second) for first, second in zip((A, B, S), again, strict=True))


def test_the_same_files_give_the_same_bytes(files):
    files.write()
    contents = []
    for _ in range(2):
        assert files.run("--rank", RANK, "--force") == 0
        contents.append([path.read_bytes() for path in sorted(files.out.iterdir())])
    assert contents[0] == contents[1]


def test_the_files_are_readable_as_any_other(files):
    files.write()
    usual = files.folder / "usual"
    usual.touch()
    assert files.run("--rank", RANK) == 0
    assert {path.stat().st_mode for path in files.out.iterdir()} == {usual.stat().st_mode}


def test_modules_filter_what_is_compared(files):
    files.write(**{"norm.weight": torch.zeros(7)})  # of another shape, but not asked for
    assert files.run("--rank", RANK, "--modules", r"^layers\.\d+\.q$") == 0
    assert loaded_changes(Model(), files.out).keys() == {"layers.0.q.weight", "layers.1.q.weight"}


def test_one_pair_of_tensors_is_held_at_a_time(files, monkeypatch):
    files.write()
    read, alive = _checkpoint.Checkpoint.read, []

    def counted(self, name):
        others = {kept_name for kept_name, tensor in alive if tensor() is not None} - {name}
        assert not others, f"{others} still in memory when {name} is read"
        tensor = read(self, name)
        alive.append((name, weakref.ref(tensor)))
        return tensor

    monkeypatch.setattr(_checkpoint.Checkpoint, "read", counted)
    assert files.run("--rank", RANK) == 0
    assert len(alive) == 2 * len(base_tensors())


# --- what the user sees -----------------------------------------------------------------------------------------------


def test_the_table_the_summary_and_the_plot(files):
    files.write(**{"norm.weight": torch.zeros(24), "layers.0.o.bias": torch.zeros(24)})
    options = ("--rank", RANK, "-o", "out", "--plot", "s.png", "--device", "cpu")
    finished = run_command("lora-extract", files.base, files.tuned, *options, cwd=files.folder)
    assert finished.returncode == 0, finished.stderr
    rows = {words[0]: words[1:] for line in finished.stdout.splitlines() if (words := line.split())}
    for name, change in files.changes().items():
        if change.dim() == 1:
            continue
        shape, rank, error, share = rows[name.removesuffix(".weight")]
        assert shape == "x".join(map(str, change.shape))
        assert int(rank) == RANK
        best = best_error(change, RANK)
        assert best * 0.99 <= float(error) <= NEAR_BEST * best + 1e-5, f"{name}: {error} beside {best:.2e}"
        weight = load_file(files.base)[name]
        assert float(share) == pytest.approx((change.norm() / weight.norm()).item(), rel=1e-2)
    assert rows["layers"][:4] == ["3", "of", "rank", str(RANK)]
    assert rows["unchanged"][0] == str(len(base_tensors()) - 5)
    assert "100%" in finished.stderr
    said = "python -m metalsvd lora-extract: changed too, but LoRA cannot express it: "
    assert said in finished.stderr
    assert set(finished.stderr.split(said)[1].strip().split(", ")) == {"norm.weight", "layers.0.o.bias"}
    assert (files.folder / "s.png").read_bytes().startswith(b"\x89PNG")
    assert (files.folder / "s.png").stat().st_size > 10_000


def test_the_figure_shows_the_spectra(files):
    change = decaying(16, 24, 0)
    weight = _lora.Weight("a.weight", "a", (16, 24), "F32", _peft.LINEAR)
    A, B, S = _lora.factorize(change.float(), RANK, None, is_exact=True, dtype=torch.float32)
    spectrum, errors = _lora.draw([_lora.Layer(weight, A, B, S, 1.0, 0.25, 1.0)], "heading").axes
    curve, dot = spectrum.lines
    assert curve.get_ydata() == pytest.approx((0.7 ** torch.arange(16)).numpy(), rel=1e-3)
    assert dot.get_xdata() == [RANK]
    assert [bar.get_height() for bar in errors.patches] == [0.25]


def spoil_one(name: str, value: float):
    def spoil(files: Files) -> None:
        tensors = load_file(files.tuned)
        tensors[name][0] = value
        save_file(tensors, files.tuned)

    return spoil


def _without(name: str, path: str):
    def spoil(files: Files) -> None:
        tensors = load_file(getattr(files, path))
        del tensors[name]
        save_file(tensors, getattr(files, path))

    return spoil


def _replaced(name: str, tensor: Tensor):
    def spoil(files: Files) -> None:
        save_file(load_file(files.tuned) | {name: tensor}, files.tuned)

    return spoil


def _truncated(files: Files) -> None:
    files.tuned.write_bytes(files.tuned.read_bytes()[:-100])


def _text(files: Files) -> None:
    files.tuned.write_text("no tensors")


def _same(files: Files) -> None:
    files.tuned.write_bytes(files.base.read_bytes())


def _only_biases(files: Files) -> None:
    save_file(load_file(files.base) | {"norm.bias": torch.ones(24)}, files.tuned)


def _sharded(change):
    def spoil(files: Files) -> None:
        folder = files.folder / "sharded"
        write_shards(folder, load_file(files.tuned))
        change(folder)
        files.tuned = folder

    return spoil


def _misplaced(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"conv.bias": "model-1', '"conv.bias": "model-2'))


def _nothing(files: Files) -> None:
    pass


def _output(file: str):
    def spoil(files: Files) -> None:
        files.out.mkdir()
        (files.out / file).write_text("old")

    return spoil


ERRORS = {
    "no such file": (lambda files: files.tuned.unlink(), [], "no such checkpoint:"),
    "truncated": (_truncated, [], "as safetensors: "),
    "no safetensors": (_text, [], "as safetensors: "),
    "an empty folder": (_sharded(lambda folder: [file.unlink() for file in folder.iterdir()]), [], "but found 0"),
    "a shard is missing": (
        _sharded(lambda folder: (folder / "model-2.safetensors").unlink()),
        [],
        "no such checkpoint:",
    ),
    "the index is broken": (
        _sharded(lambda folder: (folder / "model.safetensors.index.json").write_text("{")),
        [],
        "expected JSON with a weight_map",
    ),
    "the index is wrong": (_sharded(_misplaced), [], "which does not hold it"),
    "tuned lacks a tensor": (_without("conv.weight", "tuned"), [], "tuned.safetensors lacks conv.weight"),
    "base lacks a tensor": (_without("conv.weight", "base"), [], "base.safetensors lacks conv.weight"),
    "another shape": (
        _replaced("q.weight", torch.zeros(20, 21)),
        [],
        "the shape of q.weight differs: q.weight is (20, 20)",
    ),
    "another dtype": (_replaced("q.weight", torch.zeros(20, 20).half()), [], "the dtype of q.weight differs"),
    "NaN": (spoil_one("layers.0.q.weight", float("nan")), [], "layers.0.q.weight holds NaN or Inf in "),
    "Inf": (spoil_one("layers.0.q.weight", float("inf")), [], "layers.0.q.weight holds NaN or Inf in "),
    "no difference": (_same, [], "nothing differs"),
    "biases alone": (_only_biases, [], "only norm.bias differs"),
    "weights are there": (_output("adapter_model.safetensors"), [], "it exists already (--force replaces it)"),
    "a configuration is there": (_output("adapter_config.json"), [], "it exists already (--force replaces it)"),
    "the output is a file": (lambda files: files.out.write_text(""), [], "expected a folder, or a file that ends in"),
    "no such folder": (_nothing, ["-o", "absent/out"], "cannot make the folder"),
    "the output is the input": (
        _nothing,
        ["-o", "tuned.safetensors", "--force"],
        "a part of a checkpoint that is read",
    ),
    "no module fits": (_nothing, ["--modules", "nonsense"], "no tensor whose module fits --modules nonsense"),
    "no expression": (_nothing, ["--modules", "("], "expected a regular expression"),
    "rank zero": (_nothing, ["--rank", "0"], "expected a whole number of at least 1"),
    "tol zero": (_nothing, ["--tol", "0"], "expected a number between 0 and 1, but got '0'"),
    "tol no number": (_nothing, ["--tol", "nan"], "expected a number between 0 and 1"),
    "rank and tol": (_nothing, ["--rank", "2", "--tol", "0.1"], "not allowed with"),
    "neither": (_nothing, [None], "one of the arguments --rank --tol is required"),
    "plot is no PNG": (_nothing, ["--plot", "s.pdf"], "--plot must end in .png"),
    "plot is a folder": (_nothing, ["--plot", "folder.png"], "cannot write folder.png: it is a folder"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_input_is_one_line_and_status_2_and_nothing_is_written(case, files, monkeypatch, capsys):
    monkeypatch.chdir(files.folder)
    files.write()
    Path("folder.png").mkdir()
    spoil, arguments, message = ERRORS[case]
    spoil(files)
    before = {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()}
    if arguments == [None]:
        arguments = []
    elif not {"--rank", "--tol"} & set(arguments):
        arguments = ["--rank", str(RANK), *arguments]
    assert files.run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith("python -m metalsvd lora-extract: ")
    assert message in last
    assert "Traceback" not in captured.err
    assert {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()} == before
    assert not list(files.folder.rglob("*unfinished"))
    assert files.out.exists() == any(path.is_relative_to(files.out) for path in before)


class Stop(Exception):
    pass


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("stage", ["decomposing", "writing the factors", "writing the configuration"])
def test_what_stops_half_way_leaves_no_half_adapter(files, stage, is_there, monkeypatch):
    files.write()
    if is_there:
        assert files.run("--rank", 2) == 0
    before = {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()}

    def stop(*arguments, **options):
        for argument in arguments:
            if isinstance(argument, Path):
                argument.write_text("half")
        raise Stop

    where = {
        "decomposing": "metalsvd._lora.factorize",
        "writing the factors": "safetensors.torch.save_file",
        "writing the configuration": "json.dumps",
    }
    monkeypatch.setattr(where[stage], stop)
    with pytest.raises(Stop):
        files.run("--rank", RANK, "--force")
    assert {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()} == before
    assert files.out.exists() == is_there


def test_a_full_disk_is_one_line(files, monkeypatch, capsys):
    files.write()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    assert files.run("--rank", RANK) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("cannot write the adapter: [Errno 28] No space left on device")
    )
    assert not files.out.exists()


def test_interruption(files, monkeypatch, capsys):
    files.write()

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_lora, "extract", interrupt)
    assert files.run("--rank", RANK) == 130
    assert capsys.readouterr().err.endswith("python -m metalsvd lora-extract: interrupted\n")
    assert not files.out.exists()


def test_missing_optional_package(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    finished = run_command(
        "lora-extract", "a", "b", "-o", "c", "--rank", 1, cwd=tmp_path, PYTHONPATH=hide_package("safetensors", hidden)
    )
    assert finished.returncode == 2
    assert "the extraction needs safetensors: pip install 'metalsvd[lora]'" in finished.stderr


def test_no_optional_package_is_imported_before_it_is_needed():
    optional = {"sklearn", "scipy", "safetensors", "matplotlib", "peft", "rich"}
    code = f"import sys, metalsvd.__main__; print({optional} & set(sys.modules) or 'none')"
    finished = run_code(code)
    assert finished.stdout.strip() == "none", finished.stderr
