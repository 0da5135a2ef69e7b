# SPDX-License-Identifier: Apache-2.0
"""A sealed run as one file, and back."""
