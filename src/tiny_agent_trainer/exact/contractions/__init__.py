# SPDX-License-Identifier: Apache-2.0
"""Products and convolutions: operands rounded to a grid, exact sums, one rounding at the end."""
