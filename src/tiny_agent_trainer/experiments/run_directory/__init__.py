# SPDX-License-Identifier: Apache-2.0
"""A run's directory: its names, what seals it, what grows afterwards, and whether it is sound."""
