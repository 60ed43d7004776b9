"""Read what dyld reads of a Mach-O library for arm64, as loader.h and nlist.h of Apple's cctools describe it.

Python's standard library only, and only the parts that decide whether a library loads: load commands, undefined symbols
and where each is looked for, the export trie, the code signature. Raises MachOError on bytes that are something else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct

_MAGIC_64, _CPU_ARM64, _DYLIB = 0xFEEDFACF, 0x0100000C, 6
_SYMTAB, _ID_DYLIB, _VERSION_MIN_MACOS, _DYLD_INFO, _CODE_SIGNATURE, _BUILD_VERSION = 0x2, 0xD, 0x24, 0x22, 0x1D, 0x32
_RPATH, _EXPORTS_TRIE, _DYLD_INFO_ONLY = 0x8000001C, 0x80000033, 0x80000022
# LC_LOAD_DYLIB and its weak, re-exporting, lazy and upward forms: one list, which ordinals count from 1.
_LOADS = {0xC, 0x80000018, 0x8000001F, 0x20, 0x80000023}
_PLATFORM_MACOS = 1
_STAB, _PRIVATE_EXTERNAL, _TYPE, _EXTERNAL = 0xE0, 0x10, 0x0E, 0x01  # bits of n_type
_UNDEFINED = 0x0  # of the _TYPE bits
_WEAK_REFERENCE, _WEAK_DEFINITION = 0x40, 0x80  # bits of n_desc
_CODE_DIRECTORY_SLOT, _SUPERBLOB, _CODE_DIRECTORY, _SHA256 = 0, 0xFADE0CC0, 0xFADE0C02, 2


class MachOError(Exception):
    """Bytes that are not a Mach-O library for arm64."""


@dataclasses.dataclass(frozen=True)
class Undefined:
    """A symbol that the library needs. `ordinal` counts the libraries from 1; others mean no library in particular."""

    name: str
    ordinal: int
    is_weak: bool  # null where nobody defines it


@dataclasses.dataclass(frozen=True)
class MachO:
    data: bytes
    install_name: str | None
    libraries: tuple[str, ...]  # by install name, in the order of their ordinals
    rpaths: tuple[str, ...]
    minimum_macos: str | None  # "14.0"
    undefined: tuple[Undefined, ...]
    strong_definitions: frozenset[str]  # exported or not; not those that a linker may merge (inline functions)
    exports_at: tuple[int, int]  # offset and size of the export trie
    signature_at: tuple[int, int] | None  # of the code signature

    def library_of(self, symbol: Undefined) -> str | None:
        """The install name of the library that dyld asks for this symbol, None where it asks none in particular."""
        return self.libraries[symbol.ordinal - 1] if 1 <= symbol.ordinal <= len(self.libraries) else None

    def exports(self) -> frozenset[str]:
        """Every name in the export trie, where dyld looks names up."""
        offset, size = self.exports_at
        trie = self.data[offset : offset + size]
        names, pending = [], [(0, b"")] if trie else []
        while pending:
            node, prefix = pending.pop()
            terminal_size, at = _uleb128(trie, node)
            if terminal_size:
                names.append(prefix.decode())
            at += terminal_size
            edges = trie[at]
            at += 1
            for _ in range(edges):
                end = trie.index(b"\0", at)
                child, after = _uleb128(trie, end + 1)
                pending.append((child, prefix + trie[at:end]))
                at = after
        return frozenset(names)

    def unsigned_pages(self) -> list[int] | None:
        """The pages whose bytes are not those that were signed; None without a signature of SHA-256 hashes."""
        if self.signature_at is None:
            return None
        blob = self.data[self.signature_at[0] : sum(self.signature_at)]
        magic, _, count = struct.unpack_from(">3I", blob)
        slots = dict(struct.unpack_from(">2I", blob, 12 + 8 * i) for i in range(count)) if magic == _SUPERBLOB else {}
        if _CODE_DIRECTORY_SLOT not in slots:
            return None
        directory = blob[slots[_CODE_DIRECTORY_SLOT] :]
        magic, _, _, _, hashes, _, _, pages, end = struct.unpack_from(">9I", directory)
        hash_size, hash_type, _, page_bits = struct.unpack_from("4B", directory, 36)
        if magic != _CODE_DIRECTORY or hash_type != _SHA256:
            return None
        changed = []
        for page in range(pages):
            start = page << page_bits
            found = hashlib.sha256(self.data[start : min(start + (1 << page_bits), end)]).digest()
            if found != directory[hashes + page * hash_size :][:hash_size]:
                changed.append(page)
        return changed


def _uleb128(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number of 7 bits a byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def _symbols(data: bytes, table: int, count: int, strings: int) -> tuple[tuple[Undefined, ...], frozenset[str]]:
    undefined, strong = [], []
    for offset, kind, _, description, _ in struct.iter_unpack("<IBBHQ", data[table : table + 16 * count]):
        if kind & _STAB:  # for debuggers
            continue
        if kind & _TYPE != _UNDEFINED:
            if not description & _WEAK_DEFINITION:
                strong.append(_text(data, strings + offset))
        elif kind & _EXTERNAL:
            undefined.append(
                Undefined(_text(data, strings + offset), description >> 8, bool(description & _WEAK_REFERENCE))
            )
    return tuple(undefined), frozenset(strong)


def read(data: bytes) -> MachO:
    if len(data) < 32 or struct.unpack_from("<I", data)[0] != _MAGIC_64:
        raise MachOError("not a 64-bit Mach-O file of one architecture")
    _, cpu, _, file_type, command_count, _, _, _ = struct.unpack_from("<8I", data)
    if (cpu, file_type) != (_CPU_ARM64, _DYLIB):
        raise MachOError(f"not a dynamic library for arm64 (CPU type {cpu:#x}, file type {file_type})")
    install_name, libraries, rpaths, minimum = None, [], [], None
    symbols: tuple[tuple[Undefined, ...], frozenset[str]] = ((), frozenset())
    exports, signature = (0, 0), None
    at = 32
    for _ in range(command_count):
        command, size = struct.unpack_from("<2I", data, at)
        words = struct.unpack_from(f"<{size // 4}I", data, at)
        if command in _LOADS:
            libraries.append(_text(data, at + words[2]))
        elif command == _ID_DYLIB:
            install_name = _text(data, at + words[2])
        elif command == _RPATH:
            rpaths.append(_text(data, at + words[2]))
        elif command == _BUILD_VERSION and words[2] == _PLATFORM_MACOS:
            minimum = f"{words[3] >> 16}.{words[3] >> 8 & 0xFF}"
        elif command == _VERSION_MIN_MACOS:
            minimum = f"{words[2] >> 16}.{words[2] >> 8 & 0xFF}"
        elif command == _SYMTAB:
            symbols = _symbols(data, words[2], words[3], words[4])
        elif command in (_DYLD_INFO, _DYLD_INFO_ONLY):
            exports = words[10:12]
        elif command == _EXPORTS_TRIE:
            exports = words[2:4]
        elif command == _CODE_SIGNATURE:
            signature = words[2:4]
        at += size
    return MachO(data, install_name, tuple(libraries), tuple(rpaths), minimum, *symbols, exports, signature)
