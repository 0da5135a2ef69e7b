# SPDX-License-Identifier: Apache-2.0
"""From a decoded image to the integers that training starts from."""
