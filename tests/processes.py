"""Python processes of their own, for what happens at import, at exit, and when a user types a command."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def run_python(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python arguments`` with these variables beside those of the tests; output is captured, no status raises."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def run_code(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program, warnings shown."""
    return run_python("-W", "always", "-c", textwrap.dedent(code), **environment)


def run_command(
    command: str, *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``python -m metalsvd command arguments`` in a terminal of 160 columns."""
    return run_python("-m", "metalsvd", command, *arguments, cwd=cwd, **{"COLUMNS": "160", **environment})


def python_path(folder: Path) -> str:
    """PYTHONPATH with a folder before what it holds already."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def hide_package(name: str, folder: Path) -> str:
    """PYTHONPATH with which a package cannot be imported; ``folder`` is empty."""
    (folder / f"{name}.py").write_text("raise ImportError('hidden by the test')")
    return python_path(folder)
