//! The options that `footbridge pub` and `footbridge sub` share, spelled as mosquitto_pub(1) and
//! mosquitto_sub(1) have them. Their `-h` is the host and their `-D` takes several words, so the
//! words are read by hand.

use std::time::Duration;

use super::Error;
use super::client::Target;
use super::property::Properties;
use super::words::Words;
use crate::mqtt::{Connect, Property, Props, QoS, TopicName, Version, Will};

/// For a TCP connection to an address, and for the CONNACK.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What footbridge's client has no means for. To ignore it would be to send in the clear, or
/// elsewhere, what should not go there.
const UNABLE: [(&str, &str); 18] = [
    ("--cafile", "TLS"),
    ("--capath", "TLS"),
    ("--cert", "TLS"),
    ("--key", "TLS"),
    ("--keyform", "TLS"),
    ("--ciphers", "TLS"),
    ("--tls-version", "TLS"),
    ("--tls-alpn", "TLS"),
    ("--tls-engine", "TLS"),
    ("--tls-engine-kpass-sha1", "TLS"),
    ("--tls-use-os-certs", "TLS"),
    ("--insecure", "TLS"),
    ("--psk", "TLS"),
    ("--psk-identity", "TLS"),
    ("--proxy", "a proxy"),
    ("--unix", "a Unix socket"),
    ("--ws", "WebSockets"),
    ("-S", "SRV records"),
];

/// The will on the command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct WillOptions {
    topic: Option<String>,
    payload: Option<String>,
    qos: Option<QoS>,
    retain: bool,
}

/// What both commands need to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientOptions {
    /// Where the broker is.
    pub target: Target,
    /// `-q`, for publishes and subscriptions.
    pub qos: QoS,
    /// `-t` and the topic of `-L`.
    pub topics: Vec<String>,
    /// No error messages.
    pub quiet: bool,
    /// `-D`.
    pub properties: Properties,
    version: Option<Version>,
    client_id: Option<String>,
    keep_alive: u16,
    clean: bool,
    username: Option<String>,
    password: Option<String>,
    session_expiry: Option<u32>,
    has_properties: bool,
    will: WillOptions,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            target: Target {
                host: "localhost".to_owned(),
                port: 1883,
                bind: None,
                timeout: CONNECT_TIMEOUT,
                trace: false,
            },
            qos: QoS::AtMostOnce,
            topics: Vec::new(),
            quiet: false,
            properties: Properties::default(),
            version: None,
            client_id: None,
            keep_alive: 60,
            clean: true,
            username: None,
            password: None,
            session_expiry: None,
            has_properties: false,
            will: WillOptions::default(),
        }
    }
}

impl ClientOptions {
    /// Takes `option` and its values.
    ///
    /// # Errors
    /// It is unknown, its value is wrong, or it asks for something that the client can't do.
    pub(super) fn take(&mut self, option: &str, words: &mut Words<'_>) -> Result<(), Error> {
        match option {
            "-h" | "--host" => self.target.host = words.value(option)?.to_owned(),
            "-p" | "--port" => self.target.port = words.number(option, 1, u16::MAX)?,
            "-A" => self.target.bind = Some(words.value(option)?.to_owned()),
            "-L" | "--url" => self.url(words.value(option)?)?,
            "-t" | "--topic" => self.topics.push(words.value(option)?.to_owned()),
            "-q" | "--qos" => self.qos = qos(option, words)?,
            "-i" | "--id" => self.client_id = Some(words.value(option)?.to_owned()),
            "-I" | "--id-prefix" => {
                self.client_id = Some(format!("{}{}", words.value(option)?, std::process::id()));
            }
            "-k" | "--keepalive" => self.keep_alive = words.number(option, 5, u16::MAX)?,
            "-c" | "--disable-clean-session" => self.clean = false,
            "-x" | "--session-expiry-interval" => {
                self.session_expiry = Some(session_expiry(words.value(option)?)?);
            }
            "-u" | "--username" => self.username = Some(words.value(option)?.to_owned()),
            "-P" | "--pw" => self.password = Some(words.value(option)?.to_owned()),
            "-V" | "--protocol-version" => self.version = Some(version(words.value(option)?)?),
            "-d" | "--debug" => self.target.trace = true,
            "--quiet" => self.quiet = true,
            "-D" | "--property" => {
                self.has_properties = true;
                self.properties.take(words)?;
            }
            "--will-topic" => self.will.topic = Some(words.value(option)?.to_owned()),
            "--will-payload" => self.will.payload = Some(words.value(option)?.to_owned()),
            "--will-qos" => self.will.qos = Some(qos(option, words)?),
            "--will-retain" => self.will.retain = true,
            "--help" => return Err(Error::Help),
            // TCP_NODELAY is always set.
            "--nodelay" => {}
            _ => return Err(unknown(option)),
        }
        Ok(())
    }

