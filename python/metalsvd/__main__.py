"""``python -m metalsvd <command>``."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from . import __version__, _demo, _doctor, _lora, bench
from ._cli import UserError

# name -> module with DESCRIPTION, add_arguments(parser) and run(arguments), which raises UserError for what the user
# can put right, and may return an exit status. A module listed here imports optional packages only inside run.
COMMANDS = {
    "demo": _demo,
    "bench": bench,
    "doctor": _doctor,
    "lora-extract": _lora,
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m metalsvd", description="Singular value decomposition for PyTorch on Apple GPUs.")
    parser.add_argument("--version", action="version", version=f"metalsvd {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="command")
    for name, module in COMMANDS.items():
        summary = module.DESCRIPTION.splitlines()[0]
        command = commands.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, prog=command.prog)
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
    except UserError as error:
        print(f"{arguments.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{arguments.prog}: interrupted", file=sys.stderr)
        return 130
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
