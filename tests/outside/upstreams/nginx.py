"""nginx before an upstream: it ends TLS."""

import os

from harness import free_port
from upstreams.node import Node, debian

MODULES = "/usr/lib/nginx/modules"

CONF = """
load_module {modules}/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log info;
{user}
events {{ worker_connections 256; }}
stream {{
{stream}
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{http}
}}
"""

STREAM = """
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {pair.cert};
        ssl_certificate_key {pair.key};
        ssl_client_certificate {ca.cert};
        ssl_verify_client on;
        proxy_pass 127.0.0.1:{behind};
    }}
"""


class Nginx(Node):
    """Has the servers that were asked for before its start; `port` is one that only tells that it is up."""

    name = "nginx"

    def __init__(self, folder):
        super().__init__(folder)
        self._stream, self._http = [], [f"    server {{ listen 127.0.0.1:{self.port}; }}\n"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @classmethod
    def version(cls):
        return debian("nginx")

    def stream(self, pair, behind, ca):
        """A port with TLS for clients with certificates, to the port behind it."""
        port = free_port()
        self._stream.append(STREAM.format(port=port, pair=pair, behind=behind, ca=ca))
        return port

    def _command(self):
        user = "user root;" if os.geteuid() == 0 else ""
        text = CONF.format(
            modules=MODULES,
            folder=self.folder,
            user=user,
            stream="".join(self._stream),
            http="".join(self._http),
        )
        conf = self.folder / "nginx.conf"
        conf.write_text(text)
        error_log = ["-e", self.folder / "error.log"]
        return ["/usr/sbin/nginx", "-p", self.folder, "-c", conf, *error_log], {}
