"""ActiveMQ, with the MQTT connector that Debian's own configuration leaves out."""

from upstreams.node import Node, Traits, debian

HOME = "/usr/share/activemq"
#: What the connector needs and HOME lacks.
JARS = ("mqtt-client", "hawtdispatch", "hawtdispatch-transport")

CONF = """
<beans xmlns="http://www.springframework.org/schema/beans"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans
    http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
    http://activemq.apache.org/schema/core
    http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" useJmx="false" brokerName="upstream"
    dataDirectory="{folder}/data">
    <persistenceAdapter><kahaDB directory="{folder}/data/kahadb"/></persistenceAdapter>
    <transportConnectors>
      <transportConnector name="mqtt" uri="mqtt://127.0.0.1:{port}"/>
    </transportConnectors>
  </broker>
</beans>
"""


class ActiveMQ(Node):
    name = "ActiveMQ"
    traits = Traits(keeps_retained=False)

    def __init__(self, folder):
        super().__init__(folder)
        self._config = folder / "activemq.xml"
        self._config.write_text(CONF.format(port=self.port, folder=folder).lstrip())

    @classmethod
    def version(cls):
        return debian("activemq")

    def _command(self):
        jars = ":".join(f"/usr/share/java/{jar}.jar" for jar in JARS)
        command = ["java", "-Xmx256M", "-XX:TieredStopAtLevel=1"]
        command += [f"-Dactivemq.home={HOME}", f"-Dactivemq.base={self.folder}"]
        command += [f"-Dactivemq.data={self.folder}/data", f"-Dactivemq.classpath={jars}"]
        command += ["-jar", f"{HOME}/bin/activemq.jar", "start", f"xbean:file:{self._config}"]
        return command, {}
