//! MQTT 5.

use std::collections::HashMap;

use rumqttc::v5::mqttbytes::v5::{LastWill, Packet};
use rumqttc::v5::mqttbytes::{QoS, qos as qos_of};
use rumqttc::v5::{Client, Event, MqttOptions};

use super::{Command, Options, fail, listen};

fn qos(number: u8) -> QoS {
    qos_of(number).unwrap_or_else(|| fail("no such QoS"))
}

pub fn run(options: &Options) {
    let mut settings = MqttOptions::new(&options.client_id, "127.0.0.1", options.port);
    settings.set_clean_start(!options.durable);
    settings.set_session_expiry_interval(options.durable.then_some(600));
    settings.set_topic_alias_max(Some(10));
    if let Some((topic, level)) = &options.will {
        settings.set_last_will(LastWill::new(topic, "gone", qos(*level), false, None));
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
    let mut aliases = HashMap::new();
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(packet)) => tell(&packet, &mut aliases),
            Ok(Event::Outgoing(_)) => {}
            Err(error) => fail(&error.to_string()),
        }
    }
}

/// `aliases` are the topics that the broker has given one: rumqttc 0.25 looks an alias up only after
/// it has handed out the event.
fn tell(packet: &Packet, aliases: &mut HashMap<u16, String>) {
    match packet {
        Packet::ConnAck(p) => println!("connack {}", u8::from(p.session_present)),
        Packet::SubAck(p) => println!("suback {:?}", p.return_codes),
        Packet::UnsubAck(_) => println!("unsuback"),
        Packet::PubAck(p) => println!("puback {}", p.pkid),
        Packet::PubComp(p) => println!("pubcomp {}", p.pkid),
        Packet::Publish(p) => {
            let mut topic = String::from_utf8_lossy(&p.topic).into_owned();
            if let Some(alias) = p.properties.as_ref().and_then(|props| props.topic_alias) {
                let named = aliases.entry(alias).or_default();
                if topic.is_empty() {
                    topic.clone_from(named);
                } else {
                    named.clone_from(&topic);
                }
            }
            let (level, retain) = (p.qos as u8, u8::from(p.retain));
            let payload = String::from_utf8_lossy(&p.payload);
            println!("publish {topic} {level} {retain} {payload}");
        }
        _ => {}
    }
}