    /// Checks what can only be checked together.
    ///
    /// # Errors
    /// What does not go together.
    pub fn finish(&mut self) -> Result<(), Error> {
        if self.session_expiry.is_some() || self.has_properties {
            if self.version.is_some_and(|version| version < Version::V5) {
                return usage("-x and -D need MQTT 5.0 (-V 5).");
            }
            self.version = Some(Version::V5);
        }
        if !self.clean && self.client_id.is_none() {
            return usage("You must provide a client id if you are using the -c option.");
        }
        if self.password.is_some() && self.username.is_none() && self.version() < Version::V5 {
            return usage("-P needs -u before MQTT 5.0.");
        }
        match &self.will.topic {
            Some(topic) if TopicName::new(topic).is_err() => {
                return usage("Invalid will topic, does it contain '+' or '#'?");
            }
            None if self.will != WillOptions::default() => {
                return usage("--will-payload, --will-qos and --will-retain need --will-topic.");
            }
            _ => {}
        }
        if self.version() == Version::V5
            && self
                .properties
                .connect
                .as_props()
                .session_expiry()
                .is_none()
        {
            // "Sessions will never expire": mosquitto_sub(1) on -c.
            let expiry = self.session_expiry.or((!self.clean).then_some(u32::MAX));
            if let Some(seconds) = expiry {
                self.properties
                    .connect
                    .push(Property::SessionExpiry(seconds));
            }
        }
        if self.version() == Version::V31 && self.client_id.is_none() {
            // Before 3.1.1 it must not be empty.
            self.client_id = Some(format!("footbridge_{}", std::process::id()));
        }
        Ok(())
    }

    /// The protocol version; 3.1.1 unless told otherwise.
    pub fn version(&self) -> Version {
        self.version.unwrap_or(Version::V311)
    }

    /// The CONNECT that the options ask for.
    pub fn connect_packet(&self) -> Connect<'_> {
        let will = self.will.topic.as_deref().map(|topic| Will {
            topic,
            payload: self.will.payload.as_deref().unwrap_or_default().as_bytes(),
            qos: self.will.qos.unwrap_or_default(),
            retain: self.will.retain,
            props: self.properties.will.as_props(),
        });
        Connect {
            version: self.version(),
            bridge: false,
            clean_start: self.clean,
            keep_alive: self.keep_alive,
            client_id: self.client_id.as_deref().unwrap_or_default(),
            will,
            username: self.username.as_deref(),
            password: self.password.as_deref().map(str::as_bytes),
            props: self.properties.connect.as_props(),
        }
    }

    /// The DISCONNECT properties.
    pub fn disconnect_props(&self) -> Props<'_> {
        self.properties.disconnect.as_props()
    }

    /// Takes `mqtt://[username[:password]@]host[:port]/topic` apart.
    fn url(&mut self, url: &str) -> Result<(), Error> {
        let Some(rest) = url.strip_prefix("mqtt://") else {
            if url.starts_with("mqtts://") {
                return Err(unable("mqtts://", "TLS"));
            }
            return usage(&format!(
                "-L takes mqtt://[user[:password]@]host[:port]/topic, not {url:?}."
            ));
        };
        let Some((authority, topic)) = rest.split_once('/') else {
            return usage("The URL of -L has no topic.");
        };
        let host = match authority.rsplit_once('@') {
            Some((login, host)) => {
                let (user, password) = match login.split_once(':') {
                    Some((user, password)) => (user, Some(password.to_owned())),
                    None => (login, None),
                };
                self.username = Some(user.to_owned());
                self.password = password;
                host
            }
            None => authority,
        };
        // An IPv6 address stands in brackets.
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (host, None),
        };
        if let Some(port) = port {
            self.target.port = Words::new(&[port]).number("The port of -L", 1, u16::MAX)?;
        }
        self.target.host = host.trim_matches(['[', ']']).to_owned();
        self.topics.push(topic.to_owned());
        Ok(())
    }
}

