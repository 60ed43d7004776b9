"""Low-rank decompositions beside torch, scikit-learn and SciPy.  python tests/benchmarks/lowrank.py [--device cuda]

At equal passes (products of A or A^H with a block of columns) and at equal error (the fewest passes whose error is
within 1% of the best possible). Prints, and with --output writes as JSON, for each contender the median time, the
excess of its error |A - U S V^H|_F over the best possible, the largest error of a singular value and of the subspaces,
relative, and the most memory that the call took beside A. scikit-learn and SciPy run on the CPU, where they are
installed.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import metalsvd
import torch
from torch import Tensor


class Problem(NamedTuple):
    """A with its true singular triplets known by construction."""

    name: str
    A: Tensor
    k: int
    U: Tensor
    S: Tensor
    V: Tensor

    @property
    def best(self) -> float:
        return torch.linalg.vector_norm(self.S[self.k :]).item()


SPECTRA: dict[str, Callable[[int], Tensor]] = {
    "exponential": lambda n: torch.exp2(-torch.arange(n, dtype=torch.float64) / 20),
    "one_over_i": lambda n: 1 / torch.arange(1, n + 1, dtype=torch.float64),
    "slow": lambda n: torch.arange(1, n + 1, dtype=torch.float64) ** -0.25,
}


def make_problem(spectrum: str, n: int, k: int, device: torch.device) -> Problem:
    """n x n float32 with Haar-like singular vectors: products of reflections, which cost n^2 each."""
    generator = torch.Generator(device=device).manual_seed(0)
    S = SPECTRA[spectrum](n).to(device, torch.float64)
    U, V = (_reflections(n, generator, device) for _ in range(2))
    A = ((U * S) @ V.mT).to(torch.float32)
    return Problem(f"{spectrum}-{n}-k{k}", A, k, U[:, : 2 * k].clone(), S, V[:, : 2 * k].clone())


def _reflections(n: int, generator: torch.Generator, device: torch.device, count: int = 24) -> Tensor:
    Q = torch.eye(n, dtype=torch.float64, device=device)
    for _ in range(count):
        v = torch.randn(n, dtype=torch.float64, device=device, generator=generator)
        v /= torch.linalg.vector_norm(v)
        Q -= torch.outer(v, 2 * (v @ Q))
    return Q


class Contender(NamedTuple):
    name: str
    passes: int | None  # products of A and A^H with blocks; None: found by the method itself
    run: Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]]


def contenders(device: torch.device, steps: int) -> list[Contender]:
    """Everybody with that many steps of iteration, which are 2 steps + 2 passes."""
    passes = 2 * steps + 2
    ours = [
        Contender(
            f"metalsvd {method}",
            passes,
            lambda A, k, method=method: metalsvd.randomized_svd(A, k, n_iter=steps, method=method),
        )
        for method in ("power", "krylov")
    ]
    theirs = [
        Contender("torch.svd_lowrank q=k", passes, lambda A, k: torch.svd_lowrank(A, k, niter=steps)),
        Contender("torch.svd_lowrank q=k+10", passes, lambda A, k: _cut(torch.svd_lowrank(A, k + 10, niter=steps), k)),
    ]
    return ours + theirs + (_sklearn(steps, passes) if device.type == "cpu" else [])


def iterative(device: torch.device) -> list[Contender]:
    """Those that iterate until they have converged, to 1e-5."""
    ours = [
        Contender(
            f"metalsvd lanczos block={block}",
            None,
            lambda A, k, block=block: metalsvd.lanczos_svd(A, k, tol=1e-5, block=block),
        )
        for block in (1, 8)
    ]
    return ours + (_scipy() if device.type == "cpu" else [])


def _cut(factors, k: int):
    U, S, V = factors
    return U[:, :k], S[:k], V[:, :k]


def _sklearn(steps: int, passes: int) -> list[Contender]:
    try:
        from sklearn.utils.extmath import randomized_svd
    except ImportError:
        return []

    def run(A: Tensor, k: int):
        U, S, Vt = randomized_svd(A.numpy(), k, n_iter=steps, random_state=0)
        return torch.from_numpy(U), torch.from_numpy(S), torch.from_numpy(Vt).mT

    return [Contender("sklearn randomized_svd", passes, run)]


def _scipy() -> list[Contender]:
    try:
        from scipy.sparse.linalg import svds
    except ImportError:
        return []

    def runner(solver: str):
        def run(A: Tensor, k: int):
            U, S, Vt = svds(A.numpy(), k, solver=solver, tol=1e-5, rng=0)
            order = S.argsort()[::-1].copy()
            return torch.from_numpy(U[:, order]), torch.from_numpy(S[order]), torch.from_numpy(Vt[order]).mT

        return run

    return [Contender(f"scipy svds {solver}", None, runner(solver)) for solver in ("arpack", "propack", "lobpcg")]


def measure(problem: Problem, contender: Contender, repeats: int) -> dict:
    """Errors of one call and the median time of `repeats`, or why it failed."""
    A, k, device = problem.A, problem.k, problem.A.device
    row = {"problem": problem.name, "contender": contender.name, "passes": contender.passes}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            factors, row["memory_MB"] = with_memory(lambda: contender.run(A, k), device)
            times = [_seconds(lambda: contender.run(A, k), device) for _ in range(repeats)]
    except Exception as error:  # a contender that fails is a row, not the end of the benchmark
        return {**row, "failed": f"{type(error).__name__}: {error}"[:120]}
    return {**row, "ms": 1e3 * statistics.median(times), **errors(problem, *factors)}


def errors(problem: Problem, U: Tensor, S: Tensor, V: Tensor) -> dict:
    U, S, V = U.double(), S.double(), V.double()
    residual = torch.linalg.matrix_norm(problem.A.double() - (U * S) @ V.mT).item()
    k = problem.k
    return {
        "excess": residual / problem.best - 1,
        "sigma": ((S - problem.S[:k]).abs().max() / problem.S[0]).item(),
        "subspace": max(_sine(U, problem.U[:, :k]), _sine(V, problem.V[:, :k])),
    }


def _sine(X: Tensor, exact: Tensor) -> float:
    """The sine of the largest angle between the leading halves of the true subspace and the space found."""
    half = exact[:, : max(1, exact.shape[1] // 2)]
    return torch.linalg.matrix_norm(half - X @ (X.mT @ half), 2).item()


def with_memory(call: Callable, device: torch.device):
    """The result, and the most MB that were allocated during the call beside what there was before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        return result, (torch.cuda.max_memory_allocated() - before) / 2**20
    done, peak, before = threading.Event(), [0], _resident()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], _resident() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return call(), peak[0] / 2**20
    finally:
        done.set()
        watcher.join()


