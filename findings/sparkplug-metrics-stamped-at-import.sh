#!/bin/sh
# The time that a metric of Sparkplug B has when the program gives none to the function that adds it.
#
# One would guess: the time at which it was added; the payload around it has that of its making.
#
# So it is: in mqtt-spb-wrapper 2.1.2 (PyPI) `spb_protobuf.addMetric` has the time at which the module was
# imported as the default of its parameter `timestamp`. All metrics of a process that leaves it out have one
# and the same time, and a gateway that has run for a week tells values of last week in payloads of now.
# What reads the payload's time sees nothing of it; what reads the metrics' takes fresh values for old ones.
#
# Needs python3 with venv. Fails when what is seen below changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mqtt-spb-wrapper==2.1.2 >&2

cat >look.py <<'PY'
import time

before = time.time()
from mqtt_spb_wrapper.spb_protobuf import MetricDataType, addMetric, getDdataPayload

after = time.time()
for n in (1, 2):
    time.sleep(2)
    payload = getDdataPayload()
    addMetric(payload, "temperature", None, MetricDataType.Float, 21.5)
    metric, now = payload.metrics[0].timestamp / 1000, time.time()
    is_import = before - 0.01 <= metric <= after + 0.01
    print(f"metric {n}: the time of the import: {is_import}; of now: {now - metric < 1}")
    print(f"payload {n}: of now: {now - payload.timestamp / 1000 < 1}")
PY
venv/bin/python -W ignore look.py | tee seen

cat >expected <<'TEXT'
metric 1: the time of the import: True; of now: False
payload 1: of now: True
metric 2: the time of the import: True; of now: False
payload 2: of now: True
TEXT
diff expected seen
