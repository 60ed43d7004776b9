"""What importing metalsvd costs on top of torch: ``python tests/benchmarks/import_time.py``.

Each figure is the median over fresh processes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

PROCESSES = 7
MODULES = ["torch", "metalsvd"]
CODE = """
import time
for module in {modules}:
    start = time.perf_counter()
    __import__(module)
    print((time.perf_counter() - start) * 1e3)
"""


def main() -> None:
    environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    command = [sys.executable, "-c", CODE.format(modules=MODULES)]
    runs = [subprocess.check_output(command, env=environment, text=True).split() for _ in range(PROCESSES)]
    for module, times in zip(MODULES, zip(*runs, strict=True), strict=True):
        milliseconds = [float(time) for time in times]
        print(f"{module:10} {statistics.median(milliseconds):8.1f} ms  (least {min(milliseconds):.1f})")


if __name__ == "__main__":
    main()
