"""What the tests find out about an upstream, in a file each, for table.py."""

import json

from harness import TARGET

FINDINGS = TARGET / "upstreams"


def keep(kind, key, value):
    """`kind` is the upstream's class."""
    folder = FINDINGS / kind.__name__
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{key}.json").write_text(json.dumps(value))
