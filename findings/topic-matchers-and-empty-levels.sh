#!/bin/sh
# Client libraries that match topics against filters themselves.
#
# One would guess: a package whose purpose is MQTT filters decides as a broker does. An empty level
# is a level, so "+/+" matches "/a", "a/+/b" matches "a//b", and "foo/+" matches "foo/"
# (MQTT 5.0 section 4.7.1.3, with "/finance" as its example), while "+" doesn't match "a/".
#
# So it is: mqtt-pattern 2.1.0 and mqtt-regex 1.1.0 (npm) let "+" stand for one character or more. A
# message on a topic that begins or ends with "/", or has "//" in it, comes from the broker by such a
# subscription, and the application behind the matcher never sees it. mqtt-regex besides takes "+" as
# a match for "a/": the last slash is optional to it. mqtt-match 3.0.0 and mqtt-emitter 4.1.0 decide
# as the specification does for these. A topic with an empty level that is said to be lost is thus not
# always lost by the broker.
#
# Needs node and npm. Fails when what is seen below changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json
npm install --silent --ignore-scripts --no-audit --no-fund \
    mqtt-pattern@2.1.0 mqtt-regex@1.1.0 mqtt-match@3.0.0 mqtt-emitter@4.1.0 >&2

cat > look.cjs <<'JS'
const cases = [
  ["+/+", "/a", true], ["/+", "/", true], ["a/+/b", "a//b", true], ["foo/+", "foo/", true],
  ["+", "a/", false], ["+", "a", true], ["foo/#", "foo", true],
];
const pattern = require("mqtt-pattern");
const regex = require("mqtt-regex");
const Emitter = require("mqtt-emitter");
(async () => {
  const loaded = await import("mqtt-match");
  const match = typeof loaded.default === "function" ? loaded.default : loaded.default.default;
  const matchers = {
    "mqtt-pattern": (filter, topic) => pattern.matches(filter, topic),
    "mqtt-regex": (filter, topic) => regex(filter).regex.test(topic),
    "mqtt-match": (filter, topic) => match(filter, topic),
    "mqtt-emitter": (filter, topic) => {
      const emitter = new Emitter();
      let seen = false;
      emitter.on(filter, () => { seen = true; });
      emitter.emit(topic, "x");
      return seen;
    },
  };
  for (const [name, matches] of Object.entries(matchers)) {
    const wrong = cases
      .filter(([filter, topic, right]) => Boolean(matches(filter, topic)) !== right)
      .map(([filter, topic]) => `${filter} on ${topic}`);
    console.log(`${name}: ${wrong.join(", ") || "as specified"}`);
  }
})();
JS
cat > expected <<'END'
mqtt-pattern: +/+ on /a, /+ on /, a/+/b on a//b, foo/+ on foo/
mqtt-regex: +/+ on /a, /+ on /, a/+/b on a//b, foo/+ on foo/, + on a/
mqtt-match: as specified
mqtt-emitter: as specified
END
node look.cjs | tee seen
diff expected seen && echo "As it was seen: the first two differ from the specification there."
