# SPDX-License-Identifier: Apache-2.0
"""Random changes of training images."""
