"""Brokers that we did not write, as upstreams of a bridge: each started on loopback, on a port and
in a folder of its own, by one interface (`node.Node`). tests/run installs them."""

from upstreams.activemq import ActiveMQ
from upstreams.erlang import Ejabberd, RabbitMQ
from upstreams.mosquitto import Mosquitto
from upstreams.nats import Nats29, Nats215
from upstreams.small import Aedes, Amqtt, Rumqttd, Rumqttd5

ALL = (Mosquitto, RabbitMQ, Ejabberd, Nats29, Nats215, ActiveMQ, Aedes, Amqtt, Rumqttd, Rumqttd5)
