# SPDX-License-Identifier: Apache-2.0
"""Samples that should stand in one split and do not. See spec.md."""
