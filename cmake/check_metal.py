"""Check Metal files for what Apple's compiler would reject.  python cmake/check_metal.py [--json] [FILE.metal ...]

Without files: all of kernels/. Prints one `file:line:column: message` a finding; exit status 1 if there is any. Needs
libclang (pip install libclang==18.1.1).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys

KERNELS = pathlib.Path(__file__).resolve().parents[1] / "kernels"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of {file, line, column, message}")
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="default: kernels/*.metal")
    options = parser.parse_args(arguments)
    try:
        from metal_check import check_file
    except ImportError as error:
        print(f"check_metal: {error}: it needs libclang (pip install libclang==18.1.1)", file=sys.stderr)
        return 2
    missing = [str(file) for file in options.files if not file.is_file()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}")
    files = options.files or sorted(KERNELS.glob("*.metal"))
    findings = [finding for file in files for finding in check_file(file)]
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
