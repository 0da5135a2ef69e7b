# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every benchmark, one after the other; each prints ratios against a peer."""

import runpy

BENCHMARKS = (
    "ledger_write",
    "archive_vs_tar",
    "training_overhead",
    "exact_vs_float32",
    "shard_memory",
    "data_path",
)

for name in BENCHMARKS:
    print(f"== {name}", flush=True)
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
