"""Run Python with these arguments; print its exit code, seconds, seconds of CPU and most memory in MB.

    python -S bench/alternatives_timed.py SAID_PATH [ARGUMENT ...]

What the process says goes to the file SAID_PATH. This is a process of its own since a new one counts, as the most
memory that it held, that of the one that started it: the bench's own would hide it, and this one's is small.
"""

import os
import sys
import time

said_path, *arguments = sys.argv[1:]
said = os.open(said_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
started = time.perf_counter()
pid = os.posix_spawn(
    sys.executable,
    [sys.executable, *arguments],
    os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)],
)
_, status, usage = os.wait4(pid, 0)
took_s = time.perf_counter() - started
print(os.waitstatus_to_exitcode(status), took_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
