//! MQTT 3.1.1.

use rumqttc::{Client, Event, LastWill, MqttOptions, Packet, QoS};

use super::{Command, Options, fail, listen};

fn qos(number: u8) -> QoS {
    rumqttc::qos(number).unwrap_or_else(|_| fail("no such QoS"))
}

pub fn run(options: &Options) {
    let mut settings = MqttOptions::new(&options.client_id, "127.0.0.1", options.port);
    settings.set_clean_session(!options.durable);
    if let Some((topic, level)) = &options.will {
        settings.set_last_will(LastWill::new(topic, "gone", qos(*level), false));
    }
    let (client, mut connection) = Client::new(settings, 100);
    listen(move |command| {
        let done = match command {
            Command::Subscribe(topic, level) => client.subscribe(topic, qos(level)),
            Command::Unsubscribe(topic) => client.unsubscribe(topic),
            Command::Publish(topic, level, retain, payload) => {
                client.publish(topic, qos(level), retain, payload)
            }
            Command::Disconnect => client.disconnect(),
        };
        done.unwrap_or_else(|error| fail(&error.to_string()));
    });
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(packet)) => tell(&packet),
            Ok(Event::Outgoing(_)) => {}
            Err(error) => fail(&error.to_string()),
        }
    }
}

fn tell(packet: &Packet) {
    match packet {
        Packet::ConnAck(p) => println!("connack {}", u8::from(p.session_present)),
        Packet::SubAck(p) => println!("suback {:?}", p.return_codes),
        Packet::UnsubAck(_) => println!("unsuback"),
        Packet::PubAck(p) => println!("puback {}", p.pkid),
        Packet::PubComp(p) => println!("pubcomp {}", p.pkid),
        Packet::Publish(p) => {
            let (level, retain) = (p.qos as u8, u8::from(p.retain));
            let payload = String::from_utf8_lossy(&p.payload);
            println!("publish {} {level} {retain} {payload}", p.topic);
        }
        _ => {}
    }
}
