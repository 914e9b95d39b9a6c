"""Runs one command and never outlives the test run: `python leash.py COMMAND ARG...`.

The command is killed (SIGKILL) as soon as our stdin closes, which happens when the owner closes it
and also when the owner dies in any way. Should the command end by itself, its status becomes ours.
"""

import os
import subprocess
import sys
import threading


def main() -> None:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)

    def follow() -> None:
        os._exit(child.wait() & 0xFF)

    threading.Thread(target=follow, daemon=True).start()
    os.read(0, 1)
    child.kill()
    child.wait()


if __name__ == "__main__":
    main()
