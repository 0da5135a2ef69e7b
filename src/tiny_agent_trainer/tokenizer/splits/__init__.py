# SPDX-License-Identifier: Apache-2.0
"""Which sample stands in which split. See spec.md."""
