# SPDX-License-Identifier: Apache-2.0
"""Validator: from a network's predictions to a ValidationReport, by counting."""
