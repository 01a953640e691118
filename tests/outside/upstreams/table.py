"""The README's table of upstreams, from what the tests of this folder have found out.

    python tests/outside/upstreams/table.py            writes it to standard output
    python tests/outside/upstreams/table.py --check    fails where README.md says otherwise
    python tests/outside/upstreams/table.py --versions names the upstreams

Each test that learns something about an upstream keeps it in target/upstreams (fixture `record` in
conftest.py). The README has the table between two comments, MARKS.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import ROOT  # noqa: E402
from upstreams import ALL  # noqa: E402
from upstreams.findings import FINDINGS  # noqa: E402

MARKS = ("<!-- upstreams: tests/outside/upstreams/table.py -->", "<!-- /upstreams -->")

TITLES = (
    "upstream",
    "by default",
    "QoS 0, 1, 2 up",
    "QoS 0, 1, 2 down",
    "what it loses or changes",
    "what footbridge does",
)

#: The messages of test_outward.py in words.
WORDS = {
    "qos2": "QoS 2",
    "blank": "a blank in a topic",
    "dot": "a dot in a topic",
    "comma": "a comma in a topic",
    "levels": "200 levels",
    "big": "30 KB",
    "dollar": "`$…` topics",
}

#: Names that nobody may publish to, and what the upstream makes of them.
FORBIDDEN = {"control": "control characters", "delete": "DEL", "nonchar": "non-characters"}


def findings(kind):
    folder = FINDINGS / kind.__name__
    return {f.stem: json.loads(f.read_text()) for f in folder.glob("*.json")}


def missing(found):
    """What the run did not get to the end of."""
    wanted = {f"moves-{qos}" for qos in (0, 1, 2)} | {"retained", "kept", "left"}
    wanted |= {f"outward-{word}" for word in WORDS}
    return sorted(key for key in wanted if not found.get(key) and found.get(key) != 0)


def qos(found, direction):
    """With which QoS messages of each QoS arrive: up, or down."""
    each = (found.get(f"arrives-{n}") for n in (0, 1, 2))
    return ", ".join(" or ".join(map(str, a[direction])) if a else "?" for a in each)


def by_default(found):
    moves = [found.get(f"moves-{n}") for n in (0, 1, 2)]
    if not any(moves):
        return "nothing moves"
    spoken = found.get("spoken", "?")
    return spoken if all(moves) else f"{spoken}, not each QoS"


def losses(found):
    """What the upstream loses or changes, as (what, what footbridge does about it)."""
    if found.get("kept") is False:
        yield "what comes while the bridge is away", "warns"
    if left := found.get("left"):
        if left[0] < left[1]:
            yield "with kill -9 what it has acknowledged", "sends retained values again"
    retained = found.get("retained", {})
    if not retained.get("wildcard", True):
        yield "retained values for a wildcard", ""
    if not retained.get("live", True):
        yield "the retain flag of what comes live", ""
    for key, word in WORDS.items():
        yield from outward(word, found.get(f"outward-{key}", ""))
    yield from inward(found)


def outward(word, outcome):
    if outcome == "refused":
        yield f"closes on {word}", "puts the message aside, names it"
    elif outcome == "acknowledged, lost":
        yield f"acknowledges and loses {word}", ""
    elif word == "QoS 2" and outcome != "QoS 2" and outcome:
        yield "QoS 2", f"sends {outcome}"
    elif ", as " in outcome:
        yield f"{word}: `{outcome.partition(', as ')[2]}`", ""


def inward(found):
    star = found.get("inward-star", {}).get("delivered as")
    if star not in (None, "a*b"):
        yield f"`a*b` comes as `{star}`", "drops it, names it"
    names = {key: found.get(f"inward-{key}", {}).get("delivered as") for key in FORBIDDEN}
    delivered = [FORBIDDEN[key] for key, name in names.items() if name]
    if delivered:
        yield f"delivers {', '.join(delivered)} in topics", "drops them, names them"


def row(kind):
    found = findings(kind)
    if "moves-0" not in found:
        return line([kind.title(), "not tried", "", "", "", ""])
    lost = list(losses(found))
    changes = "; ".join(what for what, _ in lost) or "nothing"
    does = list(dict.fromkeys(answer for _, answer in lost if answer))
    without = list(dict.fromkeys(w for n in (0, 1, 2) for w in found.get(f"without-{n}", [])))
    if without:
        does.insert(0, f"does without {', '.join(without)}")
    does = "; ".join(does)
    cells = [kind.title(), by_default(found), qos(found, 0), qos(found, 1)]
    return line([*cells, changes, does])


def line(cells):
    return f"| {' | '.join(cells)} |"


def table():
    return "\n".join([line(TITLES), "|---" * len(TITLES) + "|", *map(row, ALL)])


def check():
    """Whether the README has this very table."""
    _, opened, rest = (ROOT / "README.md").read_text().partition(MARKS[0])
    text, closed, _ = rest.partition(MARKS[1])
    return bool(opened and closed) and text.strip() == table()


def main(arguments):
    if arguments == ["--versions"]:
        print(", ".join(kind.title() for kind in ALL))
        return 0
    if arguments == ["--check"]:
        gaps = [f"{kind.name}: no {', '.join(m)}" for kind in ALL if (m := missing(findings(kind)))]
        print("\n".join(gaps))
        if gaps or not check():
            print("README.md: the table of upstreams is not that of this run:\n" + table())
            return 1
        return 0
    if arguments:
        print(__doc__)
        return 2
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
