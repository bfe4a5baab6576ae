"""The file that tells failing.c which call fails, and programs started under it."""
import errno
import mmap
import os
import struct

from serving import PRELOADING

# kind of call: how it fails. The order is that of failing.c.
CALLS = {
    "write": errno.ENOSPC, "pwrite": errno.ENOSPC, "writev": errno.ENOSPC, "fsync": errno.EIO, "fdatasync": errno.EIO, "mmap": errno.ENOMEM, "ftruncate": errno.ENOSPC,
    "open": errno.EMFILE, "rename": errno.EIO, "unlink": errno.EIO, "read": errno.EIO, "pread": errno.EIO, "fallocate": errno.ENOSPC, "mkdir": errno.ENOSPC,
    "sync_file_range": errno.EIO, "futimens": errno.EIO, "statfs": errno.EIO, "flock": errno.ENOLCK, "rmdir": errno.EIO, "opendir": errno.EMFILE, "readdir": errno.EIO,
}
ALL = {**CALLS, "pthread_create": errno.EAGAIN}
BIT = {name: i for i, name in enumerate(ALL)}
CONTROL = "=QQQq"  # kinds, at, on, err; then how many there were of each kind
COUNTS = f"={len(ALL)}Q"


class Failing:
    def __init__(self, folder, under):
        self.path = os.path.join(folder, "failing")
        with open(self.path, "wb") as f:
            f.write(bytes(4096))
        self.file = open(self.path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)
        self.env = {"LD_PRELOAD": os.environ["FAILING"], "FAILING_CONTROL": self.path, "FAILING_UNDER": under, **PRELOADING}

    def arm(self, call, at, on=False, kill=False, stop=False):
        """The at-th such call from now fails; on: and all after it; kill: the program is killed there; stop: it is stopped there, as
        by SIGSTOP. at 0: calls are only counted."""
        self.begin(1 << BIT[call], at, on, 0 if kill else -1 if stop else ALL[call])

    def begin(self, kinds, at=0, on=False, err=0):
        self.map[:8] = struct.pack("=Q", 0)
        self.map[:] = struct.pack(CONTROL, 0, at, on, err).ljust(4096, b"\0")
        self.map[:8] = struct.pack("=Q", kinds)

    def count(self):
        """All kinds of calls on files are counted; none fails."""
        self.begin(sum(1 << BIT[call] for call in CALLS))

    def disarm(self):
        """Nothing fails any more; how many calls were counted, by their kind."""
        self.map[:8] = struct.pack("=Q", 0)
        return dict(zip(ALL, struct.unpack_from(COUNTS, self.map, struct.calcsize(CONTROL))))

    def close(self):
        self.map.close()
        self.file.close()
