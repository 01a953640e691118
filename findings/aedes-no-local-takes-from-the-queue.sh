#!/bin/sh
# What a persistent client of aedes, a broker for Node.js, gets of what waited for it, if it asked not
# to get its own messages back and publishes as soon as it is connected again.
#
# One would guess: all of it. That it doesn't get its own messages takes nothing from those of others.
#
# So it is: each message of its own takes one of those that still wait, the oldest without a packet
# identifier, out of the queue: aedes 1.2.0 clears its own copy in the persistence by an identifier
# that this copy doesn't have yet, and finds another's. When the turn of the one that is gone comes, it
# ends the connection with the error "no such packet". So a bridge that connects with the bridge bit
# (MQTT 3.1.1, protocol level 0x84, which aedes takes for No Local) loses what came for it during an
# outage as soon as it has something to say itself. Without the bit all of it comes.
#
# Needs node and npm. Fails when what is seen below changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-progress --save-exact \
    aedes@1.2.0 aedes-persistence@11.0.0 mqtt-packet@9.0.2 >&2

cat > look.mjs <<'JS'
import net from "node:net";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import packets from "mqtt-packet";
import { Aedes } from "aedes";

const broker = await Aedes.createBroker();
const server = net.createServer(broker.handle).listen(0, "127.0.0.1");
await once(server, "listening");

class Client {
  constructor(clientId, bridgeMode = false) {
    this.came = [];
    this.closed = false;
    this.socket = net.connect(server.address().port, "127.0.0.1");
    this.socket.on("close", () => (this.closed = true)).on("error", () => {});
    const parser = packets.parser();
    parser.on("packet", (packet) => {
      if (packet.cmd !== "publish") return;
      this.came.push(packet.payload.toString());
      if (packet.qos) this.send({ cmd: "puback", messageId: packet.messageId });
    });
    this.socket.on("data", (data) => parser.parse(data));
    const connect = { cmd: "connect", protocolId: "MQTT", protocolVersion: 4, keepalive: 60 };
    this.send({ ...connect, clean: false, clientId, bridgeMode });
  }
  send(packet) {
    if (!this.socket.destroyed) this.socket.write(packets.generate(packet));
  }
  publish(topic, n) {
    this.send({ cmd: "publish", topic, payload: String(n), qos: 1, messageId: n });
  }
}

async function look(bridgeMode) {
  const id = bridgeMode ? "bit" : "plain";
  const first = new Client(id, bridgeMode);
  await pause(300);
  first.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: `${id}/#`, qos: 1 }] });
  await pause(300);
  first.socket.destroy();
  const other = new Client(`${id}-other`);
  await pause(300);
  for (let n = 1; n <= 30; n++) other.publish(`${id}/in`, n);
  await pause(500);
  const again = new Client(id, bridgeMode);
  again.socket.on("connect", () => pause(1).then(() => {
    for (let n = 101; n <= 130; n++) again.publish(`${id}/out`, n);
  }));
  await pause(1500);
  const came = new Set(again.came.map(Number).filter((n) => n <= 30));
  const ended = again.closed ? "the connection ended" : "the connection stayed";
  console.log(`${bridgeMode ? "with" : "without"} the bit: ${came.size === 30 ? "all" : "not all"} of 30 came, ${ended}`);
  const third = new Client(id, bridgeMode);
  await pause(1000);
  for (const n of third.came.map(Number).filter((n) => n <= 30)) came.add(n);
  console.log(`connected once more: ${came.size === 30 ? "all" : "not all"} of 30 came`);
}

await look(false);
await look(true);
process.exit(0);
JS
node look.mjs >seen
cat seen
cat >expected <<'END'
without the bit: all of 30 came, the connection stayed
connected once more: all of 30 came
with the bit: not all of 30 came, the connection ended
connected once more: not all of 30 came
END
diff expected seen && echo "As it was seen: what the client itself publishes takes from what waits for it."
