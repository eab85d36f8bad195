"""What can be typed, and the help that teaches it.

A command names its function as ``module:function``; nothing heavy is imported to parse a line.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Generic in the stubs only.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_DESCRIPTION = """\
A nearest-neighbour index in one LMDB file, kept current while it is read. These
commands make an index, fill it from a file, ask it and check it. To have it
follow a Kafka topic, see streamlsh-kafka."""

_EXAMPLE = """\
python -m streamlsh.datasets glosses.jsonl      # the shipped sample, 5,000 entries
streamlsh create words.index --dim 384 --metric cosine
streamlsh load words.index glosses.jsonl
streamlsh search words.index --id light_up -k 5 --attributes"""

_EXIT_CODES = """\
Every command takes --json and then prints one JSON object on standard output.
Progress goes to standard error, and only to a terminal. Exit codes:
  0    done
  1    not done: one line on standard error says why and what to do next; with
       --json also {"error": {"type", "message"}} on standard output
  2    the command line makes no sense
  130  interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``streamlsh`` with all of its commands."""
    parser = argparse.ArgumentParser(
        prog="streamlsh",
        usage="streamlsh [--version] COMMAND ...",
        description=_DESCRIPTION,
        epilog=f"{_epilog(_EXAMPLE)}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and leave")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, dest="command", prog="streamlsh"
    )
    for add in (_create, _load, _search, _get, _info, _verify, _digest, _export, _warm):
        add(commands)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: that takes longer than all the rest of the help."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"streamlsh {version('streamlsh')}")
        parser.exit()


def _epilog(example: str) -> str:
    return "example:\n" + "\n".join(f"  {line}" for line in example.splitlines())


def _command(
    commands: Commands,
    name: str,
    handler: str,
    *,
    usage: str,
    summary: str,
    description: str,
    example: str,
    path: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        usage=f"streamlsh {name} {usage}",
        help=summary,
        description=description,
        epilog=_epilog(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if path:
        parser.add_argument("path", metavar="PATH", help="the index, a directory")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on standard output, errors too"
    )
    parser.set_defaults(handler=f"streamlsh.cli.{handler}")
    return parser


def _create(commands: Commands) -> None:
    parser = _command(
        commands,
        "create",
        "building:create",
        usage="PATH --dim D [options]",
        summary="make an empty index",
        description="""\
Make an empty index. Dimension, metric and hash family are fixed for its life: an
item's buckets depend on nothing but its own vector and the family, so updates
need no rebuild.

Without --sample the family is hyperplane, random directions that fit any data.
With a sample of your vectors (some ten thousand rows or more) it is voronoi, cells
found in the sample: the same recall from a much smaller share of the index.""",
        example="""\
streamlsh create items.index --dim 384 --metric cosine
streamlsh create items.index --dim 384 --metric cosine --sample vectors.npy""",
    )
    parser.add_argument(
        "--dim", metavar="D", type=int, required=True, help="the length of every vector"
    )
    parser.add_argument(
        "--metric", metavar="M", default="cosine", help="how nearness is measured (default: cosine)"
    )
    parser.add_argument(
        "--family",
        metavar="F",
        help="hyperplane or voronoi (default: voronoi if there is a sample, else hyperplane)",
    )
    parser.add_argument(
        "--sample", metavar="FILE.npy", help="float vectors (n, D) to calibrate the family on"
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="seed of the family; the same seed and sample give the same family (default: 0)",
    )
    parser.add_argument("--bits", metavar="N", type=int, help="hyperplane: bits of a bucket's code")
    parser.add_argument("--tables", metavar="N", type=int, help="hyperplane: number of hash tables")
    parser.add_argument("--cells", metavar="N", type=int, help="voronoi: number of cells")


def _load(commands: Commands) -> None:
    parser = _command(
        commands,
        "load",
        "building:load",
        usage="PATH FILE [--ids FILE] [--json]",
        summary="insert or replace items from a file",
        description="""\
Insert or replace the items of a file, a thousand rows a commit. Readers may ask
the index meanwhile. The kind of file is told by its ending:

  .jsonl    one object a line: {"id": "a", "vector": [0.1, ...]} and, if you like,
            "version": 7, "tags": ["new"], "attributes": {"text": "..."}
  .parquet  columns of the same names; attributes as a struct or as JSON text
  .npy      float vectors (n, D), with --ids: a text file, one id a line

A row that cannot be used stops the load with its line; the rows committed before
it stay. To load the same file again does no harm: what is there already is left
as it is.""",
        example="""\
streamlsh load items.index items.jsonl
streamlsh load items.index items.parquet
streamlsh load items.index vectors.npy --ids ids.txt""",
    )
    parser.add_argument("file", metavar="FILE", help="a .jsonl, .parquet or .npy file")
    parser.add_argument("--ids", metavar="FILE", help="for .npy: the ids, one a line")


def _search(commands: Commands) -> None:
    parser = _command(
        commands,
        "search",
        "querying:search",
        usage="PATH (--id ID | --vector FILE.npy) [options]",
        summary="find the nearest items",
        description="""\
Find the items nearest to an item or to a vector. Every answer comes from one
commit and says which.

With --id given more than once the query is the mean of these items, as for a
user's history; the items themselves are left out of the answer. A .npy file of
shape (n, D) asks n queries at once.""",
        example="""\
streamlsh search items.index --id light_up -k 5 --attributes
streamlsh search items.index --id troll --id team --json
streamlsh search items.index --vector query.npy -k 10 --json""",
    )
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument(
        "--id",
        metavar="ID",
        dest="ids",
        action="append",
        help="neighbours of this item; may be given more than once",
    )
    query.add_argument(
        "--vector", metavar="FILE.npy", help="neighbours of this vector (D,) or these (n, D)"
    )
    parser.add_argument(
        "-k", metavar="K", type=int, default=10, help="how many neighbours (default: 10)"
    )
    parser.add_argument(
        "--exact", action="store_true", help="score every item instead of looking in the buckets"
    )
    parser.add_argument(
        "--attributes", action="store_true", help="show the attributes of what was found"
    )


def _get(commands: Commands) -> None:
    parser = _command(
        commands,
        "get",
        "querying:get",
        usage="PATH ID [--json]",
        summary="show one item",
        description="Show what the index holds of one item: version, tags, attributes, vector.",
        example="streamlsh get items.index light_up --json",
    )
    parser.add_argument("id", metavar="ID", help="the item's id")


def _info(commands: Commands) -> None:
    _command(
        commands,
        "info",
        "inspecting:info",
        usage="PATH [--json]",
        summary="show what an index is and how full it is",
        description="""\
Show an index's configuration, its counts, its commit and the positions of the
sources that it follows.""",
        example="streamlsh info items.index",
    )


def _verify(commands: Commands) -> None:
    _command(
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


def _digest(commands: Commands) -> None:
    _command(
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


def _export(commands: Commands) -> None:
    parser = _command(
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


def _warm(commands: Commands) -> None:
    _command(
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
