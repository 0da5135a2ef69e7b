# SPDX-License-Identifier: Apache-2.0
"""Tables of labels become labels of images. See spec.md."""
