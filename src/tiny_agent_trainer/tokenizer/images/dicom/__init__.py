# SPDX-License-Identifier: Apache-2.0
"""DICOM files and series -> one `Image`. See spec.md."""
