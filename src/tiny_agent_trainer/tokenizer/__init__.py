# SPDX-License-Identifier: Apache-2.0
"""Files -> samples -> splits -> arrays -> augmented tokens -> batches. See spec.md."""