fn usage<T>(what: &str) -> Result<T, Error> {
    Err(Error::Usage(what.to_owned()))
}

fn unknown(option: &str) -> Error {
    match UNABLE.iter().find(|(name, _)| *name == option) {
        Some((_, what)) => unable(option, what),
        None => Error::Usage(format!("Unknown option '{option}'.")),
    }
}

fn unable(option: &str, what: &str) -> Error {
    Error::Usage(format!("{option}: footbridge's client can't do {what}."))
}

fn qos(option: &str, words: &mut Words<'_>) -> Result<QoS, Error> {
    let qos = words.number(option, 0, 2)?;
    QoS::from_bits(qos).ok_or_else(|| unknown(option))
}

fn version(name: &str) -> Result<Version, Error> {
    match name {
        "31" | "mqttv31" => Ok(Version::V31),
        "311" | "mqttv311" => Ok(Version::V311),
        "5" | "mqttv5" => Ok(Version::V5),
        _ => usage("-V takes 31, 311, 5, mqttv31, mqttv311 or mqttv5."),
    }
}

fn session_expiry(value: &str) -> Result<u32, Error> {
    match value {
        "-1" | "∞" => Ok(u32::MAX),
        _ => Words::new(&[value]).number("-x", 0, u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ClientOptions, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut words = Words::new(&words);
        let mut options = ClientOptions::default();
        while let Some(option) = words.next() {
            options
                .take(option, &mut words)
                .map_err(|e| e.to_string())?;
        }
        options.finish().map_err(|e| e.to_string())?;
        Ok(options)
    }

    #[test]
    fn mosquittos_options_are_understood() {
        let options = parse(
            "-h box -p 1884 -q 2 -i me -k 10 -c -u ann -P pw -t a --will-topic gone \
             --will-payload bye --will-qos 1 --will-retain -V mqttv311 --quiet",
        )
        .unwrap();
        assert_eq!(
            (options.target.host.as_str(), options.target.port),
            ("box", 1884)
        );
        let connect_packet = options.connect_packet();
        assert_eq!(connect_packet.version, Version::V311);
        assert_eq!(
            (connect_packet.client_id, connect_packet.keep_alive),
            ("me", 10)
        );
        assert!(!connect_packet.clean_start && options.quiet);
        assert_eq!(connect_packet.username, Some("ann"));
        let will = connect_packet.will.unwrap();
        assert_eq!((will.topic, will.payload), ("gone", &b"bye"[..]));
        assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
    }

    #[test]
    fn properties_and_expiry_imply_version_5() {
        let options = parse("-x 60 -i me").unwrap();
        assert_eq!(options.version(), Version::V5);
        assert_eq!(options.connect_packet().props.session_expiry(), Some(60));
        let options = parse("-D connect user-property a b").unwrap();
        assert_eq!(options.version(), Version::V5);
        let forever = parse("-V 5 -c -i me").unwrap();
        assert_eq!(
            forever.connect_packet().props.session_expiry(),
            Some(u32::MAX)
        );
        assert!(parse("-V 311 -x 60").is_err());
    }

    #[test]
    fn urls_are_taken_apart() {
        let options = parse("-L mqtt://ann:p:w@box:1884/a/b").unwrap();
        assert_eq!(
            (options.target.host.as_str(), options.target.port),
            ("box", 1884)
        );
        assert_eq!(options.connect_packet().password, Some(&b"p:w"[..]));
        assert_eq!(options.topics, ["a/b"]);
        let options = parse("-L mqtt://[::1]/t").unwrap();
        assert_eq!(
            (options.target.host.as_str(), options.target.port),
            ("::1", 1883)
        );
        for wrong in [
            "-L box/a",
            "-L mqtts://box/a",
            "-L mqtt://box",
            "-L mqtt://box:x/a",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (line, has) in [
            ("--cafile x", "TLS"),
            ("--proxy x", "proxy"),
            ("--nonsense", "Unknown option"),
            ("-q 3", "0 to 2"),
            ("-k 3", "5 to 65535"),
            ("-c", "client id"),
            ("-P x", "-u"),
            ("--will-qos 1", "--will-topic"),
            ("--will-topic a/#", "will topic"),
            ("-V 4", "mqttv311"),
            ("-p", "no value"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(
                error.contains(has) && !error.contains('\n'),
                "{line}: {error}"
            );
        }
    }
}
