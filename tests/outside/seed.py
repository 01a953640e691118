"""Random choices that can be repeated: the seed is printed, and pytest shows it with a failure."""

import os
import random


def seeded():
    """A generator; FOOTBRIDGE_SEED=N repeats the choices of a run (not those of the scheduler)."""
    seed = int(os.environ.get("FOOTBRIDGE_SEED", random.randrange(1 << 32)))
    print(f"FOOTBRIDGE_SEED={seed}")
    return random.Random(seed)
