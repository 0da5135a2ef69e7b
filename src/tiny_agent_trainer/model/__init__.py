# SPDX-License-Identifier: Apache-2.0
"""Networks by name, with initial weights from our own streams. See spec.md."""
