# SPDX-License-Identifier: Apache-2.0
"""The commands: one file per command, and the only place that prints."""
