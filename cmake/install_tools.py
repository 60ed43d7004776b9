"""Install the tools that pyproject.toml lists under an optional dependency, without metalsvd itself.

python cmake/install_tools.py lint|wheels
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

PYPROJECT = pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml"


def listed(name: str) -> list[str]:
    """The requirements of an optional dependency. By a regular expression, because Python 3.10 reads no TOML."""
    found = re.search(rf"^{name} = \[(.*?)\]$", PYPROJECT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return re.findall(r'"([^"]+)"', found[1])


if __name__ == "__main__":
    sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *listed(sys.argv[1])]).returncode)
