"""What the commands of ``python -m metalsvd`` share: user errors, arguments, the device, files written whole."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import emulator
from ._devices import has_apple_gpu


class UserError(Exception):
    """Something that the user can put right: told in one line, with exit status 2."""


# --- arguments --------------------------------------------------------------------------------------------------------


def whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, but got {text!r}")
    return number


def positive(text: str) -> int:
    return whole_number(text, 1)


def not_negative(text: str) -> int:
    return whole_number(text, 0)


def require_packages(what: str, packages: list[str], extra: str) -> None:
    """Raises UserError naming those that are missing and the extra of metalsvd that installs them."""
    missing = []
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise UserError(f"the {what} needs {' and '.join(missing)}: pip install 'metalsvd[{extra}]'")


# --- the device -------------------------------------------------------------------------------------------------------


class Device(NamedTuple):
    """Where the decomposition runs. ``description`` is what the user is told."""

    torch_name: str
    description: str
    emulated: bool


def choose_device(wanted: str) -> Device:
    """``auto``, ``mps`` or ``cpu`` -> the best device there is, enabling the emulated Apple GPU where it is that.

    Raises:
        UserError: ``mps`` where there is neither a real nor an emulated one.
    """
    if wanted == "cpu":
        return Device("cpu", "CPU (LAPACK through torch)", emulated=False)
    if has_apple_gpu():
        return Device("mps", "Apple GPU (mps)", emulated=False)
    if emulator.is_available():
        emulator.enable()
        return Device("mps", "emulated Apple GPU on this CPU", emulated=True)
    if wanted == "mps":
        raise UserError("there is no Apple GPU here, and this metalsvd was built without the emulated one")
    return Device("cpu", "CPU (LAPACK through torch): no Apple GPU here, not even an emulated one", emulated=False)


# --- files ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to; becomes ``path`` at the end, and nothing where the block ends in an error.

    It is made at once, so that a folder that cannot be written to is told before the work and not after it.

    Raises:
        UserError: ``path`` is a folder, or its folder is missing or cannot be written to.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        if path.is_dir():
            raise UserError(f"cannot write {path}: it is a folder")
        unfinished.touch()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield unfinished
        try:
            unfinished.replace(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
