"""Runs Python code as on a file system without locks: `python nolocks.py ERRNO CODE ARG...` (Linux only).

The kernel itself refuses each `flock` and each lock through `fcntl` with ERRNO, whoever asks, SQLite included: NFS
without its lock daemon answers ENOLCK, Lustre without its flock option ENOSYS.
"""

import ctypes
import platform
import struct
import sys

# flock and fcntl by machine, and the number by which the kernel knows the machine.
_SYSCALLS = {"x86_64": (73, 72, 0xC000003E), "aarch64": (32, 25, 0xC00000B7)}
_LOCK_COMMANDS = (5, 6, 7, 36, 37, 38)  # F_GETLK to F_SETLKW, and the same for open file descriptions
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _MACHINE_AT, _COMMAND_AT = 0, 4, 24
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER_MODE = 22, 38, 2


def supported() -> bool:
    return sys.platform == "linux" and platform.machine() in _SYSCALLS


def refuse_locks(error_number: int) -> None:
    """From now on, for this process and its children."""
    flock, fcntl, machine = _SYSCALLS[platform.machine()]
    commands = len(_LOCK_COMMANDS)
    # Jumps count the instructions that they skip; the last two are "allow" and "fail".
    program = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_JUMP_IF_EQUAL, 0, commands + 4, machine),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_EQUAL, commands + 3, 0, flock),
        (_JUMP_IF_EQUAL, 0, commands + 1, fcntl),
        (_LOAD, 0, 0, _COMMAND_AT),
        *((_JUMP_IF_EQUAL, commands - number, 0, command) for number, command in enumerate(_LOCK_COMMANDS)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL | error_number),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HxxxxxxP", len(program), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, *arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER_MODE, described, 0, 0)):
        if libc.prctl(option, *arguments):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")


if __name__ == "__main__":
    number, code, *sys.argv[1:] = sys.argv[1:]
    refuse_locks(int(number))
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
