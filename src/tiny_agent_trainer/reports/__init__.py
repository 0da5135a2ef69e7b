# SPDX-License-Identifier: Apache-2.0
"""Reports: records in, bytes out, by pure functions that need nothing but plain Python."""
