# SPDX-License-Identifier: Apache-2.0
"""Losses by name, one file each; `loss.py` says what a loss is."""
