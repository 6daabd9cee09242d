"""The verb `model vet`: tries a bundle on this computer, as the agent does before a model takes over."""

import argparse

from agent.cli.interruption import Interruption
from agent.cli.options import slot_config, store_for
from agent.errors import VettingError
from agent.vet import vet_by_hand


def vet_model(args: argparse.Namespace) -> int:
    """See `agent.cli.model`: a line a check. VettingError at the first that fails, KeyboardInterrupt after Ctrl-C."""
    with Interruption() as interruption:
        try:
            vetted = vet_by_hand(
                slot_config(args),
                lambda: interruption.asked,
                lambda check, result: print(f"{check:9} {result}", flush=True),
                store=store_for(args.model, args.state_dir),
            )
        except VettingError as error:
            raise VettingError(f"not fit to serve ({error.code}): {error}", error.code) from None
        interruption.check()
    if vetted is not None:
        print(f"fit to serve: {vetted.spec.name} {vetted.spec.version}")
    return 0
