"""``search`` and ``get``."""

from __future__ import annotations

from streamlsh.cli.lines.command import Commands, command


def search(commands: Commands) -> None:
    """Add ``search``."""
    parser = command(
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
shape (n, D) asks n queries at once.

--recall takes the cheapest way that streamlsh calibrate found to reach it. The last
line says how the answer was found, what recall is to be expected, and why.

--tag keeps only items that carry a tag. Given more than once, an item must satisfy
each; several tags after one --tag are alternatives. So this asks for red or blue
items in stock:

  --tag in-stock --tag red blue""",
        example="""\
streamlsh search items.index --id light_up -k 5 --attributes
streamlsh search items.index --id troll --id team --exclude trolley --json
streamlsh search items.index --id light_up --recall 0.98 --tag in-stock --tag red blue
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
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument(
        "--recall",
        metavar="R",
        type=float,
        help="share of the true neighbours to be found, above 0 and up to 1 (default: 0.95)",
    )
    effort.add_argument(
        "--exact", action="store_true", help="score every vector, as --recall 1 does"
    )
    parser.add_argument(
        "--tag",
        metavar="TAG",
        dest="tags",
        action="append",
        nargs="+",
        default=[],
        help="only items with this tag, or with one of these; may be given more than once",
    )
    parser.add_argument(
        "--exclude",
        metavar="ID",
        action="append",
        default=[],
        help="leave this item out; may be given more than once",
    )
    parser.add_argument(
        "--attributes", action="store_true", help="show the attributes of what was found"
    )


def get(commands: Commands) -> None:
    """Add ``get``."""
    parser = command(
        commands,
        "get",
        "querying:get",
        usage="PATH ID [--json]",
        summary="show one item",
        description="Show what the index holds of one item: version, tags, attributes, vector.",
        example="streamlsh get items.index light_up --json",
    )
    parser.add_argument("id", metavar="ID", help="the item's id")
