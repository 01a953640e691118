"""tinyproxy between a site and its upstream: a proxy that does CONNECT."""

from upstreams.node import Node, debian

CONF = """
Port {port}
Listen 127.0.0.1
Timeout 600
MaxClients 20
Allow 127.0.0.1
LogLevel Connect
{lines}
"""


class Tinyproxy(Node):
    """`lines` say who may go where: BasicAuth, ConnectPort."""

    name = "tinyproxy"

    def __init__(self, folder, *lines):
        super().__init__(folder)
        self._config = folder / "tinyproxy.conf"
        self._config.write_text(CONF.format(port=self.port, lines="\n".join(lines)))

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    @classmethod
    def version(cls):
        return debian("tinyproxy-bin")

    def _command(self):
        return ["/usr/bin/tinyproxy", "-d", "-c", self._config], {}
