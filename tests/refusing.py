"""Kernels and file systems that lack something: a seccomp(2) filter makes system calls fail, in a process of its own.

Put `FILTER` in front of the source that `isolated.run` runs, and call ``refuse``.
"""

from __future__ import annotations

import platform

import pytest

#: Numbers of system calls, which differ between machines.
NUMBERS = {
    "x86_64": {
        "openat": 257,
        "linkat": 265,
        "renameat2": 316,
        "fallocate": 285,
        "memfd_create": 319,
        "inotify_init1": 294,
        "madvise": 28,
    },
    "aarch64": {
        "openat": 56,
        "linkat": 37,
        "renameat2": 276,
        "fallocate": 47,
        "memfd_create": 279,
        "inotify_init1": 26,
        "madvise": 233,
    },
}

known_machine = pytest.mark.skipif(
    platform.machine() not in NUMBERS, reason=f"no numbers of system calls for {platform.machine()}"
)

FILTER = f"""
import ctypes, errno, os, platform, struct
NUMBERS = {NUMBERS}

def refuse(call, error, argument=None, bits=0):
    '''From now on, let the call fail; only where the argument has all of the bits, if one is named.'''
    load, equal, mask, answer = 0x20, 0x15, 0x54, 0x06
    number = NUMBERS[platform.machine()][call]
    allow = (answer, 0, 0, 0x7FFF0000)
    deny = (answer, 0, 0, 0x00050000 | error)
    if argument is None:
        program = [(load, 0, 0, 0), (equal, 0, 1, number), deny, allow]
    else:
        program = [
            (load, 0, 0, 0), (equal, 0, 4, number),
            (load, 0, 0, 16 + 8 * argument), (mask, 0, 0, bits), (equal, 0, 1, bits), deny, allow,
        ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    NO_NEW_PRIVS, SECCOMP, MODE_FILTER = 38, 22, 2
    for arguments in [(NO_NEW_PRIVS, 1, 0, 0, 0), (SECCOMP, MODE_FILTER, ctypes.addressof(filter), 0, 0)]:
        if libc.prctl(*map(ctypes.c_ulong, arguments)) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
"""
