"""Token ids in, Arrow IPC files with a manifest out; and back, by memory map. docs/data.md has the format.

`prepare` makes a set (Ray tasks), `ShardSet` reads one split of it (no Ray, no torch).
"""

from rejoinder.shards.build import Prepared, prepare, report_of
from rejoinder.shards.index import ByLength, write_index
from rejoinder.shards.manifest import MANIFEST, Manifest, fetched, read_manifest
from rejoinder.shards.shard_set import Rows, ShardSet
from rejoinder.shards.translated import translated

__all__ = [
    "MANIFEST",
    "ByLength",
    "Manifest",
    "Prepared",
    "Rows",
    "ShardSet",
    "fetched",
    "prepare",
    "read_manifest",
    "report_of",
    "translated",
    "write_index",
]
