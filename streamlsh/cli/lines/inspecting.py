"""``info``, ``verify``, ``digest``, ``export``, ``upgrade`` and ``warm``."""

from __future__ import annotations

from streamlsh.cli.lines.command import Commands, command


def info(commands: Commands) -> None:
    """Add ``info``."""
    command(
        commands,
        "info",
        "inspecting:info",
        usage="PATH [--json]",
        summary="show what an index is and how full it is",
        description="""\
Show an index's configuration, its counts, its commit and the positions of the
sources that it follows; how full the buckets of each table are, and the fullest of
them; what a calibration found, and what the planner makes of it.

A bucket's mean, p50 and p99 are over the buckets in use. Of many copies of one
vector, which all share a bucket, a query keeps as many as it can use; how many it
passed over is in its plan.""",
        example="streamlsh info items.index",
    )


def verify(commands: Commands) -> None:
    """Add ``verify``."""
    command(
        commands,
        "verify",
        "inspecting:verify",
        usage="PATH [--json]",
        summary="check every invariant of an index",
        description="""\
Walk the whole index and check that its parts agree: slots, live bitmap, items,
segments and counts. Names the first that is broken and exits with 1; with 0 if
the index is sound. Reads one snapshot: a writer may go on meanwhile.""",
        example="streamlsh verify items.index",
    )


def digest(commands: Commands) -> None:
    """Add ``digest``."""
    command(
        commands,
        "digest",
        "inspecting:digest",
        usage="PATH [--json]",
        summary="print a hash of an index's content",
        description="""\
Print a hash of the content: the live items with their versions, and the family.
Two indexes with the same content have the same digest, whatever the order,
batches, deletes and restarts that led there.""",
        example="streamlsh digest items.index",
    )


def export(commands: Commands) -> None:
    """Add ``export``."""
    parser = command(
        commands,
        "export",
        "exporting:export",
        usage="PATH OUT.jsonl [--json]",
        summary="write all items to a file that can be loaded again",
        description="""\
Write every item as one JSON object a line, sorted by id: {"id", "vector",
"version", "tags", "attributes"}. The numbers are exact: loaded into an index of
the same family they give the same digest. OUT.jsonl appears when it is complete.""",
        example="""\
streamlsh export items.index items.jsonl
streamlsh create copy.index --dim 384 --metric cosine
streamlsh load copy.index items.jsonl""",
    )
    parser.add_argument("out", metavar="OUT.jsonl", help="the file to write")


def upgrade(commands: Commands) -> None:
    """Add ``upgrade``."""
    parser = command(
        commands,
        "upgrade",
        "upgrading:upgrade",
        usage="PATH NEW [--json]",
        summary="copy an index of an older format into the current one",
        description="""\
Write a copy of an index of format 1 in the current format: items, versions, tags,
attributes, delete markers and source positions. Stop what writes to PATH first; it
is only read. Then move NEW into its place: a consumer goes on where it was.""",
        example="streamlsh upgrade items.index items-new.index",
    )
    parser.add_argument("new", metavar="NEW", help="a directory that does not exist yet")


def warm(commands: Commands) -> None:
    """Add ``warm``."""
    command(
        commands,
        "warm",
        "inspecting:warm",
        usage="[--json]",
        summary="compile the kernels ahead of their first use",
        description="""\
Compile everything that is compiled on first use, some twenty seconds, and keep
it on disk. Put this into an image's build, so that no process waits for it
later.""",
        example="streamlsh warm --json",
        path=False,
    )
