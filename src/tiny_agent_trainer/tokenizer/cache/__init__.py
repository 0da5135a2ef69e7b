# SPDX-License-Identifier: Apache-2.0
"""What was decoded and prepared once, kept for the next run."""
