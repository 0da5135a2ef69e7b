# SPDX-License-Identifier: Apache-2.0
"""Compiled loops: what torch's operations would round or order differently, in Numba."""
