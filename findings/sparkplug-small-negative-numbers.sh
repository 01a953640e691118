#!/bin/sh
# What a small negative number becomes between libraries of Sparkplug B, the payload format of industrial MQTT:
# a metric of type Int8 with the value -1, of type Int16 with -2.
#
# One would guess: a number that one of them writes is read by each of them, and by itself, as that number. Both
# types travel in a field of 32 bits without a sign, as two's complement, so there is one way to write them.
#
# So it is: there are two ways, by the width of the field and by the width of the type, and none of the three
# reads both. sparkplug-payload 1.0.3 (npm) writes -1 as 4294967295, and reads the 255 of the others as 255.
# pysparkplug 0.3.2 (PyPI) writes 255, and refuses 4294967295 with an OverflowError. mqtt-spb-wrapper 2.1.2
# (PyPI) writes 255, and reads it as 255, too: not even its own. From Int32 on the two ways are one, and
# only mqtt-spb-wrapper still reads without a sign. So a thermometer of type Int8 or Int16 works until the first
# frost.
#
# Needs node with npm, and python3 with venv. Fails when what is seen below changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv venv
venv/bin/pip install -q pysparkplug==0.3.2 mqtt-spb-wrapper==2.1.2
npm install --silent --no-progress --no-fund --no-audit sparkplug-payload@1.0.3 >/dev/null

cat >js.js <<'JS'
const sparkplug = require("sparkplug-payload").get("spBv1.0");
const given = [["Int8", -1], ["Int16", -2], ["Int32", -3]];
if (process.argv[2] === "write") {
  const metrics = given.map(([type, value]) => ({ name: type, type, value }));
  process.stdout.write(sparkplug.encodePayload({ timestamp: 0, seq: 0, metrics }));
} else {
  const payload = sparkplug.decodePayload(require("fs").readFileSync(0));
  console.log(payload.metrics.map((metric) => metric.value).join(" "));
}
JS

cat >py.py <<'PY'
import sys

import pysparkplug
from mqtt_spb_wrapper import spb_protobuf as wrapper

given = [("Int8", -1), ("Int16", -2), ("Int32", -3)]
library, task = sys.argv[1:]


def read_strictly(metric):
    kind = pysparkplug.DataType(metric.datatype)
    try:
        return kind.decode(getattr(metric, kind.field))
    except OverflowError:
        return "OverflowError"


if task == "write":
    payload = wrapper.Payload()
    for name, value in given:
        kind = pysparkplug.DataType[name.upper()]
        if library == "pysparkplug":
            metric = payload.metrics.add()
            metric.name, metric.datatype = name, kind
            setattr(metric, kind.field, kind.encode(value))
        else:
            wrapper.addMetric(payload, name, None, int(kind), value)
    sys.stdout.buffer.write(payload.SerializeToString())
else:
    payload = wrapper.Payload()
    payload.ParseFromString(sys.stdin.buffer.read())
    read = {
        "field": lambda metric: metric.int_value,
        "pysparkplug": read_strictly,
        "mqtt-spb-wrapper": wrapper.getMetricValue,
    }[library]
    print(*map(read, payload.metrics))
PY

write() {
    case $1 in
    sparkplug-payload) node js.js write ;;
    *) venv/bin/python -W ignore py.py "$1" write ;;
    esac
}
read_by() {
    case $1 in
    sparkplug-payload) node js.js read ;;
    *) venv/bin/python -W ignore py.py "$1" read ;;
    esac
}

libraries="sparkplug-payload pysparkplug mqtt-spb-wrapper"
for writer in $libraries; do
    write $writer >payload
    echo "$writer writes -1 -2 -3 as $(read_by field <payload)"
    for reader in $libraries; do
        echo "    $reader reads $(read_by $reader <payload)"
    done
done | tee seen

cat >expected <<'TEXT'
sparkplug-payload writes -1 -2 -3 as 4294967295 4294967294 4294967293
    sparkplug-payload reads -1 -2 -3
    pysparkplug reads OverflowError OverflowError -3
    mqtt-spb-wrapper reads 4294967295 4294967294 4294967293
pysparkplug writes -1 -2 -3 as 255 65534 4294967293
    sparkplug-payload reads 255 65534 -3
    pysparkplug reads -1 -2 -3
    mqtt-spb-wrapper reads 255 65534 4294967293
mqtt-spb-wrapper writes -1 -2 -3 as 255 65534 4294967293
    sparkplug-payload reads 255 65534 -3
    pysparkplug reads -1 -2 -3
    mqtt-spb-wrapper reads 255 65534 4294967293
TEXT
diff expected seen
