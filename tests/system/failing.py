"""The file that tells failing.c which call fails, and programs started under it."""
import errno
import mmap
import os
import struct

from serving import PRELOADING

# kind of call: how it fails. The order is that of failing.c.
CALLS = {
    "write": errno.ENOSPC, "pwrite": errno.ENOSPC, "writev": errno.ENOSPC, "pwritev": errno.ENOSPC, "fsync": errno.EIO, "fdatasync": errno.EIO, "msync": errno.EIO,
    "mmap": errno.ENOMEM, "ftruncate": errno.ENOSPC, "open": errno.EMFILE, "rename": errno.EIO, "unlink": errno.EIO, "read": errno.EIO, "pread": errno.EIO,
    "fallocate": errno.ENOSPC, "truncate": errno.ENOSPC, "mkdir": errno.ENOSPC, "sync_file_range": errno.EIO,
}
ALL = {**CALLS, "pthread_create": errno.EAGAIN}
BIT = {name: i for i, name in enumerate(ALL)}


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
        self.map[:40] = struct.pack("=QQQQq", 0, 0, 0, 0, 0)
        self.map[8:40] = struct.pack("=QQQq", at, on, 0, 0 if kill else -1 if stop else ALL[call])
        self.map[:8] = struct.pack("=Q", 1 << BIT[call])

    def disarm(self):
        """Nothing fails any more; how many such calls there were."""
        self.map[:8] = struct.pack("=Q", 0)
        return struct.unpack("=Q", self.map[24:32])[0]

    def close(self):
        self.map.close()
        self.file.close()
