"""Fixtures: an upstream, a site with a bridge to it."""

from functools import partial

import pytest

from upstreams import ALL
from upstreams.findings import keep
from upstreams.site import Site
from upstreams.tap import Tap


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

    return partial(keep, type(cloud))


@pytest.fixture(autouse=True)
def their_log(request):
    """A failed test shows what the upstream logged, too."""
    if "cloud" in request.fixturenames:
        cloud = request.getfixturevalue("cloud")
        request.node.brokers = getattr(request.node, "brokers", [])
        request.node.brokers.append((cloud.name, cloud))
