"""Stores: records of a corpus in verified HDF5 shards with an index, written so that a killed task loses at most its last records."""

from __future__ import annotations

from lcm.store.checking import ShardPlan
from lcm.store.dataset import Store
from lcm.store.index import Index, build_index, index_is_current, read_index, store_identity
from lcm.store.journal import Journal, read_journal
from lcm.store.paths import StorePaths, write_atomically, write_json
from lcm.store.record import Record, StoreError, check_record, checksum, item_seed
from lcm.store.shard import ShardInfo, StreamInfo, claim, verify_shard, write_shard
from lcm.store.verify import verify_store

__all__ = [
    "Index",
    "Journal",
    "Record",
    "ShardInfo",
    "ShardPlan",
    "Store",
    "StoreError",
    "StorePaths",
    "StreamInfo",
    "build_index",
    "check_record",
    "checksum",
    "claim",
    "index_is_current",
    "item_seed",
    "read_index",
    "read_journal",
    "store_identity",
    "verify_shard",
    "verify_store",
    "write_atomically",
    "write_json",
    "write_shard",
]
