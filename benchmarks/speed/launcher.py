"""Runs a command and writes its wall time, processor time and peak memory as JSON: ``launcher.py FILE COMMAND...``.

A process of its own, and a small one: the kernel counts what a child has inherited before it runs its own program as
the child's memory.
"""

import os
import sys
import time

results, *command = sys.argv[1:]
began = time.perf_counter()
pid = os.posix_spawn(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
wall_seconds = time.perf_counter() - began
unit = 1 if sys.platform == "darwin" else 1024
with open(results, "w") as file:
    file.write(
        f'{{"wall_seconds": {wall_seconds}, "cpu_seconds": {usage.ru_utime + usage.ru_stime},'
        f' "peak_bytes": {usage.ru_maxrss * unit}}}'
    )
sys.exit(os.waitstatus_to_exitcode(status) & 255)
