"""``tune``, ``create``, ``load`` and ``calibrate``."""

from __future__ import annotations

from streamlsh.cli.lines.command import Commands, command

_METRIC = "how nearness is measured: cosine, inner_product or euclidean (default: cosine)"
_VECTORS = "a .npy file, or .jsonl or .parquet as load reads them"


def tune(commands: Commands) -> None:
    """Add ``tune``."""
    parser = command(
        commands,
        "tune",
        "tuning:tune",
        usage="SAMPLE --items N [--recall R] [--metric M] [options]",
        summary="find the index to make, from a sample of the data",
        description="""\
Find out which hash family and parameters reach a recall at the least cost, for N
items like those of the sample: how many tables (OR) of how many joined hashes (AND),
how many items a bucket then holds, how many candidates a query scores, what the index
takes on disk and in memory. Says so when plain scanning is the better answer.

Some rows of the sample are held out as queries. Small indexes of the rest are made
in a temporary directory and searched in many ways; one half of the queries chooses,
the other half checks. What grows with the number of items is scaled to N. Costs come
from counts, not from the clock, so the same sample gives the same answer. Takes about
a minute for 20,000 rows of 384 numbers; of a larger sample 50,000 rows are looked at.""",
        example="""\
streamlsh tune vectors.npy --items 1000000 --recall 0.95
streamlsh tune vectors.npy --items 1000000 --recall 0.95 --plot tuning.svg
streamlsh tune vectors.npy --items 50000 --metric euclidean --bucket-size 100 --json""",
        path=False,
    )
    parser.add_argument(
        "sample", metavar="SAMPLE", help="vectors like those to be indexed: " + _VECTORS
    )
    parser.add_argument(
        "--items", metavar="N", type=int, required=True, help="how many items there will be"
    )
    parser.add_argument(
        "--recall",
        metavar="R",
        type=float,
        default=0.95,
        help="share of the true ten nearest to be found, below 1 (default: 0.95)",
    )
    parser.add_argument("--metric", metavar="M", default="cosine", help=_METRIC)
    parser.add_argument(
        "--bucket-size",
        metavar="C",
        type=float,
        help="only parameters with which a bucket holds C entries on average, or up to twice as "
        "many or few",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE.svg",
        help="draw recall against cost, and predicted against measured recall; needs matplotlib "
        "(pip install 'streamlsh[plot]')",
    )


def create(commands: Commands) -> None:
    """Add ``create``."""
    parser = command(
        commands,
        "create",
        "building:create",
        usage="PATH --dim D [options]",
        summary="make an empty index",
        description="""\
Make an empty index. Dimension, metric and hash family are fixed for its life: an
item's buckets depend on nothing but its own vector and the family, so updates
need no rebuild. streamlsh tune finds out which family and parameters to take.

  voronoi        every metric: cells found in a sample of the data, which it needs
  crosspolytope  cosine: the nearest axis after random rotations
  hyperplane     cosine: on which side of random planes
  pstable        Euclidean distance: random projections in steps of a bucket length

With --sample the family is voronoi, unless another is named: it takes the fewest
candidates. Without, it is crosspolytope under cosine and pstable under Euclidean
distance (which then needs --bucket-length); inner product always takes a sample.
Some ten thousand rows make a good one.""",
        example="""\
streamlsh create items.index --dim 384 --metric cosine
streamlsh create items.index --dim 384 --metric cosine --sample vectors.npy
streamlsh create items.index --dim 64 --metric euclidean --bucket-length 2.5""",
    )
    parser.add_argument(
        "--dim", metavar="D", type=int, required=True, help="the length of every vector"
    )
    parser.add_argument("--metric", metavar="M", default="cosine", help=_METRIC)
    parser.add_argument("--family", metavar="F", help="the hash family, as above")
    parser.add_argument(
        "--sample", metavar="FILE", help="vectors of length D to fit the family to; " + _VECTORS
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="seed of the family; the same seed and sample give the same family (default: 0)",
    )
    for name, kind, text in (
        ("--tables", int, "all but voronoi: number of hash tables"),
        ("--axes", int, "crosspolytope: axes of a table"),
        ("--bits", int, "hyperplane: bits of a bucket's code"),
        ("--hashes", int, "pstable: projections that are joined to a table's key"),
        ("--cells", int, "voronoi: number of cells"),
    ):
        parser.add_argument(name, metavar="N", type=kind, help=text)
    parser.add_argument(
        "--bucket-length",
        metavar="W",
        type=float,
        help="pstable: length of a bucket, in the unit of the vectors (default: from the sample)",
    )
    parser.add_argument(
        "--vectors",
        metavar="FILE.npy",
        help="pstable: the projections of a trained model, such as Spark's "
        "BucketedRandomProjectionLSH, one row each",
    )
    parser.add_argument(
        "--map-size",
        metavar="BYTES",
        type=int,
        help="address space to reserve, the most the index may grow to (default: 256 GiB)",
    )
    parser.add_argument(
        "--delete-retention",
        metavar="SECONDS",
        type=float,
        help="how long the versions of deleted ids are remembered (default: 7 days)",
    )


def load(commands: Commands) -> None:
    """Add ``load``."""
    parser = command(
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


def calibrate(commands: Commands) -> None:
    """Add ``calibrate``."""
    parser = command(
        commands,
        "calibrate",
        "tuning:calibrate",
        usage="PATH [--queries FILE] [--json]",
        summary="measure which recall an index reaches at which cost",
        description="""\
Measure on the index how many buckets and re-ranked candidates reach which recall at
which cost, and store the table in it. From then on a search with --recall takes the
cheapest way that reaches it, or the scan of all sketches where that is cheaper.
Without a calibration a recall is reached by scanning.

Do it when the index is loaded, and again when it has grown severalfold or holds
another kind of items. Nothing else is written; readers and a writer may go on.
The queries are items of the index, each searched without itself. If those that will
be asked are not like the items, as users' vectors are, give some thousand of them
with --queries: fifty at least, and not those that the result is judged by.""",
        example="""\
streamlsh calibrate items.index
streamlsh calibrate items.index --queries users.npy""",
    )
    parser.add_argument(
        "--queries", metavar="FILE", help="vectors like those that will be asked: " + _VECTORS
    )
