"""Install a metalsvd wheel beside several torch, each in a clean virtual environment, and run the tests there.

python cmake/wheels/test_wheel.py WHEEL --torch 2.11 2.13 newest [--target cpu|mps] [--pytest="-n 4"]

One binary has to serve every torch since 2.10: nothing is compiled here. Published wheels hold no emulated GPU, so that
what runs are the tests that need none. An environment takes up to 7 GB where pip finds no CPU build of torch; it is
removed before the next is made. Prints a line for each torch at the end, and exits with 1 where any test failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
import venv

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# These look at the sources beside them, and see nothing of the wheel.
OF_SOURCES = ["kernels", "test_metal_check.py", "test_release.py", "test_wheels.py"]

# The wheel itself is imported, not the sources that lie beside the tests, and it is the one that has no emulator.
WHAT_IS_INSTALLED = """
import pathlib, sys, torch, metalsvd, metalsvd._load
library = metalsvd._load.library_path
assert pathlib.Path(sys.prefix) in library.parents, f"{library} is not of this environment"
assert not metalsvd.emulator.is_available(), "a published wheel holds no emulated GPU"
print(f"torch {torch.__version__}")
"""


@dataclasses.dataclass
class Outcome:
    torch: str
    tests: str  # pytest's last line
    seconds: float
    passed: bool

    def __str__(self) -> str:
        return (
            f"{'ok' if self.passed else 'FAILED':6}  {self.torch}: {self.tests} ({self.seconds:.0f} s with installing)"
        )


def requirement(torch: str) -> str:
    """What pip is asked for: the newest of "2.11", that one "2.11.0", or the newest of all."""
    if torch == "newest":
        return "torch"
    return f"torch=={torch}" if torch.count(".") > 1 else f"torch=={torch}.*"


def run(command: list, **options) -> subprocess.CompletedProcess:
    print("$", *command, flush=True)
    return subprocess.run(list(map(str, command)), cwd=REPOSITORY, text=True, **options)


def last_line(text: str) -> str:
    lines = [line.strip(" =") for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def run_tests_beside(
    torch: str, wheel: pathlib.Path, folder: pathlib.Path, target: str, arguments: list[str]
) -> Outcome:
    begun = time.monotonic()
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"

    def outcome(name: str, tests: str, passed: bool) -> Outcome:
        return Outcome(name, tests, time.monotonic() - begun, passed)

    for packages in ([requirement(torch)], [f"{wheel}[test]"]):
        if run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]).returncode != 0:
            return outcome(f"torch {torch}", f"pip does not install {packages[0]}", False)
    installed = run([python, "-c", WHAT_IS_INSTALLED], capture_output=True)
    if installed.returncode != 0:
        return outcome(f"torch {torch}", last_line(installed.stderr), False)
    command = [python, "-m", "pytest", "-q", "-o", f"cache_dir={folder / 'cache'}", "--target", target]
    command += [f"--ignore=tests/{name}" for name in OF_SOURCES]
    tests = run([*command, *arguments], stdout=subprocess.PIPE)
    print(tests.stdout, flush=True)
    return outcome(installed.stdout.strip(), last_line(tests.stdout), tests.returncode == 0)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("--torch", nargs="+", required=True, help="versions, 2.11 say, or newest")
    parser.add_argument("--target", choices=["cpu", "mps"], default="cpu", help="the device that the tests run on")
    parser.add_argument("--pytest", type=shlex.split, default=[], metavar="ARGUMENTS", help="more of them for pytest")
    options = parser.parse_args(arguments)
    wheel = options.wheel.resolve()
    if not wheel.exists():
        parser.error(f"{options.wheel}: no such file")

    outcomes = []
    for torch in options.torch:
        with tempfile.TemporaryDirectory(prefix="metalsvd-wheel-") as folder:
            outcomes.append(
                run_tests_beside(torch, wheel, pathlib.Path(folder) / "venv", options.target, options.pytest)
            )
    print(wheel.name)
    for outcome in outcomes:
        print(outcome)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
