# SPDX-License-Identifier: Apache-2.0
"""`python -m tiny_agent_trainer`: the same as the command `tiny-agent-trainer`."""

from tiny_agent_trainer.cli.main import main

if __name__ == "__main__":
    main()
