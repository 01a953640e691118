import json

import pytest

from harness import TARGET
from upstreams import ALL
from upstreams.site import Site
from upstreams.tap import Tap

#: What the tests have found out, for table.py: a file each.
FINDINGS = TARGET / "upstreams"


def pytest_collection_modifyitems(items):
    for item in items:
        if "upstreams" in item.path.parts:
            item.add_marker(pytest.mark.footbridge)


@pytest.fixture(scope="module", params=ALL, ids=lambda kind: kind.name.replace(" ", "-"))
def cloud(request, tmp_path_factory):
    """One upstream after the other, for all tests of a file."""
    node = request.param(tmp_path_factory.mktemp("cloud"))
    try:
        yield node.start()
    finally:
        node.close()


@pytest.fixture
def site(cloud, make_broker, client):
    """Makes a site with a bridge to the upstream: `site("topic # both 1 here/ NAME/")`, where NAME
    is the site's own."""
    made = []

    def make(topic, **options):
        made.append(Site(cloud, client, make_broker, topic, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def tap(cloud):
    """A link to the upstream that can be cut, and reads along."""
    made = Tap(cloud.bridge_port)
    yield made
    made.cut()


@pytest.fixture
def record(cloud):
    """Keeps a finding about the upstream: `record("key", value)`."""

    def keep(key, value):
        folder = FINDINGS / type(cloud).__name__
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{key}.json").write_text(json.dumps(value))

    return keep


@pytest.fixture(autouse=True)
def their_log(cloud, request):
    """A failed test shows what the upstream logged, too."""
    request.node.brokers = getattr(request.node, "brokers", [])
    request.node.brokers.append((cloud.name, cloud))
