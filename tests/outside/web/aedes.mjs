// aedes on a port of loopback: node aedes.mjs PORT. It tells who comes, goes and subscribes.

import net from "node:net";
import { Aedes } from "aedes";

const broker = await Aedes.createBroker();
const say = (what, client, detail = "") => console.log(what, client?.id, detail);
broker.on("client", (client) => say("connected", client));
broker.on("clientDisconnect", (client) => say("gone", client));
broker.on("clientError", (client, error) => say("error", client, error.message));
broker.on("connectionError", (client, error) => say("connection error", client, error.message));
broker.on("subscribe", (subscriptions, client) => say("subscribe", client, subscriptions));
net.createServer(broker.handle).listen(Number(process.argv[2]), "127.0.0.1");
