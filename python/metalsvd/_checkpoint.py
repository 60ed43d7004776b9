"""Checkpoints of safetensors files, read one tensor at a time: a file, or a folder or index of shards."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import torch
from torch import Tensor

from ._cli import UserError

_INDEX_SUFFIX = ".safetensors.index.json"
_INDEX = f"model{_INDEX_SUFFIX}"

# What safetensors calls the dtypes that are computed with. Others are compared byte by byte and nothing else.
FLOATING_DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}


class Checkpoint:
    """The tensors of a checkpoint by name; a context manager that keeps its files open.

    Args:
        path: a ``.safetensors`` file, the ``.safetensors.index.json`` of a sharded checkpoint, or a folder that holds
            ``model.safetensors.index.json`` or exactly one ``.safetensors`` file.

    Raises:
        UserError: there is none, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = contextlib.ExitStack()
        try:
            self._file_of = self._open()
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        self._files.close()

    def names(self) -> list[str]:
        """In the order of the file, or of the index."""
        return list(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file_of[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """As safetensors names it: ``"BF16"``, ``"F32"``, ..."""
        return self._file_of[name].get_slice(name).get_dtype()

    def read(self, name: str) -> Tensor:
        """The tensor, on the CPU, in its dtype.

        Raises:
            UserError: its file cannot be read any more.
        """
        with self._told_about(self.path):
            return self._file_of[name].get_tensor(name)

    def files(self) -> list[Path]:
        """All files that it is read from, index included."""
        return self._paths

    def _open(self) -> dict[str, object]:
        """The open file of each name."""
        path = self._index_or_file()
        self._paths = [path]
        if not path.name.endswith(_INDEX_SUFFIX):
            file = self._open_file(path)
            return dict.fromkeys(file.keys(), file)
        shard_of = _weight_map(path)
        shards = {shard: self._open_file(path.parent / shard) for shard in sorted(set(shard_of.values()))}
        self._paths += [path.parent / shard for shard in shards]
        held = {shard: set(file.keys()) for shard, file in shards.items()}
        for name, shard in shard_of.items():
            if name not in held[shard]:
                raise UserError(f"cannot read {path}: it says that {name} is in {shard}, which does not hold it")
        return {name: shards[shard] for name, shard in shard_of.items()}

    def _index_or_file(self) -> Path:
        if not self.path.is_dir():
            return self.path
        if (self.path / _INDEX).exists():
            return self.path / _INDEX
        found = sorted(self.path.glob("*.safetensors"))
        if len(found) != 1:
            raise UserError(
                f"cannot read {self.path}: expected {_INDEX} or one .safetensors file in the folder, "
                f"but found {len(found)} of them"
            )
        return found[0]

    def _open_file(self, path: Path):
        import safetensors

        with self._told_about(path):
            return self._files.enter_context(safetensors.safe_open(path, framework="pt"))

    @contextlib.contextmanager
    def _told_about(self, path: Path):
        """Turns what safetensors raises about the file into a UserError."""
        import safetensors

        try:
            yield
        except FileNotFoundError:
            raise UserError(f"no such checkpoint: {path}") from None
        except (safetensors.SafetensorError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"cannot read {path} as safetensors: {reason}") from error


def _weight_map(index: Path) -> dict[str, str]:
    """The shard of each tensor, as the index of a sharded checkpoint says."""
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(shard) for name, shard in weight_map.items()}
    except FileNotFoundError:
        raise UserError(f"no such checkpoint: {index}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read {index}: expected JSON with a weight_map from tensors to files") from error
