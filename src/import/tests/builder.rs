//! Files as each version of Mosquitto writes them, on machines of each kind.

/// The machine that writes, and the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kind {
    pub(super) format: u32,
    pub(super) big_endian: bool,
    /// 32 bits: times of formats 3 and 4 take four bytes, and structs are not padded, as on i386.
    pub(super) small: bool,
}

pub(super) const KIND: Kind = Kind {
    format: 6,
    big_endian: false,
    small: false,
};

/// All kinds of machines, each with all formats.
pub(super) fn all_kinds() -> impl Iterator<Item = Kind> {
    let machines = (0..4u8).map(|n| (n & 1 != 0, n & 2 != 0));
    (3..=6).flat_map(move |format| {
        machines.clone().map(move |(big_endian, small)| Kind {
            format,
            big_endian,
            small,
        })
    })
}

/// A message.
#[derive(Clone, Copy)]
pub(super) struct Msg<'a> {
    pub(super) number: u64,
    pub(super) expires: u64,
    pub(super) from: &'a str,
    pub(super) username: &'a str,
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) props: &'a [u8],
}

pub(super) fn msg(number: u64, topic: &str) -> Msg<'_> {
    Msg {
        number,
        expires: 0,
        from: "publisher",
        username: "",
        topic,
        payload: topic.as_bytes(),
        qos: 1,
        retain: false,
        props: &[],
    }
}

/// A client.
#[derive(Clone, Copy)]
pub(super) struct Cl<'a> {
    pub(super) id: &'a str,
    pub(super) username: &'a str,
    pub(super) end: u64,
    pub(super) interval: u32,
    pub(super) last: u16,
    pub(super) port: u16,
}

pub(super) fn client(id: &str) -> Cl<'_> {
    Cl {
        id,
        username: "",
        end: 0,
        interval: u32::MAX,
        last: 0,
        port: 1883,
    }
}

/// A place in a queue.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) client: &'a str,
    pub(super) number: u64,
    pub(super) mid: u16,
    pub(super) qos: u8,
    pub(super) state: u8,
    pub(super) retain: bool,
    pub(super) incoming: bool,
    pub(super) props: &'a [u8],
}

/// A message that waits.
pub(super) fn waits(client: &str, number: u64, qos: u8) -> Place<'_> {
    Place {
        client,
        number,
        mid: 0,
        qos,
        state: 11,
        retain: false,
        incoming: false,
        props: &[],
    }
}

/// A file that is being written.
#[derive(Clone)]
pub(super) struct Writer {
    kind: Kind,
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(kind: Kind) -> Writer {
        let mut bytes = b"\x00\xB5\x00mosquitto db\0\0\0\0".to_vec();
        bytes.extend(kind.format.to_be_bytes());
        let mut writer = Writer { kind, bytes };
        let last = writer.native(77);
        let body = if writer.has_structs() {
            let padding = if kind.small { 2 } else { 6 };
            [&last[..], &[1, 8], &vec![0; padding]].concat()
        } else {
            [&[1, 8], &last[..]].concat()
        };
        writer.record(1, &body);
        writer
    }

    fn has_structs(&self) -> bool {
        self.kind.format >= 5
    }

    fn native(&self, number: u64) -> [u8; 8] {
        if self.kind.big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }

    pub(super) fn record(&mut self, kind: u16, body: &[u8]) {
        if self.has_structs() {
            self.bytes.extend(u32::from(kind).to_be_bytes());
        } else {
            self.bytes.extend(kind.to_be_bytes());
        }
        self.bytes.extend((body.len() as u32).to_be_bytes());
        self.bytes.extend(body);
    }

    pub(super) fn message(&mut self, m: Msg<'_>) {
        let payload_len = (m.payload.len() as u32).to_be_bytes();
        let (qos, retain) = (m.qos, u8::from(m.retain));
        let number = self.native(m.number);
        let body = if self.has_structs() {
            [
                &number[..],
                &self.native(m.expires),
                &payload_len,
                &[0, 9],
                &len(m.from),
                &len(m.username),
                &len(m.topic),
                &1883u16.to_be_bytes(),
                &[qos, retain],
                m.from.as_bytes(),
                m.username.as_bytes(),
                m.topic.as_bytes(),
                m.payload,
                m.props,
            ]
            .concat()
        } else {
            let mut body = [&number[..], &string(m.from)].concat();
            if self.kind.format == 4 {
                body.extend([string(m.username), 1883u16.to_be_bytes().to_vec()].concat());
            }
            body.extend([0, 9, 0, 0]);
            body.extend(string(m.topic));
            body.extend([qos, retain]);
            body.extend(payload_len);
            body.extend(m.payload);
            body
        };
        self.record(2, &body);
    }

    pub(super) fn client(&mut self, c: Cl<'_>) {
        let last = c.last.to_be_bytes();
        let end = self.native(c.end);
        let body = match (self.kind.format, self.kind.small) {
            (3 | 4, true) => {
                let end = if self.kind.big_endian {
                    (c.end as u32).to_be_bytes()
                } else {
                    (c.end as u32).to_le_bytes()
                };
                [&string(c.id)[..], &last, &end].concat()
            }
            (3 | 4, false) => [&string(c.id)[..], &last, &end].concat(),
            (format, small) => {
                let mut body = [&end[..], &c.interval.to_be_bytes(), &last, &len(c.id)].concat();
                if format == 6 {
                    body.extend([c.port.to_be_bytes(), len(c.username)].concat());
                    body.extend(vec![0; if small { 0 } else { 4 }]);
                }
                body.extend(c.id.as_bytes());
                if format == 6 {
                    body.extend(c.username.as_bytes());
                }
                body
            }
        };
        self.record(6, &body);
    }

    pub(super) fn place(&mut self, p: Place<'_>) {
        let (number, mid) = (self.native(p.number), p.mid.to_be_bytes());
        let (retain, direction) = (u8::from(p.retain), u8::from(!p.incoming));
        let body = if self.has_structs() {
            let flags = [p.qos, p.state, retain << 4, direction];
            let id = p.client.as_bytes();
            [&number[..], &mid, &len(p.client), &flags, id, p.props].concat()
        } else {
            let flags = [p.qos, retain, direction, p.state, 0];
            [&string(p.client)[..], &number, &mid, &flags].concat()
        };
        self.record(3, &body);
    }

    /// `options`: QoS and the options of MQTT 5, as in a SUBSCRIBE.
    pub(super) fn subscription(
        &mut self,
        client: &str,
        filter: &str,
        options: u8,
        identifier: u32,
    ) {
        let body = if self.has_structs() {
            [
                &identifier.to_be_bytes()[..],
                &len(client),
                &len(filter),
                &[options & 3, options & !3, 0, 0],
                client.as_bytes(),
                filter.as_bytes(),
            ]
            .concat()
        } else {
            [&string(client)[..], &string(filter), &[options & 3]].concat()
        };
        self.record(5, &body);
    }

    pub(super) fn retained(&mut self, number: u64) {
        let body = self.native(number);
        self.record(4, &body);
    }
}

fn len(text: &str) -> [u8; 2] {
    (text.len() as u16).to_be_bytes()
}

fn string(text: &str) -> Vec<u8> {
    [&len(text)[..], text.as_bytes()].concat()
}
