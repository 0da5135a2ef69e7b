# SPDX-License-Identifier: Apache-2.0
"""Run, archive, restore, verify, compare and export: plain functions over the rooms below."""
