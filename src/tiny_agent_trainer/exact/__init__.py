# SPDX-License-Identifier: Apache-2.0
"""Arithmetic whose results do not depend on the machine. See spec.md."""
