"""RabbitMQ and NATS in clusters of three, on loopback."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from harness import free_port
from upstreams.erlang import RabbitMQ
from upstreams.nats import Nats215

RABBITMQ_CONF = """
mqtt.durable_queue_type = quorum
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
"""

NATS_CONF = """
server_name: node{number}
listen: 127.0.0.1:{inner}
jetstream: {{ store_dir: "{folder}/jetstream" }}
mqtt: {{ listen: 127.0.0.1:{port}, stream_replicas: 3 }}
cluster: {{ name: upstream, listen: 127.0.0.1:{own}, routes: [{routes}] }}
"""


class Cluster:
    """Three nodes: `start`, and `stop`, `kill`, `freeze` and `mend` of one of them."""

    kind = None

    def __init__(self, folder):
        self.nodes = [self.kind(folder / f"node{n}") for n in range(3)]
        self._frozen = set()
        self._join()

    def _join(self):
        raise NotImplementedError

    def start(self):
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda node: node.start(), self.nodes))
        return self

    @property
    def ports(self):
        return [node.port for node in self.nodes]

    def stop(self, number):
        self.nodes[number].stop()

    def kill(self, number):
        self.nodes[number].kill()

    def freeze(self, number):
        self._signal(number, signal.SIGSTOP)
        self._frozen.add(number)

    def mend(self, number):
        if number in self._frozen:
            self._frozen.remove(number)
            self._signal(number, signal.SIGCONT)
        elif self.nodes[number].process is None:
            self.nodes[number].start()

    def _signal(self, number, which):
        os.killpg(self.nodes[number].process.pid, which)

    def close(self):
        for number in list(self._frozen):
            self.mend(number)
        for node in self.nodes:
            node.close()

    def log(self):
        return "\n".join(f"== {node.port}\n{node.log()[-6000:]}" for node in self.nodes)


class RabbitMQNode(RabbitMQ):
    def _command(self):
        command, environment = super()._command()
        arguments = environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
        environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] = (
            f"{arguments} -kernel net_ticktime 8 -setcookie upstream +S 1:1 +sbwt none"
        )
        return command, environment


class RabbitMQCluster(Cluster):
    """With quorum queues: with classic ones the session of a client is on one node only."""

    name = "RabbitMQ"
    kind = RabbitMQNode

    def _join(self):
        names = "".join(
            f"cluster_formation.classic_config.nodes.{n} = {node.node}\n"
            for n, node in enumerate(self.nodes, 1)
        )
        for node in self.nodes:
            with (node.folder / "rabbitmq.conf").open("a") as conf:
                conf.write(RABBITMQ_CONF + names)

    def start(self):
        first, *others = self.nodes
        first.map_ports()
        for node in others:
            node.map_ports(first)
        # One after the other: a node does not join one that is joining itself.
        for node in self.nodes:
            node.start()
        return self


class NatsCluster(Cluster):
    name = "NATS"
    kind = Nats215

    def _join(self):
        own = [free_port() for _ in self.nodes]
        routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in own)
        for number, node in enumerate(self.nodes):
            text = NATS_CONF.format(
                number=number,
                inner=free_port(),
                folder=node.folder,
                port=node.port,
                own=own[number],
                routes=routes,
            )
            (node.folder / "nats.conf").write_text(text)


CLUSTERS = (RabbitMQCluster, NatsCluster)
