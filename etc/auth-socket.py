#!/usr/bin/env python3
"""An example of a program behind auth_socket, see footbridge-auth-socket(5): auth-socket.py SOCKET USERS
USERS has lines such as `ann:secret:topic read a/#,topic write up/ann`. After SIGHUP it is read again,
and whose line has changed or is gone is asked about anew."""
import hmac, json, os, signal, socketserver, sys
SOCKET, USERS = sys.argv[1:]
users, brokers = {}, []
def say(broker, words):
    broker.wfile.write(json.dumps(words).encode() + b"\n")
def read(*_):
    before = dict(users)
    users.clear()
    users.update(line.rstrip("\n").split(":", 1) for line in open(USERS) if ":" in line)
    for name in [name for name, line in before.items() if users.get(name) != line]:
        for broker in brokers:
            say(broker, {"revoke": {"username": name}})
class Broker(socketserver.StreamRequestHandler):
    def handle(self):
        brokers.append(self)
        for question in map(json.loads, self.rfile):
            password, _, acl = users.get(question.get("username"), "").partition(":")
            given = question.get("password", "")
            known = password and hmac.compare_digest(password.encode(), given.encode())
            rights = {"answer": "allow", "acl": acl.split(",") if acl else []} if known else {"answer": "deny"}
            say(self, {"id": question["id"], **rights})
    def finish(self):
        brokers.remove(self)
read(), signal.signal(signal.SIGHUP, read), os.umask(0o117)
if os.path.exists(SOCKET): os.unlink(SOCKET)
socketserver.ThreadingUnixStreamServer(SOCKET, Broker).serve_forever()
