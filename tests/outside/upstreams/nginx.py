"""nginx before an upstream: it ends TLS, for MQTT as it is and for WebSocket."""

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
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{http}
}}
"""

OWN = """
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {pair.cert};
        ssl_certificate_key {pair.key};
        ssl_client_certificate {ca.cert};
"""

STREAM = """
    server {{
        {own}
        ssl_verify_client on;
        proxy_pass 127.0.0.1:{behind};
    }}
"""

WEB = """
    server {{
        {own}
        ssl_verify_client optional;
        server_name localhost;
        location /mqtt {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
            proxy_read_timeout {idle}s;
        }}
        location /closed {{ return 403; }}
        location /moved {{ return 301 https://localhost/elsewhere; }}
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
        own = OWN.format(port=port, pair=pair, ca=ca)
        self._stream.append(STREAM.format(own=own, behind=behind))
        return port

    def web(self, pair, behind, ca, idle=60):
        """A port for WebSocket with TLS, at /mqtt, to the port behind it; it closes what is `idle` for so
        many seconds."""
        port = free_port()
        own = OWN.format(port=port, pair=pair, ca=ca)
        self._http.append(WEB.format(own=own, behind=behind, idle=idle))
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
