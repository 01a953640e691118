import pytest

from certs import Authority
from clients import Client
from harness import IS_FOOTBRIDGE, MOSQUITTO, Broker, free_port
from link import Link
from volume import Volume


def pytest_configure(config):
    config.addinivalue_line("markers", "footbridge: what only footbridge does")


def drives_others(item):
    """Whether its module runs brokers and proxies that others wrote."""
    theirs = (getattr(value, "__module__", None) or "" for value in vars(item.module).values())
    return any(module.split(".")[0] == "upstreams" for module in theirs)


def pytest_collection_modifyitems(config, items):
    for item in items:
        if drives_others(item):
            # What they do wrong once in a hundred starts is not for these tests to find; it is told as
            # RERUN all the same.
            item.add_marker(pytest.mark.flaky(reruns=1))
    if not IS_FOOTBRIDGE:
        theirs = [i for i in items if i.get_closest_marker("footbridge")]
        config.hook.pytest_deselected(items=theirs)
        items[:] = [i for i in items if i not in theirs]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of what each of its brokers logged."""
    report = yield
    if report.failed:
        for name, broker in getattr(item, "brokers", []):
            report.sections.append((f"log of {name}", broker.log()[-4000:]))
    return report


@pytest.fixture
def make_broker(tmp_path, request):
    """Starts brokers under test: `make_broker(config, durable=False)`."""
    yield from _makers(tmp_path, request, "broker", None)


@pytest.fixture
def make_upstream(tmp_path, request):
    """Starts Mosquittos for bridges to connect to."""
    yield from _makers(tmp_path, request, "upstream", MOSQUITTO)


def _makers(tmp_path, request, name, binary):
    request.node.brokers = getattr(request.node, "brokers", [])
    made = []

    def make(config="", *, start=True, **options):
        broker = Broker(tmp_path / f"{name}{len(made)}", config, binary=binary, **options)
        made.append(broker)
        request.node.brokers.append((f"{name}{len(made) - 1}", broker))
        return broker.start() if start else broker

    yield make
    died = [b.log() for b in made if b.process is not None and not b.alive()]
    for broker in made:
        broker.cleanup()
    assert not died, f"a broker died:\n{died[0]}"


@pytest.fixture
def broker(make_broker):
    """A broker that allows all and keeps nothing."""
    return make_broker()


@pytest.fixture
def make_site(make_broker):
    """Starts brokers with the status page: `make_site(rest="connection …")`; at `url` and `web_port`."""

    def make(listener="", rest="", **options):
        port = free_port()
        lines = f"sys_interval 1\nlistener {port} 127.0.0.1\nprotocol http\n{listener}\n{rest}"
        broker = make_broker(lines, **options)
        broker.web_port = port
        broker.url = f"http://127.0.0.1:{port}/"
        return broker

    return make


@pytest.fixture
def ca(tmp_path):
    """A CA, and what it has signed."""
    return Authority(tmp_path)


@pytest.fixture
def secure(make_broker):
    """A broker with a plain listener and one with TLS: `secure(pair, lines)`; its port is `tls_port`."""

    def make(pair, lines="", config="", **options):
        port = free_port()
        text = f"{config}\nlistener {port} 127.0.0.1\n{pair.lines()}\n{lines}"
        broker = make_broker(text, **options)
        broker.tls_port = port
        return broker

    return make


@pytest.fixture
def client():
    """Connects paho clients: `client(port, id, …)`, see clients.Client."""
    made = []

    def make(*arguments, **options):
        made.append(Client(*arguments, **options))
        return made[-1]

    yield make
    for c in made:
        c.close()


@pytest.fixture
def link():
    """Makes links that can be cut: `link(port_behind_it)`."""
    made = []

    def make(port):
        made.append(Link(port))
        return made[-1]

    yield make
    for one in made:
        one.cut()


@pytest.fixture
def make_volume():
    """Mounts small filesystems: `make_volume(folder, "tmpfs", "8m")`."""
    made = []

    def make(folder, kind="tmpfs", **options):
        made.append(getattr(Volume, kind)(folder, **options))
        return made[-1]

    yield make
    for volume in made:
        volume.close()