def _resident() -> int:
    statm = pathlib.Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def _seconds(call: Callable, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def run_equal_passes(problem: Problem, steps: int, repeats: int) -> list[dict]:
    return [measure(problem, contender, repeats) for contender in contenders(problem.A.device, steps)]


def run_equal_error(problem: Problem, repeats: int, excess: float = 0.01) -> list[dict]:
    """Of each contender the run of fewest steps whose error is within `excess` of the best possible."""
    rows = []
    count = len(contenders(problem.A.device, 0))
    for index in range(count):
        for steps in range(13):
            contender = contenders(problem.A.device, steps)[index]
            row = measure(problem, contender, repeats=1)
            if "failed" in row or row["excess"] <= excess or steps == 12:
                rows.append(measure(problem, contender, repeats))
                break
    return rows + [measure(problem, contender, repeats) for contender in iterative(problem.A.device)]


def show(title: str, rows: list[dict]) -> None:
    print(f"\n{title}\n{'contender':28} {'passes':>6} {'ms':>9} {'excess':>9} {'sigma':>9} {'subspace':>9} {'MB':>7}")
    for row in rows:
        if "failed" in row:
            print(f"{row['contender']:28} {row['failed']}")
            continue
        passes = row["passes"] or "-"
        numbers = " ".join(f"{row[name]:9.1e}" for name in ("excess", "sigma", "subspace"))
        print(f"{row['contender']:28} {passes:>6} {row['ms']:9.2f} {numbers} {row['memory_MB']:7.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--sizes", default=None, help="n:k, with commas; default 1000:20,2000:50 (cuda: 4096:100,10000:100)"
    )
    parser.add_argument("--spectra", default=",".join(SPECTRA))
    parser.add_argument(
        "--steps", type=int, default=2, help="of iteration, at equal passes (niter of torch.svd_lowrank)"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file")
    options = parser.parse_args()
    device = torch.device(options.device)
    sizes = options.sizes or ("4096:100,10000:100" if device.type == "cuda" else "1000:20,2000:50")
    machine = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    record = {"machine": machine, "threads": torch.get_num_threads(), "torch": torch.__version__, "rows": []}
    print(f"{machine}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for size in sizes.split(","):
        n, k = map(int, size.split(":"))
        for spectrum in options.spectra.split(","):
            problem = make_problem(spectrum, n, k, device)
            for kind, rows in (
                ("equal passes", run_equal_passes(problem, options.steps, options.repeats)),
                ("equal error", run_equal_error(problem, options.repeats)),
            ):
                show(f"{problem.name}, {kind}", rows)
                record["rows"] += [{"kind": kind, **row} for row in rows]
    if options.output:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
