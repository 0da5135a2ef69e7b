# SPDX-License-Identifier: Apache-2.0
"""Optimisers by name, one file each; `optimizer.py` says what an optimiser is."""
