# SPDX-License-Identifier: Apache-2.0
"""Measured figures, each printed next to those of a peer in the same run."""
