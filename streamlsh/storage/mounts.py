"""Which file system a path lies on: memory maps and locks need a local one."""

from __future__ import annotations

from pathlib import Path

from streamlsh.errors import NetworkFilesystemError

_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "gpfs",
     "beegfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.ceph")
)  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")


def refuse_network_filesystem(path: Path, mounts: Path = _MOUNTS) -> None:
    """Raise ``NetworkFilesystemError`` if the path's mount is a network file system.

    Where the mount table cannot be read (not Linux), nothing is refused.
    """
    try:
        table = mounts.read_text()
    except OSError:
        return
    kind, point = "", ""
    for line in table.splitlines():
        fields = line.split(" ")
        where = fields[4].replace("\\040", " ")
        if len(where) >= len(point) and path.is_relative_to(where):
            kind, point = fields[fields.index("-") + 1], where
    if kind in _NETWORK:
        raise NetworkFilesystemError(
            f"{path} lies on {kind} (mounted at {point}); an index needs a local file system, "
            "because memory maps and locks are not reliable over a network",
            path=str(path),
        )
